/**
 * From a ledger to its parameters: by a snapshot and the steps behind it or by all steps, whichever this machine's own speeds promise
 * to be faster. A snapshot is a peer's word until each of its leaves agrees with the ledger.
 */
import type { KeyObject } from "node:crypto";
import type { SnapshotOnWay } from "@zoswarm/shared/evaluate/calls";
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import { snapshotBytesMax } from "@zoswarm/shared/evaluate/snapshot";
import { branchTo } from "@zoswarm/shared/ledger/folds";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Checkpoint } from "@zoswarm/shared/protocol/messages";
import type { Replica } from "@zoswarm/shared/replica/replica";
import type { LedgerStore } from "@zoswarm/shared/store/ledgerstore";
import type { Snapshots } from "@zoswarm/shared/store/snapshots";
import { type Candidate, choose, sayChoice } from "./choice.ts";
import { fetchLedger } from "./ledger.ts";
import type { Offer, Sources } from "./sources.ts";

/** Steps are replayed for so long to measure how fast that goes. */
const PROBE_SECONDS = 0.25;
/** Commits in one call: enough for the kernel's blocks, few enough to be stopped between calls. */
const REPLAY_STEPS = 1024;

/** A snapshot's download may take so long at least; and as long as a replay would, but no longer: who sends it decides how slowly it comes. */
const DOWNLOAD_SECONDS_MIN = 30;
const DOWNLOAD_SECONDS_MAX = 86_400;

type Usable = Offer & Candidate;

const byPeers = (one: Offer, other: Offer) => other.peers.length - one.peers.length;

export interface CatchUp {
  /** As ledger.ts does. */
  fetchLedger(signal: AbortSignal): Promise<void>;
  /** Theta, at the initial state, goes to the ledger's. Rejects where this machine does not get to a state that the ledger states. */
  goToHead(signal: AbortSignal): Promise<void>;
  /** The same from whatever theta is: by the newest snapshot that another peer has, or from the start. Gives the newest state whose hash agreed. */
  goAnew(signal: AbortSignal): Promise<Checkpoint | null>;
  /** The newest snapshot on this disk that the ledger vouches for on the way of these commits. */
  nearest(commits: readonly CommitEntry[]): SnapshotOnWay | undefined;
}

export interface CatchUpOptions {
  manifest: Manifest;
  jobId: string;
  replica: Replica;
  commitKey: KeyObject;
  store: Pick<LedgerStore, "appendAll" | "replaceFrom">;
  /** Keeps the proof of a higher epoch on disk. */
  keepSuccessor: (bytes: Uint8Array) => void;
  evaluator: Evaluator;
  sources: Sources;
  snapshots: Snapshots;
  /** What setting all parameters from a snapshot takes, about. */
  secondsToLoad: number;
  log: (line: string) => void;
}

export function createCatchUp(options: CatchUpOptions): CatchUp {
  const { manifest, jobId, replica, evaluator, sources, snapshots, secondsToLoad, log } = options;
  const bytesMax = snapshotBytesMax(manifest.tensors);
  const stated = (step: number) => replica.history.evaluations.findLast((each) => each.step === step)?.stateHash;

  /** Snapshots that the ledger vouches for: of a state on its branch, and no larger than one can be. */
  function usable(offers: readonly Offer[], commits: readonly CommitEntry[]): Usable[] {
    return offers.flatMap((offer) => {
      const at = commits.findIndex(({ step }) => step === offer.step);
      const holds = at >= 0 && stated(offer.step) === offer.stateHash && offer.bytes <= bytesMax;
      return holds ? [{ ...offer, toFetch: snapshots.blobs.has(offer.id) ? 0 : offer.bytes, tail: commits.length - at - 1 }] : [];
    });
  }

  /** The line's speed: of what was downloaded already, else of the first chunks of a snapshot, which stay on disk. */
  async function bytesPerSecond(offers: readonly Usable[], signal: AbortSignal): Promise<number | null> {
    // What most say that they have: a single donor's pace, or lie, is not the line's.
    const [sample] = offers.filter(({ toFetch }) => toFetch > 0).sort(byPeers);
    if (sources.bytesPerSecond() !== null || sample === undefined) return sources.bytesPerSecond();
    const enough = new AbortController();
    let before: number | null = null;
    await sources.blob(sample.id, snapshots.blobs, {
      signal: AbortSignal.any([signal, enough.signal, AbortSignal.timeout(1000 * DOWNLOAD_SECONDS_MIN)]),
      bytes: sample.bytes,
      peers: sample.peers,
      onProgress(done) {
        // What an earlier start left of it was not downloaded now.
        before ??= done;
        if (done > before) enough.abort();
      },
    });
    return sources.bytesPerSecond();
  }

  async function replay(commits: readonly CommitEntry[], signal: AbortSignal): Promise<number> {
    const startMs = performance.now();
    for (let at = 0; at < commits.length; at += REPLAY_STEPS) {
      signal.throwIfAborted();
      await evaluator.call("replay", { commits: commits.slice(at, at + REPLAY_STEPS) });
    }
    return (performance.now() - startMs) / 1000;
  }

  /**
   * Replays the commits from `from` on. The newest state on the way whose hash the ledger states is compared, and given back; after a
   * snapshot that may be the snapshot's own.
   */
  async function finish(commits: readonly CommitEntry[], from: number, signal: AbortSignal): Promise<Checkpoint | null> {
    const checked = commits.findLastIndex(({ step }) => stated(step) !== undefined);
    const at = Math.max(from, checked + 1);
    await replay(commits.slice(from, at), signal);
    const step = commits[checked]?.step;
    const { stateHash } = await evaluator.call("stateHash", null);
    const expected = step === undefined || at !== checked + 1 ? null : stated(step);
    if (expected && stateHash !== expected)
      throw new Error(
        `after step ${(step ?? -1) + 1} this replica has the state hash ${stateHash.slice(0, 12)}, the ledger states ${expected.slice(0, 12)}, although every entry was verified: this machine does not compute as the others do; please report it`,
      );
    await replay(commits.slice(at), signal);
    return expected && step !== undefined ? { step, stateHash } : null;
  }

  /** Puts a snapshot in place, which may take `secondsMax` to come; false, and theta is the initial state, where it cannot be had or is not what it should be. */
  async function take(offer: Offer, signal: AbortSignal, secondsMax: number | null): Promise<boolean> {
    const { step, stateHash, id, bytes, peers } = offer;
    if (!snapshots.blobs.has(id)) {
      const seconds = secondsMax === null ? null : Math.min(DOWNLOAD_SECONDS_MAX, Math.max(DOWNLOAD_SECONDS_MIN, secondsMax));
      const tooLong = seconds === null ? null : AbortSignal.timeout(Math.round(1000 * seconds));
      const fetched = await sources.blob(id, snapshots.blobs, {
        signal: tooLong ? AbortSignal.any([signal, tooLong]) : signal,
        bytes,
        peers,
      });
      if (!fetched.ok) {
        log(`snapshot after step ${step + 1}: ${tooLong?.aborted ? "its download takes longer than a replay" : fetched.message}`);
        // All that they offer would be given at their pace.
        if (tooLong?.aborted) for (const peer of peers) sources.refuse(peer, "it is slow");
        await evaluator.call("reset", { commits: [] });
        return false;
      }
    }
    const loaded = await evaluator.call("loadSnapshot", { jobId, step, stateHash, file: snapshots.blobs.path(id) });
    if (!loaded.ok) {
      log(loaded.message);
      await snapshots.blobs.remove(id);
      for (const peer of peers) sources.refuse(peer, "its snapshot is wrong");
      return false;
    }
    const kept = await snapshots.keep({ step, stateHash, id, bytes }, null);
    if (!kept.ok) log(`the snapshot is not kept: ${kept.message}`);
    return true;
  }

  /** Takes the snapshot that `next` chooses, another one where that does not hold; returns how many commits theta has then. */
  async function takeOne(
    offers: readonly Usable[],
    { replayed, of }: { replayed: number; of: number },
    next: (left: readonly Usable[], replayed: number) => { snapshot: Usable | null; secondsMax: number | null },
    signal: AbortSignal,
  ): Promise<number> {
    const { snapshot: chosen, secondsMax } = next(offers, replayed);
    if (chosen === null) return replayed;
    if (await take(chosen, signal, secondsMax)) return of - chosen.tail;
    return takeOne(
      offers.filter((each) => each !== chosen),
      { replayed: 0, of },
      next,
      signal,
    );
  }

  return {
    fetchLedger: (signal) => fetchLedger(options, signal),
    nearest(commits) {
      const [own] = usable(
        snapshots.all().map((snapshot) => ({ ...snapshot, peers: [] })),
        commits,
      );
      return (
        own && { jobId, step: own.step, stateHash: own.stateHash, file: snapshots.blobs.path(own.id), holds: commits.length - own.tail }
      );
    },
    async goToHead(signal) {
      const commits = branchTo(replica.history.branch);
      let [at, seconds, secondsPerStep] = [0, 0, 0];
      for (let size = 1; at < commits.length && seconds < PROBE_SECONDS; size *= 2) {
        const probe = commits.slice(at, at + size);
        const took = await replay(probe, signal);
        at += probe.length;
        seconds += took;
        secondsPerStep = took / probe.length;
      }
      if (at < commits.length) {
        const own = snapshots.all().map((snapshot) => ({ ...snapshot, peers: [] }));
        const others = (await sources.greet(signal)).filter(({ id }) => !snapshots.blobs.has(id));
        const offers = usable([...own, ...others], commits);
        const speed = await bytesPerSecond(offers, signal);
        const next = (left: readonly Usable[], replayed: number) => {
          const steps = commits.length - replayed;
          const choice = choose({ offers: left, steps, secondsPerStep, bytesPerSecond: speed, secondsToLoad });
          log(sayChoice(choice));
          return { snapshot: choice.snapshot, secondsMax: choice.replaySeconds };
        };
        at = await takeOne(offers, { replayed: at, of: commits.length }, next, signal);
      }
      await finish(commits, at, signal);
    },
    async goAnew(signal) {
      const commits = branchTo(replica.history.branch);
      const offers = usable(await sources.greet(signal), commits).sort((one, other) => one.tail - other.tail || byPeers(one, other));
      await evaluator.call("reset", { commits: [] });
      const at = await takeOne(
        offers,
        { replayed: 0, of: commits.length },
        (left) => ({ snapshot: left[0] ?? null, secondsMax: null }),
        signal,
      );
      await sources.hangUp();
      log(at === 0 ? "replaying the ledger from the start" : `took the snapshot after step ${(commits[at - 1]?.step ?? -1) + 1}`);
      return finish(commits, at, signal);
    },
  };
}
