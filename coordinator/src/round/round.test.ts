import type { CoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import fc from "fast-check";
import { expect, test } from "vitest";
import { drive } from "./driver.testing.ts";
import type { RoundEffect } from "./state.ts";

const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const C = "12D3KooWCCCCCCCCCCCCCCCCCCCC";
const all = [0, 1, 2, 3, 4, 5, 6, 7];

const frames = <K extends CoordinatorFrame["kind"]>(effects: readonly RoundEffect[], kind: K) =>
  effects.flatMap((effect) =>
    effect.kind === "send" && effect.frame.kind === kind
      ? [{ to: effect.peerId, ...(effect.frame as Extract<CoordinatorFrame, { kind: K }>) }]
      : [],
  );
const codes = (effects: readonly RoundEffect[]) => frames(effects, "verdict").map(({ code }) => code);
const commits = ({ round }: ReturnType<typeof drive>) => round.replica.history.losses;

test("the first step opens when enough workers are ready, and its slots cover everything once", () => {
  const job = drive({}, 2);
  expect(frames(job.join(A), "slots")).toEqual([]);
  expect(job.round.phase).toBe("gathering");
  job.join(B);
  expect(job.round.phase).toBe("open");
  expect([...job.slots(A), ...job.slots(B)].sort()).toEqual(all);
});

test("nothing opens before the initial state is evaluated", () => {
  const job = drive();
  job.round.replica.history.evaluations.length = 0;
  job.join(A);
  expect(job.round.phase).toBe("gathering");
});

test("a step is committed when all slots are in, and the next task rides on the commit", () => {
  const job = drive();
  job.join(A);
  const effects = job.answer(A, all);
  expect(codes(effects)).toEqual(["accepted"]);
  const announced = effects.flatMap((effect) => (effect.kind === "announce" ? [effect] : []));
  expect(announced.map(({ entry, task }) => [entry.kind, task?.step])).toEqual([
    ["roster", undefined],
    ["commit", 1],
  ]);
  expect(job.round.replica.history.credit).toEqual([0, 8]);
  expect(job.round.open[0]?.task.step).toBe(1);
});

test("a late result is late, a copy is answered as before, and neither counts twice", () => {
  const job = drive({}, 2);
  job.join(A);
  job.join(B);
  const mine = job.slots(A);
  expect(codes(job.answer(A, mine))).toEqual(["accepted"]);
  const again = frames(job.answer(A, mine), "verdict");
  expect(again.map(({ code, accepted }) => [code, accepted])).toEqual([["accepted", mine.length]]);
  job.answer(B, job.slots(B));
  expect(codes(job.answer(A, mine, { step: 0 }))).toEqual(["late"]);
  expect(job.round.replica.history.credit).toEqual([0, 4, 4]);
});

test("what is not asked for is refused with its code", () => {
  const job = drive({}, 2);
  job.join(A);
  job.join(B);
  expect(codes(job.answer(A, job.slots(B)))).toEqual(["not-my-slot"]);
  expect(codes(job.answer(A, job.slots(A), { head: "cd".repeat(32) }))).toEqual(["wrong-head"]);
  expect(codes(job.answer(A, job.slots(A), { step: 3 }))).toEqual(["unknown-step"]);
  expect(job.answer(C, [0])).toEqual([]);
  expect(job.round.open[0]?.answers.size).toBe(0);
});

test("a loss that is not finite is an answer: its coefficient is 0 and nobody gets credit for it", () => {
  const job = drive();
  job.join(A);
  expect(codes(job.answer(A, [0], { loss: null }))).toEqual(["not-finite"]);
  job.answer(A, all.slice(1));
  expect(commits(job)[0]?.committed).toBe(7);
  expect(job.round.replica.history.credit).toEqual([1, 7]);
});

test("a dead worker's slots are offered to the others in the same step", () => {
  const job = drive({}, 2);
  job.join(A);
  job.join(B);
  const left = job.slots(B);
  const offered = frames(job.feed({ kind: "left", peerId: B, nowMs: 50 }), "slots");
  expect(offered.map(({ to, fromStep }) => [to, fromStep])).toEqual([[A, 0]]);
  expect(job.slots(A).sort()).toEqual(all);
  job.answer(
    A,
    all.filter((slot) => !left.includes(slot)),
  );
  expect(commits(job)).toHaveLength(0);
  job.answer(A, left);
  expect(commits(job)).toHaveLength(1);
});

test("a newcomer gets slots in the open step, and a fair share of the next", () => {
  const job = drive();
  job.join(A);
  expect(frames(job.join(B, 10), "slots").map(({ to }) => to)).toEqual([B]);
  expect(job.slots(B).length).toBe(4);
  job.answer(B, job.slots(B));
  job.answer(A, all.slice(0, 4));
  expect(commits(job)).toHaveLength(1);
  expect([...job.slots(A), ...job.slots(B)].sort()).toEqual(all);
});

test("with no workers it waits quietly, and goes on with whoever comes", () => {
  const job = drive();
  job.join(A);
  job.feed({ kind: "left", peerId: A, nowMs: 1 });
  expect(job.feed({ kind: "deadline", step: 0, nowMs: 1000 })).toEqual([]);
  const effects = job.join(B, 2000);
  expect(job.slots(B)).toEqual(all);
  expect(effects.some(({ kind }) => kind === "deadline")).toBe(true);
  job.answer(B, all);
  expect(commits(job)).toHaveLength(1);
});

test("at the deadline a quorum commits, missing slots are 0, and below it the deadline is set again", () => {
  const job = drive({}, 2);
  job.join(A);
  job.join(B);
  job.answer(A, job.slots(A).slice(0, 3));
  const rearmed = job.feed({ kind: "deadline", step: 0, nowMs: 1000 });
  expect(rearmed.map(({ kind }) => kind)).toEqual(["deadline"]);
  job.answer(A, job.slots(A));
  expect(commits(job)).toHaveLength(0);
  job.feed({ kind: "deadline", step: 0, nowMs: 2000 });
  expect(commits(job).map(({ committed, directions }) => [committed, directions])).toEqual([[4, 8]]);
  expect(job.round.replica.history.credit[0]).toBe(4);
});

test("below the quorum, slots of the silent are offered to those who are done", () => {
  const job = drive({ quorum: 1 }, 2);
  job.join(A);
  job.join(B);
  job.answer(A, job.slots(A));
  const offered = frames(job.feed({ kind: "deadline", step: 0, nowMs: 1000 }), "slots");
  expect(offered.map(({ to }) => to)).toEqual([A]);
  job.answer(A, job.slots(A));
  expect(commits(job)).toHaveLength(1);
  expect([...job.slots(A), ...job.slots(B)].sort()).toEqual(all);
});

test("an old deadline does nothing to a new step", () => {
  const job = drive();
  job.join(A);
  job.answer(A, all);
  expect(job.feed({ kind: "deadline", step: 0, nowMs: 1 })).toEqual([]);
});

test("the last commit ends the job: its state is evaluated, everyone is thanked, nothing follows", () => {
  const job = drive({ steps: 1 });
  job.join(A);
  const effects = job.answer(A, all);
  expect(effects.some((effect) => effect.kind === "evaluate" && effect.step === 0)).toBe(true);
  expect(job.round.phase).toBe("ending");
  job.evaluated();
  expect(job.round.phase).toBe("finished");
  expect(job.effects.filter(({ kind }) => kind === "finish")).toHaveLength(1);
  expect(job.effects.some((effect) => effect.kind === "dismiss" && effect.peerId === A && effect.code === "finished")).toBe(true);
});

test("a worker whose state hash differs is refused and its slots go to the others", () => {
  const job = drive({ evaluateEvery: 1 }, 2);
  job.join(A);
  job.join(B);
  job.answer(A, job.slots(A));
  job.answer(B, job.slots(B));
  job.evaluated();
  const frame = {
    kind: "heartbeat" as const,
    nextSeq: 4,
    state: "evaluating" as const,
    checkpoint: { step: 0, stateHash: "ee".repeat(32) },
  };
  job.feed({ kind: "heartbeat", peerId: B, frame, nowMs: 0 });
  const effects = job.answer(B, job.slots(B));
  expect(codes(effects)).toEqual(["diverged"]);
  expect(job.slots(A).sort()).toEqual(all);
});

test("one-sided shares are large enough to be centred", () => {
  const job = drive({ estimator: "one-sided" }, 3);
  for (const peer of [A, B, C]) job.join(peer);
  expect([A, B, C].map((peer) => job.slots(peer).length).sort()).toEqual([0, 4, 4]);
});

test("a restart from the ledger reopens the very step, and a finished job stays finished", () => {
  const job = drive();
  job.join(A);
  job.answer(A, all);
  const again = drive({}, 1, job.ledger, job.pem);
  expect(again.round.phase).toBe("open");
  expect(again.round.open[0]?.head).toBe(job.round.open[0]?.head);
  again.join(B);
  again.answer(B, all);
  expect(commits(again)).toHaveLength(2);
});

test("those who come back after a restart share the reopened step, and do not all take the same half of it", () => {
  const job = drive();
  job.join(A);
  job.answer(A, all);
  const again = drive({}, 1, job.ledger, job.pem);
  const others = [..."BCDEFGH"].map((letter) => `12D3KooW${letter.repeat(20)}`);
  for (const who of [A, ...others]) again.join(who);
  for (const who of others) again.answer(who, again.slots(who));
  expect(commits(again)).toHaveLength(1);
  again.answer(A, [0]);
  expect(commits(again)).toHaveLength(2);
});

test("whatever happens, every commit covers each slot once and steps ascend", () => {
  const peers = [A, B, C];
  const event = fc.record({
    what: fc.constantFrom("join", "leave", "answer", "answer", "answer", "part", "deadline"),
    who: fc.nat(2),
    at: fc.nat(7),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const job = drive({ steps: 6 });
      for (const { what, who, at } of events) {
        const peer = peers[who] as string;
        const offered = [...(job.round.open[0]?.offered.get(peer) ?? [])];
        if (what === "join") job.join(peer);
        else if (what === "leave") job.feed({ kind: "left", peerId: peer, nowMs: 0 });
        else if (what === "deadline") job.feed({ kind: "deadline", step: job.round.open[0]?.task.step ?? 0, nowMs: 0 });
        else if (offered.length > 0) job.answer(peer, what === "part" ? offered.slice(0, at) : offered);
        job.evaluated();
      }
      const { losses, credit } = job.round.replica.history;
      expect(losses.map(({ step }) => step)).toEqual(losses.map((_, i) => i));
      expect(losses.every(({ directions, committed }) => directions === 8 && committed >= 4)).toBe(true);
      expect(credit.reduce((sum, n) => sum + n, 0)).toBe(8 * losses.length);
    }),
    { seed: 7, numRuns: 150 },
  );
});

test("a worker that says that it diverged is counted once each time, and gets no slots until it says that it is ready", () => {
  const job = drive({}, 2);
  job.join(A);
  job.join(B);
  const beat = (state: "diverged" | "ready", stateHash: string) =>
    job.feed({
      kind: "heartbeat",
      peerId: A,
      frame: { kind: "heartbeat", nextSeq: 0, state, checkpoint: { step: -1, stateHash } },
      nowMs: 50,
    });
  for (let i = 0; i < 3; i++) beat("diverged", "cd".repeat(32));
  expect([job.round.divergences, job.round.members.get(A)?.state]).toEqual([1, "diverged"]);
  expect(codes(job.answer(A, all))).toEqual(["diverged"]);
  expect(job.round.divergences).toBe(1);
  expect(job.slots(A)).toEqual([]);
  beat("ready", "ab".repeat(32));
  expect(job.slots(A).length).toBeGreaterThan(0);
});

test("who comes and goes while a step is open, under ever new names, leaves nothing of itself beyond those that are shown", () => {
  const job = drive();
  job.join(A);
  for (let i = 0; i < 1_100; i++) {
    job.join(`peer${i}`);
    job.feed({ kind: "left", peerId: `peer${i}`, nowMs: 0 });
  }
  const [open] = job.round.open;
  const known = job.round.members.size;
  expect(known).toBe(1_001);
  for (const { size } of [open?.offered, open?.asked, open?.late] as { size: number }[]) expect(size).toBeLessThanOrEqual(known);
});

test("a worker that takes part again is told where it has no slots any more: it remembers those that it had", () => {
  const job = drive({ estimator: "one-sided", steps: 20 }, 3);
  for (const who of [A, B, C]) job.join(who);
  expect([A, B, C].map((who) => job.slots(who).length)).toEqual([4, 4, 0]);
  const beat = (state: "paused" | "ready") =>
    job.feed({ kind: "heartbeat", peerId: A, frame: { kind: "heartbeat", nextSeq: 0, state, checkpoint: null }, nowMs: 50 });
  /** One step, in which the others are ten times faster. */
  const turn = (step: number) => {
    for (const who of [A, B, C]) job.answer(who, job.slots(who), { step, elapsedMs: who === A ? 1000 : 100, nowMs: 2000 * (step + 1) });
    if (job.round.open[0]?.task.step === step) job.feed({ kind: "deadline", step, nowMs: 2000 * (step + 1) + 1000 });
  };
  const told = () => frames(job.effects, "slots").filter(({ to, toStep }) => to === A && toStep === null);
  expect(told().at(-1)?.runs).toEqual([[0, 4]]);
  beat("paused");
  turn(0);
  beat("ready");
  for (let step = 1; step < 6; step++) turn(step);
  expect(job.slots(A)).toEqual([]);
  expect(told().at(-1)?.runs).toEqual([]);
});

test("a step that is complete while the commit before it is on its way to the ledger waits for it: nobody is in the roster twice", () => {
  const job = drive({ staleness: 1, steps: 6 }, 1);
  job.between = () => {
    const open = job.round.open.find(({ answers }) => answers.size === 0);
    if (open) job.answer(A, all, { step: open.task.step });
  };
  job.join(A);
  const { roster, credit, losses } = job.round.replica.history;
  expect(roster.map(({ peerId }) => peerId)).toEqual([A]);
  expect([losses.length, credit]).toEqual([6, [0, 48]]);
});
