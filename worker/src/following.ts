/** How a worker follows the ledger of the coordinator that it is connected to: what gossip does not bring is asked for. */
import { setTimeout } from "node:timers/promises";
import type { joinTopic } from "@zoswarm/shared/net/gossip";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { fetchRange } from "@zoswarm/shared/net/range";
import { LIMITS } from "@zoswarm/shared/protocol/limits";

export interface Following {
  /** Fetches what lies behind a gap, and lets the caller go on. */
  ask(fromSeq: number): void;
  /** Takes in all that the coordinator has from `fromSeq` on; false where it cannot be asked, or there is no room for more. */
  catchUp(signal: AbortSignal, fromSeq?: number, peer?: string): Promise<boolean>;
  /** Resolves when the coordinator is known to send its announcements to us: what comes later will arrive. */
  heardBy(peer: string, signal: AbortSignal): Promise<void>;
}

export interface FollowingOptions {
  node: SwarmNode;
  topic: ReturnType<typeof joinTopic>;
  /** Whom to ask; undefined without a session. */
  coordinator: () => string | undefined;
  nextSeq: () => number;
  /** Takes in an announcement; false where there is no room. */
  take: (bytes: Uint8Array) => boolean;
}

export function createFollowing({ node, topic, coordinator, nextSeq, take }: FollowingOptions): Following {
  let askedFrom = Number.POSITIVE_INFINITY;

  /** Many announcements may be behind one gap: it is asked for once. */
  function ask(fromSeq: number): void {
    if (fromSeq >= askedFrom) return;
    askedFrom = fromSeq;
    void catchUp(AbortSignal.timeout(LIMITS.requestTimeoutMs), fromSeq).finally(() => {
      askedFrom = Number.POSITIVE_INFINITY;
    });
  }

  /** From the last own entry on: who has another one in its place, or none, may be a coordinator that took over further back. */
  async function catchUp(signal: AbortSignal, fromSeq = Math.max(0, nextSeq() - 1), peer = coordinator()): Promise<boolean> {
    if (peer === undefined) return false;
    let met = false;
    for (let next = fromSeq; ; ) {
      const fetched = await fetchRange(node, peer, next, signal);
      if (!fetched.ok) {
        if (fetched.code !== "busy" || signal.aborted) return false;
        await setTimeout(Math.random() * LIMITS.busyPauseMsMax);
        continue;
      }
      if (fetched.announcements.length === 0 && (met || next === 0)) return true;
      if (fetched.announcements.length === 0) {
        next = Math.max(0, next - LIMITS.rangeAnnouncementsMax);
        continue;
      }
      met = true;
      // Where the loop has no room for more, a new session goes on from what it has taken in.
      for (const bytes of fetched.announcements) if (!take(bytes)) return false;
      next += fetched.announcements.length;
    }
  }

  /** Resolves when the coordinator is known to send its announcements to us: what comes later will arrive. */
  function heardBy(peer: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!topic.subscribers().includes(peer) && !signal.aborted) return;
        stop();
        resolve();
      };
      const stop = topic.onSubscribers(look);
      signal.addEventListener("abort", look, { once: true });
      look();
    });
  }

  return { ask, catchUp, heardBy };
}
