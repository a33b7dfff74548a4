import fc from "fast-check";
import { expect, test } from "vitest";
import {
  COMMIT_KEY,
  commitKeyOf,
  commitOf,
  evaluationOf,
  HASH,
  JOB_ID,
  rateOf,
  restoreOf,
  rosterOf,
  startChain,
  taskOf,
} from "../protocol/announcement.testing.ts";
import { type Announcement, slotsOf, type Task } from "../protocol/announcement.ts";
import type { Entry } from "../protocol/entries.ts";
import { createReplica, headOf, highestEpoch, isCheckpoint, type Replica, type ReplicaEffect, receive, standsAt } from "./replica.ts";

const JOB = { steps: 6, evaluateEvery: 2 };

/** A replica and the chain that it follows. */
function node() {
  const chain = startChain();
  const replica = createReplica(JOB_ID, JOB);
  return {
    chain,
    replica,
    take: (...[entry, task]: [Entry | null, Parameters<typeof chain.next>[1]?]) => hear(replica, chain.next(entry, task)),
  };
}
const hear = (replica: Replica, { bytes }: Pick<Announcement, "bytes">, stored = false) =>
  receive(replica, bytes, COMMIT_KEY.verifier, stored);
const kinds = ({ effects }: { effects: ReplicaEffect[] }) => effects.map(({ kind }) => kind);

test("a commit is made durable, then applied, and then its task is known", () => {
  const { chain, replica } = node();
  const commit = commitOf(0);
  const announcement = chain.next(commit, taskOf(1));
  expect(hear(replica, announcement)).toEqual({
    code: "applied",
    effects: [
      { kind: "append", seq: 0, bytes: expect.anything() },
      { kind: "apply", commit },
      { kind: "task", task: taskOf(1), head: announcement.hash },
    ],
  });
  expect([standsAt(replica), replica.history.nextSeq, replica.hashes]).toEqual([0, 1, [announcement.hash]]);
});

test("what is appended is what came, byte for byte", () => {
  const { chain, replica } = node();
  const announcements = [chain.next(rosterOf("ada")), chain.next(commitOf(0, [[1, 4]]))];
  const appended = announcements.flatMap((each) => hear(replica, each).effects.filter((effect) => effect.kind === "append"));
  expect(appended.map(({ seq }) => seq)).toEqual([0, 1]);
  appended.forEach(({ bytes }, i) => {
    expect(Buffer.compare(bytes, announcements[i]?.bytes as Uint8Array)).toBe(0);
  });
});

test("what is on disk already is not appended again, and has every other effect", () => {
  const entries = [rosterOf("ada"), commitOf(0), commitOf(1), evaluationOf(1), restoreOf(0)];
  const { chain, replica } = node();
  const other = createReplica(JOB_ID, JOB);
  for (const entry of entries) {
    const announcement = chain.next(entry, taskOf(3));
    const [live, stored] = [hear(replica, announcement), hear(other, announcement, true)];
    expect(kinds(live)[0]).toBe("append");
    expect(stored).toEqual({ code: "applied", effects: live.effects.slice(1) });
  }
  expect(other).toEqual(replica);
});

test("a checkpoint follows every evaluateEvery-th step and the last one, after the step is applied", () => {
  const { take } = node();
  const checkpoints = [0, 1, 2, 3, 4, 5].map((step) => take(commitOf(step)).effects.slice(2));
  expect(checkpoints).toEqual([
    [],
    [{ kind: "checkpoint", step: 1 }],
    [],
    [{ kind: "checkpoint", step: 3 }],
    [],
    [{ kind: "checkpoint", step: 5 }],
  ]);
  const { take: one } = node();
  expect(kinds(one(commitOf(1), taskOf(2)))).toEqual(["append", "apply", "checkpoint", "task"]);
  expect([0, 1, 2, 3, 4, 5, 6].filter((step) => isCheckpoint({ steps: 5, evaluateEvery: 3 }, step))).toEqual([2, 4, 5]);
});

test("a restore names the commits from the initial state on, and the hash that they must lead to", () => {
  const { replica, take } = node();
  for (const step of [0, 1, 2]) take(commitOf(step));
  const restored = take(restoreOf(0), taskOf(3));
  expect(restored.effects.slice(1)).toEqual([
    { kind: "restore", commits: [commitOf(0)], step: 0, stateHash: HASH },
    { kind: "task", task: taskOf(3), head: replica.history.headHash },
  ]);
  expect(standsAt(replica)).toBe(0);
  take(commitOf(3));
  const [, again] = take(restoreOf(3)).effects;
  expect(again).toMatchObject({ kind: "restore", commits: [commitOf(0), commitOf(3)] });
  const [, initial] = take(restoreOf(-1)).effects;
  expect(initial).toEqual({ kind: "restore", commits: [], step: -1, stateHash: HASH });
  expect(standsAt(replica)).toBe(-1);
});

test("an end has every node hash the state that it leaves, once", () => {
  const end: Entry = { kind: "end", reason: "target", why: "good enough" };
  const last = (...before: Parameters<ReturnType<typeof node>["take"]>[]) => {
    const { take } = node();
    for (const one of before) take(...one);
    return take(end).effects.slice(1);
  };
  expect(isCheckpoint({ steps: 6, evaluateEvery: 2 }, 2)).toBe(false);
  const three = [0, 1, 2].map((step): [Entry, Task] => [commitOf(step), taskOf(step + 1)]);
  expect(last(...three)).toEqual([{ kind: "checkpoint", step: 2 }]);
  // A checkpoint was told with its commit, and the initial state is known.
  expect(last(...three.slice(0, 2))).toEqual([]);
  expect(last()).toEqual([]);
  expect(last(...three, [restoreOf(0)])).toEqual([{ kind: "checkpoint", step: 0 }]);
});

test("an evaluation is compared with the own state; a roster, a rate and an epoch are only kept", () => {
  const { chain, replica, take } = node();
  expect(take(evaluationOf(-1)).effects.slice(1)).toEqual([{ kind: "compare", step: -1, stateHash: HASH }]);
  for (const entry of [rosterOf("ada"), rateOf()]) expect(kinds(take(entry))).toEqual(["append"]);
  expect(kinds(hear(replica, chain.next({ kind: "epoch", epoch: 1 }, null, 1)))).toEqual(["append"]);
});

test("a task without an entry is known and not kept, and the next entry takes its place", () => {
  const { chain, replica } = node();
  const announcement = chain.next(null, taskOf(0, 3));
  expect(hear(replica, announcement)).toEqual({
    code: "applied",
    effects: [{ kind: "task", task: taskOf(0, 3), head: announcement.hash }],
  });
  expect([replica.history.nextSeq, replica.hashes, slotsOf(replica.history.open[0]?.task.groups ?? [])]).toEqual([0, [], 8]);
  expect(hear(replica, chain.next(commitOf(0))).code).toBe("applied");
});

test("behind a gap it asks for the range from the first place that it misses, and a range fills it", () => {
  const { chain, replica } = node();
  const sent = [0, 1, 2, 3].map((step) => chain.next(commitOf(step)));
  hear(replica, sent[0] as Announcement);
  for (const ahead of sent.slice(2)) expect(hear(replica, ahead)).toEqual({ code: "gap", effects: [{ kind: "fetch", fromSeq: 1 }] });
  expect([replica.history.nextSeq, standsAt(replica)]).toEqual([1, 0]);
  expect(sent.map((each) => hear(replica, each).code)).toEqual(["repeat", "applied", "applied", "applied"]);
  expect(standsAt(replica)).toBe(3);
});

test("what is not applied has no effect and moves nothing, least of all a forged announcement", () => {
  const { chain, replica, take } = node();
  take(rosterOf("ada"));
  take(commitOf(0), taskOf(1));
  const kept = structuredClone(replica);
  const forged = startChain(commitKeyOf(9).key, chain);
  const ahead = forged.branch();
  ahead.next(commitOf(1));
  const refused = [
    [forged.next(commitOf(1), taskOf(2)), "bad-signature"],
    [ahead.next(commitOf(2)), "bad-signature"],
    [startChain(COMMIT_KEY.key, { seq: 2_000_000, prevHash: HASH }).next(commitOf(1)), "too-far-ahead"],
    [startChain(commitKeyOf(9).key).next(rosterOf("eve")), "bad-signature"],
    [startChain().next(rosterOf("ada")), "repeat"],
    [startChain().next(null, taskOf(0)), "old"],
    [{ bytes: Uint8Array.of(0xc1) }, "malformed"],
  ] as const;
  for (const [announcement, code] of refused) expect(hear(replica, announcement)).toEqual({ code, effects: [] });
  expect(structuredClone(replica)).toEqual(kept);
  expect(hear(replica, chain.next(commitOf(1))).code).toBe("applied");
});

test("two validly signed histories stop it: it says where they differ, and follows neither from then on", () => {
  const { chain, replica, take } = node();
  take(rosterOf("ada"));
  const other = chain.branch();
  take(commitOf(0));
  const { code, effects } = hear(replica, other.next(commitOf(0, [[1, 4]])));
  expect([code, effects]).toEqual([
    "fork",
    [{ kind: "stop", code: "fork", message: expect.stringContaining("differ at ledger entry 1:") }],
  ]);
  expect(replica.stopped).toBe(effects[0]?.kind === "stop" && effects[0].message);
  for (const each of [chain, other]) expect(hear(replica, each.next(commitOf(1), taskOf(2)))).toEqual({ code: "old", effects: [] });
  expect([standsAt(replica), replica.history.nextSeq, replica.history.open]).toEqual([0, 2, []]);
});

test("a next entry that stands on another history than its own stops it just so", () => {
  const { chain, replica, take } = node();
  const other = chain.branch();
  take(rosterOf("ada"));
  other.next(rosterOf("bob"));
  expect(kinds(hear(replica, other.next(commitOf(0))))).toEqual(["stop"]);
  expect(replica.history.nextSeq).toBe(1);
});

test.each<[string, Entry]>([
  ["a step that is committed already", commitOf(1)],
  ["a contributor whom no roster names", commitOf(2, [[1, 4]])],
  ["a restore to a state that never was", restoreOf(7)],
])("a signed entry that breaks the ledger's rules stops it and is not kept: %s", (_, entry) => {
  const { chain, replica, take } = node();
  take(commitOf(0));
  take(commitOf(1), taskOf(2));
  const { history, hashes } = structuredClone(replica);
  const { code, effects } = take(entry, taskOf(3));
  expect([code, effects]).toEqual(["wrong-schema", [{ kind: "stop", code: "bad-entry", message: expect.stringContaining("entry 2") }]]);
  expect(structuredClone(replica)).toMatchObject({ history, hashes });
  expect(hear(replica, chain.next(commitOf(4)))).toEqual({ code: "old", effects: [] });
});

test("what the gate is told of the replica follows it", () => {
  const { chain, replica } = node();
  expect(headOf(replica)).toMatchObject({ jobId: JOB_ID, epoch: 0, nextSeq: 0, headHash: JOB_ID });
  const first = chain.next({ kind: "epoch", epoch: 4 }, null, 4);
  hear(replica, first);
  const head = headOf(replica);
  expect(head).toMatchObject({ epoch: 4, nextSeq: 1, headHash: first.hash });
  expect([head.hashAt(0), head.hashAt(1)]).toEqual([first.hash, undefined]);
});

/** A chain of which `epochs[i]` entries are of epoch i; the places at which another coordinator takes over. */
function signed(chain: ReturnType<typeof startChain>, epoch: number, count: number): Announcement[] {
  return Array.from({ length: count }, () => chain.next(rosterOf("ada"), null, epoch));
}

/** Does what a shell does with a rewind: cuts the ledger, and makes a replica of what is on disk then. */
function rebuilt(disk: Uint8Array[]): Replica {
  const replica = createReplica(JOB_ID, JOB);
  for (const bytes of disk) expect(receive(replica, bytes, COMMIT_KEY.verifier, true).code).toBe("applied");
  return replica;
}

test("a higher epoch that begins within this ledger ends the replica: the shell is told where to cut and what to put there", () => {
  const chain = startChain();
  const own = signed(chain, 0, 3);
  const successor = chain.branch();
  const replica = rebuilt([...own, ...signed(chain, 0, 4)].map(({ bytes }) => bytes));
  const begins = successor.next({ kind: "epoch", epoch: 1 }, null, 1);
  const { code, effects } = hear(replica, begins);
  expect(code).toBe("rewind");
  expect(effects).toEqual([{ kind: "rewind", seq: 3, bytes: expect.anything(), dropped: 4, epoch: 1 }]);
  // Until it is rebuilt it takes nothing in.
  expect(hear(replica, chain.next(rosterOf("eve")))).toEqual({ code: "old", effects: [] });
  const after = rebuilt([...own.map(({ bytes }) => bytes), begins.bytes]);
  expect(headOf(after)).toMatchObject({ epoch: 1, nextSeq: 4, headHash: begins.hash });
  // The coordinator that was succeeded is not heard any more, here or after a restart.
  expect(hear(after, chain.next(rosterOf("eve")))).toEqual({ code: "old-epoch", effects: [] });
});

test("a higher epoch is kept before its entries are asked for, each once, wherever it begins", () => {
  const chain = startChain();
  const [old, successor, later] = [chain.branch(), chain.branch(), chain.branch()];
  const replica = rebuilt(signed(old, 0, 3).map(({ bytes }) => bytes));
  signed(successor, 0, 1);
  const [, second] = [successor.next({ kind: "epoch", epoch: 1 }, null, 1), successor.next(rosterOf("bob"), null, 1)];
  signed(later, 0, 5);
  const far = later.next({ kind: "epoch", epoch: 4 }, null, 4);
  const proof = ({ epoch, bytes }: Announcement) => ({ kind: "successor", epoch, bytes: Uint8Array.from(bytes) });
  expect(hear(replica, second)).toEqual({ code: "other-branch", effects: [proof(second), { kind: "fetch", fromSeq: 0 }] });
  expect(hear(replica, second).effects).toEqual([{ kind: "fetch", fromSeq: 0 }]);
  expect(hear(replica, far)).toEqual({ code: "gap", effects: [proof(far), { kind: "fetch", fromSeq: 3 }] });
  expect(hear(replica, second).effects).toEqual([{ kind: "fetch", fromSeq: 0 }]);
  expect([highestEpoch(replica), replica.history.epoch]).toEqual([4, 0]);
});

test("two beginnings of one epoch are two truths, and stop it", () => {
  const chain = startChain();
  const [first, second] = [chain.branch(), chain.branch()];
  const replica = createReplica(JOB_ID, JOB);
  hear(replica, first.next({ kind: "epoch", epoch: 1 }, null, 1));
  expect(hear(replica, second.next({ kind: "epoch", epoch: 1 }, taskOf(0), 1)).effects).toMatchObject([{ kind: "stop", code: "fork" }]);
});

test("a higher epoch that does not begin with its entry stops it, and nothing is cut", () => {
  const chain = startChain();
  const other = chain.branch();
  const replica = rebuilt(signed(chain, 0, 2).map(({ bytes }) => bytes));
  expect(hear(replica, other.next(rosterOf("bob"), null, 1)).effects).toMatchObject([{ kind: "stop", code: "bad-entry" }]);
  expect(replica.history.nextSeq).toBe(2);
});

test("whatever branch a node followed, asking for what it is told to ask for brings it to the newest epoch's ledger", () => {
  const places = fc.integer({ min: 0, max: 70 });
  const run = fc.property(places, places, places, places, (common, dropped, firstEpoch, secondEpoch) => {
    const chain = startChain();
    const shared = signed(chain, 0, common);
    const old = chain.branch();
    const disk = [...shared, ...signed(old, 0, dropped)].map(({ bytes }) => bytes);
    // The second successor takes over from the first, which may have had less than the node.
    const truth = [...shared];
    for (const [epoch, count] of [
      [1, firstEpoch],
      [2, secondEpoch],
    ] as const)
      truth.push(chain.next({ kind: "epoch", epoch }, null, epoch), ...signed(chain, epoch, count));
    let replica = rebuilt(disk);
    const inbox = [(truth.at(-1) as Announcement).bytes];
    for (let heard = 0; inbox.length > 0; heard++) {
      expect(heard).toBeLessThan(5_000);
      for (const effect of receive(replica, inbox.shift() as Uint8Array, COMMIT_KEY.verifier).effects) {
        if (effect.kind === "append") disk.push(effect.bytes);
        if (effect.kind === "stop") throw new Error(effect.message);
        if (effect.kind === "fetch") inbox.splice(0, inbox.length, ...truth.slice(effect.fromSeq).map(({ bytes }) => bytes));
        if (effect.kind !== "rewind") continue;
        disk.splice(effect.seq, disk.length, effect.bytes);
        replica = rebuilt(disk);
        inbox.splice(0, inbox.length, ...truth.slice(replica.history.nextSeq).map(({ bytes }) => bytes));
      }
    }
    expect(headOf(replica)).toMatchObject({ epoch: 2, nextSeq: truth.length, headHash: truth.at(-1)?.hash });
    expect(headOf(rebuilt(disk))).toMatchObject({ epoch: 2, headHash: truth.at(-1)?.hash });
  });
  fc.assert(run, { numRuns: 25, seed: 7 });
});
