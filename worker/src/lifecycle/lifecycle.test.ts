import type { Announcement, Task } from "@zoswarm/shared/protocol/announcement";
import {
  COMMIT_KEY,
  commitOf,
  evaluationOf,
  HASH,
  JOB_ID,
  rateOf,
  restoreOf,
  rosterOf,
  startChain,
  taskOf,
} from "@zoswarm/shared/protocol/announcement.testing";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { WorkerFrame } from "@zoswarm/shared/protocol/messages";
import { createReplica, receive } from "@zoswarm/shared/replica/replica";
import { expect, test } from "vitest";
import { createVolunteer, reduce, type VolunteerEffect, type VolunteerEvent } from "./lifecycle.ts";

/** A volunteer, over what is on its disk, and the chain that it hears; tasks have 8 slots. */
function volunteer(onDisk: readonly Announcement[] = [], chain = startChain()) {
  const replica = createReplica(JOB_ID, { steps: 4, evaluateEvery: 2 });
  for (const { bytes } of onDisk) receive(replica, bytes, COMMIT_KEY.verifier, true);
  const me = createVolunteer(replica);
  const feed = (event: VolunteerEvent) => reduce(me, event, COMMIT_KEY.verifier);
  const hear = ({ bytes }: Announcement, source: "gossip" | "range" | "disk" = "gossip") => feed({ kind: "announcement", bytes, source });
  return {
    me,
    chain,
    feed,
    hear,
    announce: (entry: Entry | null, task?: Task, source?: "range" | "disk") => hear(chain.next(entry, task), source),
    online: () => [...feed({ kind: "online" }), ...feed({ kind: "caught-up" })],
    slots: (runs: [number, number][], fromStep = 0, version = 1) =>
      feed({ kind: "slots", frame: { kind: "slots", version, fromStep, toStep: null, deadlineMs: 1000, runs } }),
    /** Ends the running measurement with losses of `slots`, by default those that it was started for. */
    measured: (slots = me.measuring?.slots ?? [], head = me.measuring?.head ?? HASH) =>
      feed({ kind: "measured", head, losses: slots.map(lossOf), elapsedMs: 70 }),
  };
}
const lossOf = (slot: number) => ({ slot, plus: 0.5 + slot / 100, minus: slot === 5 ? null : 0.4 });
const rate = rateOf();
const task = (step: number) => taskOf(step, 3);
/** One that is ready, has four slots and measures them for step 0. */
function measuring() {
  const it = volunteer();
  it.online();
  it.slots([[2, 4]]);
  it.announce(rate, task(0));
  return it;
}

const measures = (effects: readonly VolunteerEffect[]) =>
  effects.flatMap((effect) => (effect.kind === "measure" ? [[effect.task.step, effect.slots]] : []));
const sent = <K extends WorkerFrame["kind"]>(effects: readonly VolunteerEffect[], kind: K) =>
  effects.flatMap((effect) =>
    effect.kind === "send" && effect.frame.kind === kind ? [effect.frame as Extract<WorkerFrame, { kind: K }>] : [],
  );
const answers = (effects: readonly VolunteerEffect[]) => sent(effects, "result").map(({ losses }) => losses.map(({ slot }) => slot));
const kinds = (effects: readonly VolunteerEffect[]) => effects.map(({ kind }) => kind);

test("it joins, syncs, is ready when it has caught up, and evaluates while it measures", () => {
  const { me, feed, slots, announce, measured } = volunteer();
  expect(me.state).toBe("joining");
  expect(feed({ kind: "online" })).toEqual([]);
  expect(me.state).toBe("syncing");
  announce(rate, task(0), "range");
  expect(measures(slots([[0, 8]]))).toEqual([]);
  expect(me.state).toBe("syncing");
  const caughtUp = feed({ kind: "caught-up" });
  // The coordinator hears that it is ready before it hears anything else.
  expect(sent(caughtUp, "heartbeat").map(({ state }) => state)).toEqual(["ready"]);
  expect(measures(caughtUp)).toEqual([[0, [0, 1, 2, 3, 4, 5, 6, 7]]]);
  expect(me.state).toBe("evaluating");
  measured();
  expect(me.state).toBe("ready");
});

test("it measures its own slots, as far as the step has them, and none without an assignment", () => {
  const { announce, online, slots } = volunteer();
  online();
  expect(measures(announce(rate, task(0)))).toEqual([]);
  expect(measures(slots([]))).toEqual([]);
  const effects = slots([
    [1, 1],
    [6, 100],
  ]);
  expect(measures(effects)).toEqual([[0, [1, 6, 7]]]);
});

test("a task is measured on the state that its commit leads to; a checkpoint that is passed on disk is not worth its hash", () => {
  const { announce, online, slots } = volunteer();
  online();
  slots([[0, 1]]);
  expect(kinds(announce(commitOf(0), task(1)))).toEqual(["outcome", "append", "apply", "task", "measure"]);
  expect(kinds(announce(commitOf(1), undefined, "disk"))).toEqual(["outcome", "abort", "apply"]);
});

test("after an end nothing is measured any more; who hears of it late, or has it on disk, hashes the last state and is ready", () => {
  const end: Entry = { kind: "end", reason: "forwards", why: "enough" };
  const late = volunteer();
  late.online();
  late.slots([[0, 8]]);
  late.announce(rate, task(0), "range");
  late.announce(commitOf(0, [[0, 8]]), task(1), "range");
  expect(kinds(late.announce(end, undefined, "range"))).toEqual(["outcome", "append", "checkpoint"]);
  late.measured();
  expect(kinds(late.slots([[0, 8]], 2, 2))).toEqual([]);
  expect([late.me.state, late.me.open]).toEqual(["ready", []]);
  const again = createVolunteer(late.me.replica);
  reduce(again, { kind: "online" }, COMMIT_KEY.verifier);
  expect(measures(reduce(again, { kind: "caught-up" }, COMMIT_KEY.verifier))).toEqual([]);
  expect([again.state, again.open]).toEqual(["ready", []]);
});

test("what is measured is answered once, in one frame that says where and on what it was measured", () => {
  const { me, chain, feed, measured } = measuring();
  feed({ kind: "checkpointed", checkpoint: { step: -1, stateHash: HASH } });
  expect(sent(measured(), "result")).toEqual([
    {
      kind: "result",
      step: 0,
      assignment: 1,
      head: chain.prevHash,
      checkpoint: { step: -1, stateHash: HASH },
      losses: [2, 3, 4, 5].map(lossOf),
      elapsedMs: 70,
    },
  ]);
  expect(answers([...feed({ kind: "heartbeat" }), ...feed({ kind: "caught-up" })])).toEqual([]);
  expect(me.measuring).toBe(null);
});

test("slots that are added are measured after those that are being measured, and only those that are missing", () => {
  const { slots, measured } = measuring();
  expect(measures(slots([[0, 4]], 0, 2))).toEqual([]);
  const first = measured();
  expect(answers(first)).toEqual([[2, 3, 4, 5]]);
  expect(measures(first)).toEqual([[0, [0, 1]]]);
  const second = measured();
  expect(answers(second)).toEqual([[0, 1]]);
  expect(measures(second)).toEqual([]);
});

test("a measurement that ends early is answered for what it has, and the rest is measured", () => {
  const { measured } = measuring();
  const effects = measured([2, 3]);
  expect(answers(effects)).toEqual([[2, 3]]);
  expect(measures(effects)).toEqual([[0, [4, 5]]]);
});

test("the next step aborts the running measurement, once, and is measured when that has ended", () => {
  const { me, announce, measured } = measuring();
  const old = me.measuring?.head;
  const effects = announce(commitOf(0, [[0, 8]]), task(1));
  expect(kinds(effects).filter((kind) => kind === "abort" || kind === "measure")).toEqual(["abort"]);
  expect(kinds(announce(evaluationOf(-1)))).not.toContain("abort");
  // Losses of the step that is over are nobody's any more.
  const ended = measured([2], old);
  expect(answers(ended)).toEqual([]);
  expect(measures(ended)).toEqual([[1, [2, 3, 4, 5]]]);
});

test("an entry that leaves the step open, a repeat and what is refused abort nothing", () => {
  const { me, chain, announce, feed, hear } = measuring();
  const open = me.open[0];
  for (const effects of [
    announce(rosterOf("ada")),
    announce(evaluationOf(-1)),
    hear(startChain().next(rate, task(0))),
    feed({ kind: "announcement", bytes: Uint8Array.of(0xc1), source: "gossip" }),
  ])
    expect(kinds(effects).filter((kind) => kind === "abort" || kind === "measure")).toEqual([]);
  expect(me.open[0]).toBe(open);
  chain.next(rosterOf("bob"));
  expect(announce(rosterOf("cleo"))).toEqual([
    { kind: "outcome", code: "gap" },
    { kind: "fetch", fromSeq: 3 },
  ]);
});

test("a restore without a task ends the step: its measurement is aborted and nothing follows until there is a task", () => {
  const { me, announce, measured } = measuring();
  expect(kinds(announce(restoreOf(-1)))).toEqual(["outcome", "abort", "append", "restore"]);
  expect(measured()).toEqual([]);
  expect([me.open, me.measuring, me.state]).toEqual([[], null, "ready"]);
  expect(measures(announce(rate, task(1)))).toEqual([[1, [2, 3, 4, 5]]]);
});

test("offline it measures on and sends nothing; online again it answers what is still its own when it is told so", () => {
  const { me, feed, announce, measured, slots } = measuring();
  feed({ kind: "offline" });
  expect(kinds(measured([2, 3]))).toEqual(["measure"]);
  expect(feed({ kind: "heartbeat" })).toEqual([]);
  expect(feed({ kind: "checkpointed", checkpoint: { step: -1, stateHash: HASH } })).toEqual([]);
  expect(kinds(measured())).toEqual([]);
  feed({ kind: "online" });
  expect([me.slots, me.state]).toEqual([null, "syncing"]);
  // The coordinator has no assignment for it yet: what it knows of slots is of the session before.
  expect(answers(feed({ kind: "caught-up" }))).toEqual([]);
  const effects = slots([[3, 4]], 0, 9);
  expect(sent(effects, "result").map(({ assignment, losses }) => [assignment, losses])).toEqual([[9, [3, 4, 5].map(lossOf)]]);
  expect(measures(effects)).toEqual([[0, [6]]]);
  expect(answers(announce(commitOf(0, [[0, 8]]), task(1)))).toEqual([]);
});

test("a reconnection in the middle of a measurement loses nothing of it", () => {
  const { me, feed, measured, online, slots } = measuring();
  feed({ kind: "offline" });
  const [heartbeat] = sent(online(), "heartbeat");
  expect([heartbeat?.state, me.state]).toEqual(["evaluating", "evaluating"]);
  expect(slots([[2, 4]], 0, 2)).toEqual([]);
  expect(answers(measured())).toEqual([[2, 3, 4, 5]]);
  expect(answers(slots([[2, 4]], 0, 3))).toEqual([[2, 3, 4, 5]]);
  expect(answers(slots([[6, 2]], 0, 4))).toEqual([]);
});

test("slots of a later step wait for it: the open step is neither measured nor answered by them", () => {
  const { announce, measured, slots } = measuring();
  measured();
  expect(slots([[0, 3]], 1, 2)).toEqual([]);
  expect(measures(announce(commitOf(0, [[0, 8]]), task(1)))).toEqual([[1, [0, 1, 2]]]);
});

test.each<[string, (it: ReturnType<typeof volunteer>) => VolunteerEffect[]]>([
  ["a fork", ({ hear }) => hear(startChain().next(rosterOf("ada")))],
  ["a signed entry that breaks the rules", ({ announce }) => announce(restoreOf(3))],
])("%s makes it diverged: it gives up what it measures, and measures and answers nothing ever after", (_, diverge) => {
  const it = measuring();
  it.measured([2]);
  expect(kinds(diverge(it))).toEqual(["outcome", "abort", "stop"]);
  expect(it.me.state).toBe("diverged");
  const later = [it.measured(), it.slots([[0, 8]], 0, 2), it.announce(commitOf(0, [[0, 8]]), task(1)), it.feed({ kind: "offline" })];
  later.push(it.online(), it.slots([[0, 8]], 0, 3));
  expect([measures(later.flat()), answers(later.flat())]).toEqual([[], []]);
  expect(sent(later.flat(), "heartbeat").map(({ state }) => state)).toEqual(["diverged"]);
});

test("a heartbeat says the next place, the state and the last checkpoint", () => {
  const { announce, feed, online } = volunteer();
  expect(feed({ kind: "heartbeat" })).toEqual([]);
  online();
  const beat = { kind: "heartbeat", nextSeq: 0, state: "ready", checkpoint: null };
  expect(sent(feed({ kind: "heartbeat" }), "heartbeat")).toEqual([beat]);
  announce(commitOf(0));
  expect(kinds(announce(commitOf(1)))).toEqual(["outcome", "append", "apply", "checkpoint"]);
  const checkpoint = { step: 1, stateHash: HASH };
  // Without an open step no result will carry the checkpoint: it is told at once.
  expect(sent(feed({ kind: "checkpointed", checkpoint }), "heartbeat")).toEqual([{ ...beat, nextSeq: 2, checkpoint }]);
  announce(rate, task(2));
  expect(feed({ kind: "checkpointed", checkpoint })).toEqual([]);
});

test("the step that is open in the ledger on disk is taken up, and nobody needs to announce it again", () => {
  const chain = startChain();
  const onDisk = [chain.next(rate, task(0)), chain.next(commitOf(0, [[0, 8]]), task(1)), chain.next(rosterOf("ada"))];
  const { me, hear, online, slots, measured } = volunteer(onDisk, chain);
  expect(me.state).toBe("joining");
  expect(sent(online(), "heartbeat")).toMatchObject([{ nextSeq: 3, state: "ready" }]);
  expect(measures(slots([[1, 2]], 1))).toEqual([[1, [1, 2]]]);
  expect(sent(measured(), "result")).toMatchObject([{ step: 1, head: onDisk[1]?.hash }]);
  const last = chain.next(commitOf(1, [[0, 8]]));
  expect(kinds(hear(last))).toEqual(["outcome", "append", "apply", "checkpoint"]);
  expect(volunteer([...onDisk, last]).me.open).toEqual([]);
});

/** One that measures for step 2 with a checkpoint after step 1 whose hash is not what the ledger will state. */
function differing() {
  const it = measuring();
  it.measured();
  it.announce(commitOf(0, [[0, 8]]), task(1));
  it.measured();
  it.announce(commitOf(1, [[0, 8]]), task(2));
  it.measured([2]);
  it.feed({ kind: "checkpointed", checkpoint: { step: 1, stateHash: "cd".repeat(32) } });
  return it;
}

test("a hash that is not the ledger's makes it diverged: it says so, gives up, sends nothing, and asks for a new state", () => {
  const it = differing();
  const effects = it.announce(evaluationOf(1));
  expect(kinds(effects)).toEqual(["outcome", "append", "abort", "send", "resync"]);
  expect(sent(effects, "heartbeat").map(({ state }) => state)).toEqual(["diverged"]);
  expect(effects.at(-1)).toEqual({ kind: "resync", step: 1, stateHash: "cd".repeat(32), stated: HASH });
  const later = [it.measured(), it.slots([[0, 8]], 0, 2), it.feed({ kind: "caught-up" })].flat();
  expect([measures(later), answers(later)]).toEqual([[], []]);
});

test("the order of hash and ledger's word does not matter, and nothing is said twice", () => {
  const it = measuring();
  it.announce(commitOf(0, [[0, 8]]), task(1));
  it.announce(commitOf(1, [[0, 8]]), task(2));
  expect(kinds(it.announce(evaluationOf(1)))).toEqual(["outcome", "append"]);
  const checkpoint = { step: 1, stateHash: "cd".repeat(32) };
  expect(kinds(it.feed({ kind: "checkpointed", checkpoint }))).toContain("resync");
  expect(kinds(it.feed({ kind: "checkpointed", checkpoint }))).toEqual([]);
});

test("a hash is compared also where the ledger's word comes after the next checkpoint: evaluating may take longer than steps", () => {
  const it = measuring();
  for (const step of [0, 1, 2, 3]) {
    it.announce(commitOf(step, [[0, 8]]), step < 3 ? task(step + 1) : undefined);
    if (step % 2 === 1) it.feed({ kind: "checkpointed", checkpoint: { step, stateHash: step === 1 ? "cd".repeat(32) : HASH } });
  }
  expect(it.announce(evaluationOf(1)).at(-1)).toEqual({ kind: "resync", step: 1, stateHash: "cd".repeat(32), stated: HASH });
  it.feed({ kind: "resynced", checkpoint: { step: 3, stateHash: HASH } });
  // What was hashed before the resync is no more.
  expect(kinds(it.announce(evaluationOf(3)))).not.toContain("resync");
});

test("with a new state it goes on, and what it had measured before is measured again", () => {
  const it = differing();
  it.announce(evaluationOf(1));
  it.measured([]);
  const effects = it.feed({ kind: "resynced", checkpoint: { step: 1, stateHash: HASH } });
  expect(sent(effects, "heartbeat")).toMatchObject([{ state: "ready", checkpoint: { step: 1, stateHash: HASH } }]);
  expect(measures(effects)).toEqual([[2, [2, 3, 4, 5]]]);
  expect(answers(it.measured())).toEqual([[2, 3, 4, 5]]);
});

test("a measurement that was given up, and ends only after the state was made anew, counts for nothing", () => {
  const it = differing();
  it.announce(evaluationOf(1));
  expect(measures(it.feed({ kind: "resynced", checkpoint: { step: 1, stateHash: HASH } }))).toEqual([]);
  const ended = it.measured([2]);
  expect(answers(ended)).toEqual([]);
  expect(measures(ended)).toEqual([[2, [2, 3, 4, 5]]]);
  expect(answers(it.measured())).toEqual([[2, 3, 4, 5]]);
});

test("a second mismatch in a row ends it with what to do; one after an agreement does not", () => {
  const again = () => {
    const it = differing();
    it.announce(evaluationOf(1));
    it.feed({ kind: "resynced", checkpoint: { step: 1, stateHash: HASH } });
    it.feed({ kind: "checkpointed", checkpoint: { step: 1, stateHash: HASH } });
    it.announce(commitOf(2, [[0, 8]]), task(3));
    it.announce(commitOf(3, [[0, 8]]));
    it.feed({ kind: "checkpointed", checkpoint: { step: 3, stateHash: "ef".repeat(32) } });
    return it;
  };
  expect(kinds(again().announce(evaluationOf(3)))).toContain("resync");
  const it = differing();
  it.announce(evaluationOf(1));
  it.feed({ kind: "resynced", checkpoint: null });
  const effects = it.feed({ kind: "checkpointed", checkpoint: { step: 1, stateHash: "ef".repeat(32) } });
  expect(effects.at(-1)).toMatchObject({
    kind: "give-up",
    message: expect.stringMatching(/this machine does not compute as the others do/),
  });
});
