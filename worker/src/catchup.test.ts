/** From a ledger to its parameters, whatever peers offer: with real snapshots and the real kernel, without a thread and a network. */
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import { loadSnapshot, writeSnapshot } from "@zoswarm/shared/evaluate/snapshot";
import { COMMIT_KEY, commitKeyOf, commitOf, evaluationOf, JOB_ID, startChain } from "@zoswarm/shared/protocol/announcement.testing";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Snapshot } from "@zoswarm/shared/protocol/snapshots";
import { createReplica, highestEpoch } from "@zoswarm/shared/replica/replica";
import { openSnapshots } from "@zoswarm/shared/store/snapshots";
import { createParameters, type Parameters } from "@zoswarm/shared/zo/kernel";
import type { TensorSpec } from "@zoswarm/shared/zo/lattice";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { createCatchUp } from "./catchup.ts";
import type { Offer, Sources } from "./sources.ts";

const TENSORS: TensorSpec[] = [{ name: "w", shape: [1000], q: 22, gain: 0 }];
const STEPS = 12;
/** The ledger states the hash after every third step. */
const CHECKED = [2, 5, 8, 11];
const dir = mkdtempSync(join(tmpdir(), "zoswarm-catchup-"));
const initialFile = join(dir, "initial");
const initial = Int32Array.from({ length: 1000 }, (_, i) => 1000 * (i - 500));
const commits: CommitEntry[] = Array.from({ length: STEPS }, (_, step) => commitOf(step));
const chain = startChain();
const ledger: Uint8Array[] = [];
/** True snapshots by step, and a blob of another content for each. */
const blobs = new Map<string, string>();
const snapshotAt = new Map<number, Snapshot>();
let head = "";

const fresh = (): Parameters => {
  const parameters = createParameters(TENSORS, [1, 2, 3, 4]);
  parameters.load(0, initial);
  return parameters;
};

beforeAll(async () => {
  writeFileSync(initialFile, new Uint8Array(initial.buffer));
  const parameters = fresh();
  const made = await openSnapshots(join(dir, "made"));
  for (const commit of commits) {
    parameters.commit(commit);
    ledger.push(chain.next(commit).bytes);
    const { step } = commit;
    if (!CHECKED.includes(step)) continue;
    ledger.push(chain.next(evaluationOf(step, parameters.stateHash())).bytes);
    const written = await made.write(step, null, async (file) => writeSnapshot({ parameters, initialFile }, { jobId: JOB_ID, step }, file));
    if (!written.ok) throw new Error(written.message);
    snapshotAt.set(step, written.snapshot);
    blobs.set(written.snapshot.id, made.blobs.path(written.snapshot.id));
  }
  head = parameters.stateHash();
});
afterAll(() => rmSync(dir, { recursive: true }));

let run = 0;
beforeEach(() => {
  run++;
});

const givenUp = { ok: false as const, code: "aborted" as const, message: "given up", dropped: [] };
const stateOf = (step: number) => snapshotAt.get(step) as Snapshot;

/** A newcomer whose peers offer these snapshots and give these ranges; `fileOf` says what a blob's download brings. */
async function newcomer(
  offers: readonly Offer[],
  over: {
    fileOf?: (id: string) => string;
    ranges?: [peer: string, Uint8Array[]][];
    line?: { bytesPerSecond: number | null };
    slow?: boolean;
  } = {},
) {
  const parameters = fresh();
  const calls: string[] = [];
  const said: string[] = [];
  const refused: string[] = [];
  const sampled: string[] = [];
  const evaluator = {
    async call(name: string, request: never) {
      const asked = request as { commits: CommitEntry[]; file: string; jobId: string; step: number; stateHash: string };
      calls.push(name);
      if (name === "reset") parameters.load(0, initial);
      if (name === "reset" || name === "replay") return parameters.replay(asked.commits);
      if (name === "stateHash") return { stateHash: parameters.stateHash(), clampedShare: 0 };
      const loaded = loadSnapshot({ parameters, initialFile }, asked, asked.file);
      if (!loaded.ok) parameters.load(0, initial);
      return loaded;
    },
  } as unknown as Evaluator;
  const snapshots = await openSnapshots(join(dir, `run${run}`));
  const ranges = over.ranges ?? [["honest", ledger]];
  const sources: Sources = {
    greet: async () => [...offers],
    donors: () => 0,
    async blob(id, cache, { signal, onProgress }) {
      if (onProgress) sampled.push(id);
      // Of eight chunks three were here; one more comes before the asker can stop it.
      for (let done = 3; onProgress && done <= 8; done++) {
        onProgress(done, 8);
        if (done > 3 && over.line) over.line.bytesPerSecond = 1e6;
        if (signal.aborted) return givenUp;
      }
      if (over.slow) {
        // Whole only once the asker has stopped waiting.
        while (!signal.aborted) await once(signal, "abort");
        return givenUp;
      }
      const file = over.fileOf?.(id) ?? blobs.get(id) ?? "";
      mkdirSync(join(dir, `run${run}`), { recursive: true });
      const put = await cache.put({ file });
      if (!put.ok) return { ...put, dropped: [] };
      if (put.id !== id) copyFileSync(file, cache.path(id));
      return { ok: true, path: cache.path(id), dropped: [] };
    },
    async range(fromSeq) {
      const [peer, announcements] = ranges.length > 1 ? (ranges.shift() as [string, Uint8Array[]]) : (ranges[0] as [string, Uint8Array[]]);
      return { peer, fetched: { ok: true, announcements: announcements.slice(fromSeq) } };
    },
    bytesPerSecond: () => (over.line ?? { bytesPerSecond: 1e6 }).bytesPerSecond,
    refuse: (peer) => refused.push(peer) > 0,
    hangUp: async () => {},
  };
  const replica = createReplica(JOB_ID, { steps: STEPS, evaluateEvery: 3 });
  const kept: Uint8Array[] = [];
  const proofs: Uint8Array[] = [];
  const catchUp = createCatchUp({
    ...{ manifest: { tensors: TENSORS } as unknown as Manifest, jobId: JOB_ID, replica, commitKey: COMMIT_KEY.verifier },
    store: { appendAll: async (_seq, many) => void kept.push(...many), replaceFrom: async () => {} },
    keepSuccessor: (bytes: Uint8Array) => void proofs.push(bytes),
    ...{ evaluator, sources, snapshots, secondsToLoad: 0.001, log: (line: string) => void said.push(line) },
  });
  const { signal } = new AbortController();
  return { parameters, calls, said, refused, sampled, snapshots, replica, kept, proofs, signal, catchUp };
}

const offerOf = (snapshot: Snapshot, ...peers: string[]): Offer => ({ ...snapshot, peers });

test("the ledger comes whole and is kept; a peer whose ledger does not hold is refused, and another one is asked", async () => {
  const forged = startChain(commitKeyOf(9).key).next(commitOf(5)).bytes;
  const me = await newcomer([], {
    ranges: [
      ["liar", [...ledger.slice(0, 3), forged]],
      ["honest", ledger],
    ],
  });
  await me.catchUp.fetchLedger(me.signal);
  expect([me.refused, me.replica.history.nextSeq]).toEqual([["liar"], ledger.length]);
  expect(me.kept.map((bytes) => Buffer.from(bytes))).toEqual(ledger.map((bytes) => Buffer.from(bytes)));
});

test("the proof of a higher epoch whose entries a peer does not have is kept", async () => {
  const chain = startChain();
  for (let i = 0; i <= ledger.length; i++) chain.next(commitOf(i));
  const proof = chain.next({ kind: "epoch", epoch: 1 }, null, 1).bytes;
  const me = await newcomer([], {
    ranges: [
      ["torn", [...ledger, proof]],
      ["honest", ledger],
    ],
  });
  await me.catchUp.fetchLedger(me.signal);
  expect(me.proofs).toEqual([Uint8Array.from(proof)]);
  expect(highestEpoch(me.replica)).toBe(1);
});

test("few steps are replayed in blocks, and the newest hash that the ledger states is compared", async () => {
  const me = await newcomer([]);
  await me.catchUp.fetchLedger(me.signal);
  await me.catchUp.goToHead(me.signal);
  expect(me.parameters.stateHash()).toBe(head);
  expect(me.calls.filter((name) => name === "replay").length).toBeLessThan(STEPS);
});

test("a donor that gives only what is known is refused: the ledger does not end where it says", async () => {
  const me = await newcomer([], {
    ranges: [
      ["honest", ledger.slice(0, 4)],
      ["liar", new Array(8).fill(ledger[0])],
      ["honest", ledger],
    ],
  });
  await me.catchUp.fetchLedger(me.signal);
  expect([me.refused, me.replica.history.nextSeq]).toEqual([["liar"], ledger.length]);
});

test("the line is measured also where an earlier start left a part of the snapshot: it is gone on with, not replayed around", async () => {
  let clockMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (clockMs += 200));
  const lie = { ...stateOf(8), id: "ef".repeat(32), bytes: 1 };
  const me = await newcomer([offerOf(lie, "liar"), offerOf(stateOf(8), "honest", "another")], { line: { bytesPerSecond: null } });
  await me.catchUp.fetchLedger(me.signal);
  await me.catchUp.goToHead(me.signal).finally(() => clock.mockRestore());
  expect(me.sampled).toEqual([stateOf(8).id]);
  expect(me.said[0]).toMatch(/^catching up by snapshot: the snapshot after step 9 /);
  expect(me.parameters.stateHash()).toBe(head);
});

test("a snapshot that takes longer to come than a replay is given up, with those who give it so slowly", async () => {
  let clockMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (clockMs += 200_000));
  const patience: number[] = [];
  const timeout = vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    patience.push(ms);
    return AbortSignal.abort();
  });
  const me = await newcomer([offerOf(stateOf(8), "slow")], { slow: true });
  await me.catchUp.fetchLedger(me.signal);
  await me.catchUp.goToHead(me.signal).finally(() => [clock, timeout].map((mock) => mock.mockRestore()));
  // One step was replayed in 200 s: eleven are left.
  expect([patience, me.refused]).toEqual([[11 * 200_000], ["slow"]]);
  expect(me.said[1]).toBe("snapshot after step 9: its download takes longer than a replay");
  expect(me.parameters.stateHash()).toBe(head);
});

test("the newest snapshot that the ledger vouches for is taken, kept, and the steps behind it are replayed", async () => {
  const strangers = [
    // Of a state that the ledger says nothing of, with another hash than it states, and larger than one can be.
    offerOf({ ...stateOf(11), step: 10 }, "a"),
    offerOf({ ...stateOf(11), stateHash: "cd".repeat(32) }, "b"),
    offerOf({ ...stateOf(11), bytes: 2 ** 30 }, "c"),
  ];
  const me = await newcomer([offerOf(stateOf(5), "old"), ...strangers, offerOf(stateOf(8), "honest")]);
  await me.catchUp.fetchLedger(me.signal);
  expect(await me.catchUp.goAnew(me.signal)).toEqual({ step: 11, stateHash: head });
  expect(me.parameters.stateHash()).toBe(head);
  expect([me.said, me.refused]).toEqual([["took the snapshot after step 9"], []]);
  expect(me.snapshots.all()).toEqual([stateOf(8)]);
  // The way back to an earlier state begins there, where it lies on that way.
  expect(me.catchUp.nearest(commits.slice(0, 11))).toMatchObject({ step: 8, holds: 9, stateHash: stateOf(8).stateHash });
  expect(me.catchUp.nearest(commits.slice(0, 8))).toBeUndefined();
});

test("a snapshot that is another one's content is refused with those who offered it; the next one takes its place", async () => {
  const lie = { ...stateOf(11), id: "ef".repeat(32) };
  const me = await newcomer([offerOf(lie, "liar", "accomplice"), offerOf(stateOf(5), "honest")], {
    fileOf: (id) => blobs.get(id) ?? (blobs.get(stateOf(2).id) as string),
  });
  await me.catchUp.fetchLedger(me.signal);
  await me.catchUp.goAnew(me.signal);
  expect(me.parameters.stateHash()).toBe(head);
  expect(me.refused).toEqual(["liar", "accomplice"]);
  expect(me.said).toEqual(["snapshot after step 12: of another step", "took the snapshot after step 6"]);
});

test("where every snapshot is wrong in a leaf, the ledger is replayed from the start", async () => {
  const wrong = join(dir, "wrong");
  const bytes = readFileSync(blobs.get(stateOf(8).id) as string);
  bytes[bytes.byteLength - 1] = (bytes.at(-1) as number) ^ 1;
  writeFileSync(wrong, bytes);
  const me = await newcomer([offerOf(stateOf(8), "liar")], { fileOf: () => wrong });
  await me.catchUp.fetchLedger(me.signal);
  expect(await me.catchUp.goAnew(me.signal)).toEqual({ step: 11, stateHash: head });
  expect(me.parameters.stateHash()).toBe(head);
  expect([me.refused, me.said.at(-1), me.snapshots.all()]).toEqual([["liar"], "replaying the ledger from the start", []]);
});

test("a replica that does not get to the stated hash, though every entry holds, ends with what to do", async () => {
  const me = await newcomer([]);
  await me.catchUp.fetchLedger(me.signal);
  me.parameters.commit(commitOf(77));
  await expect(me.catchUp.goToHead(me.signal)).rejects.toThrow(/this machine does not compute as the others do; please report it/);
});
