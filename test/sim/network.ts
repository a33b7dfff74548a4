/**
 * A virtual network: between each worker and the coordinator a link that delays, loses, repeats, reorders and is cut. Gossip may
 * meet any of that; a session is a stream, in order or broken; a request is answered or it fails.
 */
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Faults, Machine } from "./faults.ts";
import type { Random } from "./random.ts";
import type { Life, World } from "./world.ts";

/** One end of a session. */
export interface End {
  send(bytes: Uint8Array): void;
  /** Closes this end now, and the other when it hears of it. */
  close(): void;
  onFrame: (bytes: Uint8Array) => void;
  onClose: () => void;
  readonly open: boolean;
  readonly queuedBytes: number;
}

export interface Link {
  /** Carries one gossip message; calls `deliver` as often as it arrives. */
  gossip(bytes: Uint8Array, deliver: (bytes: Uint8Array) => void): void;
  /** A session between two living processes; null where the link is cut. */
  connect(dialler: Life, listener: Life): { dialler: End; listener: End } | null;
  /** Asks and answers; null where either way failed. */
  ask<A>(asker: Life, answer: () => A | null, then: (answer: A | null) => void): void;
  cut(ms: number): void;
  /** Breaks the session, if there is one. */
  breakSession(): void;
  delayMs(): number;
}

/** A connection that is cut for so long is given up by both ends: the session's silence, the transport's ping. */
const PATIENCE_MS = LIMITS.silenceMsMax;

export function createLink(world: World, random: Random, machine: Machine, faults: () => Faults | null): Link {
  let cutUntilMs = 0;
  let current: { end(): void } | null = null;
  const delayMs = () => machine.delayMs + random.next() * machine.jitterMs;
  const isCut = () => world.nowMs < cutUntilMs;
  const strikes = (kind: "loss" | "duplicates" | "reordering") => random.chance(faults()?.[kind] ?? 0);

  function connect(dialler: Life, listener: Life) {
    if (isCut()) return null;
    current?.end();
    const lives = [dialler, listener] as const;
    const ends = [0, 1].map((side) => {
      let lastMs = 0;
      let queuedBytes = 0;
      const arrive = (work: () => void) => {
        lastMs = Math.max(lastMs, world.nowMs + delayMs(), cutUntilMs);
        world.after(lastMs - world.nowMs, work);
      };
      const end = {
        open: true,
        onFrame: (_: Uint8Array) => {},
        onClose: () => {},
        get queuedBytes() {
          return queuedBytes;
        },
        send(bytes: Uint8Array) {
          if (!end.open) return;
          if (queuedBytes + bytes.byteLength > LIMITS.sendQueueBytesMax) return end.close();
          queuedBytes += bytes.byteLength;
          arrive(() => {
            queuedBytes -= bytes.byteLength;
            const other = ends[1 - side] as typeof end;
            if (other.open && lives[1 - side]?.alive) other.onFrame(bytes);
          });
        },
        close() {
          if (!end.open) return;
          end.open = false;
          if (lives[side]?.alive) end.onClose();
          arrive(() => (ends[1 - side] as typeof end).close());
        },
      };
      return end;
    });
    const [one, other] = ends as [(typeof ends)[0], (typeof ends)[0]];
    current = {
      end() {
        one.close();
        other.close();
      },
    };
    return { dialler: one as End, listener: other as End };
  }

  return {
    delayMs,
    connect,
    gossip(bytes, deliver) {
      if (isCut() || strikes("loss")) return;
      for (let copies = strikes("duplicates") ? 2 : 1; copies > 0; copies--) {
        const late = strikes("reordering") ? random.between(0, 20 * machine.delayMs + 200) : 0;
        world.after(delayMs() + late, () => {
          if (!isCut()) deliver(bytes);
        });
      }
    },
    ask(asker, answer, then) {
      const fail = () => world.after(delayMs() + (isCut() ? LIMITS.requestTimeoutMs : 0), () => then(null), asker);
      if (isCut()) return fail();
      world.after(delayMs(), () => {
        const answered = isCut() ? null : answer();
        if (answered === null) fail();
        else world.after(delayMs(), () => then(answered), asker);
      });
    },
    cut(ms) {
      cutUntilMs = Math.max(cutUntilMs, world.nowMs + ms);
      const session = current;
      if (ms > PATIENCE_MS) world.after(PATIENCE_MS, () => session?.end());
    },
    breakSession: () => current?.end(),
  };
}
