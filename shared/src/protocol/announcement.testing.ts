/** What the tests of the ledger share: commit keys that are the same on every machine, plain entries, and a chain that signs them. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { type Announcement, createAnnouncement, type Task } from "./announcement.ts";
import type { CommitEntry, Entry } from "./entries.ts";
import { commitVerifier, readCommitKey } from "./signing.ts";

export const JOB_ID = "1b".repeat(32);
export const HASH = "ab".repeat(32);
export const PEERS = ["A", "B", "C"].map((letter) => `12D3KooW${letter.repeat(20)}`) as [string, string, string];

/** The fixed DER prefix of an Ed25519 private key in PKCS#8; the 32 bytes of the seed follow (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** The commit key whose seed is `seed` in each byte: what signs, and what a node verifies with. */
export function commitKeyOf(seed: number): { key: KeyObject; verifier: KeyObject } {
  const der = Buffer.concat([PKCS8_PREFIX, Buffer.alloc(32, seed)]);
  const pem = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({ type: "pkcs8", format: "pem" }).toString();
  const { key, publicHex } = readCommitKey(pem);
  return { key, verifier: commitVerifier(publicHex) };
}

/** The key of every chain that is not told another. */
export const COMMIT_KEY = commitKeyOf(1);

export const rosterOf = (...names: string[]): Entry => ({
  kind: "roster",
  peers: names.map((name, i) => ({ peerId: PEERS[i % PEERS.length] as string, name })),
});

/** A commit of one group whose 2^m coefficients are told apart by the step. */
export function commitOf(
  step: number,
  contributors: [who: number, slots: number][] = [[0, 4]],
  meanLoss: number | null = 0.5,
): CommitEntry {
  const slots = contributors.reduce((n, [, count]) => n + count, 0);
  const a = Int32Array.from({ length: slots }, (_, k) => 100 * (step + 1) + k);
  return { kind: "commit", step, groups: [{ g: 0, m: Math.log2(slots), p: 30, a }], meanLoss, contributors };
}

export function evaluationOf(step: number, stateHash = HASH): Extract<Entry, { kind: "evaluation" }> {
  return { kind: "evaluation", step, stateHash, loss: 0.7, score: 0.5, examples: 8 };
}

/** A `rate` entry; without a reason it repeats what holds. */
export function rateOf(over: Partial<Extract<Entry, { kind: "rate" }>> = {}): Extract<Entry, { kind: "rate" }> {
  return { kind: "rate", rate: 0.1, epsilonLog2: -10, groups: 1, directionsLog2: 2, probing: false, reference: null, why: "", ...over };
}

export const restoreOf = (step: number): Entry => ({ kind: "restore", step, stateHash: HASH });

export function taskOf(step: number, m = 2): Task {
  return { step, groups: [{ g: 0, m, batch: 0 }], epsilonLog2: -10, estimator: "two-sided" };
}

export interface Chain {
  /** Where the next entry stands. */
  seq: number;
  prevHash: string;
  /** Signs the next announcement; the chain goes on where it carries an entry. */
  next(entry: Entry | null, task?: Task | null, epoch?: number): Announcement;
  /** Another chain that has the same entries so far. */
  branch(): Chain;
}

export function startChain(key = COMMIT_KEY.key, at: Pick<Chain, "seq" | "prevHash"> = { seq: 0, prevHash: JOB_ID }): Chain {
  const chain: Chain = {
    seq: at.seq,
    prevHash: at.prevHash,
    next(entry, task = null, epoch = 0) {
      const { seq, prevHash } = chain;
      const announcement = createAnnouncement({ jobId: JOB_ID, epoch, seq, prevHash, entry, task }, key);
      if (entry !== null) Object.assign(chain, { seq: seq + 1, prevHash: announcement.hash });
      return announcement;
    },
    branch: () => startChain(key, chain),
  };
  return chain;
}
