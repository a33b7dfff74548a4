/**
 * Where a worker downloads from: other volunteers first, several at once, so that the running step is not slowed, and the coordinator
 * for what they do not have. Who sends wrong bytes is not asked again.
 */
import { type FetchedBlob, type FetchOptions, fetchBlob } from "@zoswarm/shared/net/blobs";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { type FetchedRange, fetchRange } from "@zoswarm/shared/net/range";
import { parseAddress } from "@zoswarm/shared/net/redial";
import { askSnapshots } from "@zoswarm/shared/net/snapshots";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Snapshot } from "@zoswarm/shared/protocol/snapshots";
import type { BlobFiles } from "@zoswarm/shared/store/blobs";

const LOCAL_FAULTS: readonly string[] = ["disk-full", "unwritable", "aborted"];
/** What a donor may say and stay one. */
const HARMLESS: readonly string[] = ["not-found", "busy", "aborted"];

/** A snapshot and the peers that say that they have it. */
export interface Offer extends Snapshot {
  peers: string[];
}

export interface Sources {
  /** Finds out which of the donors answer, and what everybody offers. Called before the rest, and again when those may have changed. */
  greet(signal: AbortSignal): Promise<Offer[]>;
  /** Donors that answered and were not given up. */
  donors(): number;
  /** A blob, from these peers or, where none are named, from all donors; the coordinator for what is missing then. */
  blob(id: string, cache: BlobFiles, options: FetchOptions & { peers?: readonly string[] }): Promise<FetchedBlob>;
  /** Announcements from a place on, and who gave them. */
  range(fromSeq: number, signal: AbortSignal): Promise<{ peer: string; fetched: FetchedRange }>;
  /** Bytes per second of all that was downloaded so far; null where that is nothing. */
  bytesPerSecond(): number | null;
  /** Asks a peer for nothing more; false, and only said, where it is the coordinator, whom nobody can take the place of. */
  refuse(peer: string, why: string): boolean;
  /** Closes the connections to donors, where nothing is being downloaded: shards are fetched several at once, each by its own caller. */
  hangUp(): Promise<void>;
}

export interface SourcesOptions {
  node: SwarmNode;
  jobId: string;
  /** As of now: the coordinator's peer id, which is connected, and the addresses of donors that it named. */
  peers(): { coordinator: string; donors: readonly string[] };
  log: (line: string) => void;
}

export function createSources({ node, jobId, peers, log }: SourcesOptions): Sources {
  const refused = new Set<string>();
  const downloaded = { bytes: 0, ms: 0 };
  let downloads = 0;
  /** Addresses of donors that answered, by peer id. */
  let donors = new Map<string, string>();

  function refuse(peer: string, why: string): boolean {
    const peerId = peerIdOf(peer);
    if (peerId === peers().coordinator) {
      log(`the coordinator: ${why}`);
      return false;
    }
    refused.add(peerId);
    donors.delete(peerId);
    log(`no more from ${peerId.slice(-8)}: ${why}`);
    void node.hangUp(peerId);
    return true;
  }

  async function greet(signal: AbortSignal): Promise<Offer[]> {
    const { coordinator, donors: named } = peers();
    const found = new Map<string, string>();
    const offers = new Map<string, Offer>();
    const ask = async (peerId: string, address: string) => {
      const inTime = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.donorAnswerMs)]);
      const asked = await askSnapshots(node, address, jobId, inTime);
      if (!asked.ok) return;
      if (peerId !== coordinator) found.set(peerId, address);
      for (const snapshot of asked.snapshots) {
        // The same state may be compressed to other bytes elsewhere; and a liar may say of a blob what it is not.
        const claim = `${snapshot.step} ${snapshot.stateHash} ${snapshot.id} ${snapshot.bytes}`;
        const offer = offers.get(claim) ?? { ...snapshot, peers: [] };
        offer.peers.push(address);
        offers.set(claim, offer);
      }
    };
    const others = named.slice(0, LIMITS.donorsMax).flatMap((address) => {
      const parsed = parseAddress(address);
      const known = parsed.ok && [node.peerId, coordinator, ...refused].includes(parsed.peerId);
      return parsed.ok && !known ? [ask(parsed.peerId, parsed.address)] : [];
    });
    await Promise.all([ask(coordinator, coordinator), ...others]);
    donors = found;
    return [...offers.values()];
  }

  /** From these peers, else from the coordinator. */
  async function fetchFromAll(named: readonly string[], id: string, cache: BlobFiles, options: FetchOptions): Promise<FetchedBlob> {
    const { coordinator } = peers();
    const others = named.filter((peer) => peer !== coordinator && !refused.has(peerIdOf(peer)));
    if (others.length > 0) {
      const fetched = await fetchFrom(others, id, cache, options);
      if (fetched.ok || LOCAL_FAULTS.includes(fetched.code) || options.signal.aborted) return fetched;
    }
    return fetchFrom([coordinator], id, cache, options);
  }

  /** One fetch, its speed noted, those who failed left out from now on. */
  async function fetchFrom(from: readonly string[], id: string, cache: BlobFiles, options: FetchOptions): Promise<FetchedBlob> {
    const startMs = performance.now();
    let [first, last] = [-1, 0];
    const fetched = await fetchBlob(node, from, id, cache, {
      ...options,
      onProgress(done, chunks) {
        if (first < 0) first = done;
        last = done;
        options.onProgress?.(done, chunks);
      },
    });
    if (last > first) {
      const most = (last - first) * LIMITS.blobChunkBytes;
      downloaded.bytes += Math.min(most, options.bytes ?? most);
      downloaded.ms += performance.now() - startMs;
    }
    for (const { peer, code } of fetched.dropped) {
      if (code === "wrong-bytes") refuse(peer, `it sent wrong bytes of blob ${id.slice(0, 12)}`);
      else if (!HARMLESS.includes(code)) donors.delete(peerIdOf(peer));
    }
    return fetched;
  }

  return {
    greet,
    donors: () => donors.size,
    async blob(id, cache, { peers: named = [...donors.values()], ...options }) {
      downloads++;
      try {
        return await fetchFromAll(named, id, cache, options);
      } finally {
        downloads--;
      }
    },
    async range(fromSeq, signal) {
      const [donor] = [...donors.values()].sort(() => Math.random() - 0.5);
      if (donor !== undefined) {
        const fetched = await fetchRange(node, donor, fromSeq, signal);
        // That there is no more is for the coordinator to say: a donor may lag, or lie.
        if (fetched.ok && fetched.announcements.length > 0) return { peer: donor, fetched };
        if (!fetched.ok && fetched.code === "wrong-bytes") refuse(donor, "it sent a ledger that nobody understands");
        else if (!fetched.ok && !HARMLESS.includes(fetched.code)) donors.delete(peerIdOf(donor));
      }
      const { coordinator } = peers();
      return { peer: coordinator, fetched: await fetchRange(node, coordinator, fromSeq, signal) };
    },
    bytesPerSecond: () => (downloaded.bytes === 0 ? null : (1000 * downloaded.bytes) / downloaded.ms),
    refuse,
    async hangUp() {
      if (downloads > 0) return;
      await Promise.all([...donors.keys()].map((peerId) => node.hangUp(peerId)));
    },
  };
}

/** A peer is named by its id or by an address that ends in it. */
function peerIdOf(peer: string): string {
  return peer.split("/").at(-1) as string;
}
