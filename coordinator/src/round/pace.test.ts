import { encodeCoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { drive, manifestOf } from "./driver.testing.ts";
import { deadlineMsOf } from "./pace.ts";
import type { RoundEffect } from "./state.ts";

const peer = (i: number) => `12D3KooW${"ABCDEFGHJKLMNPQRSTUVWXYZ"[i % 24]}${"123456789"[Math.floor(i / 24)]}${"A".repeat(18)}`;
const [A, B, C] = [peer(0), peer(1), peer(2)];

/** Everybody answers what is asked of it in the oldest step, at its own speed; who is slower than the deadline does not. */
function turn(job: ReturnType<typeof drive>, fromMs: number, slotMs: Record<string, number>, deadlineMs = Number.POSITIVE_INFINITY): void {
  const step = job.round.open[0]?.task.step ?? 0;
  const times = Object.entries(slotMs).map(([who, ms]) => ({ who, slots: job.slots(who), ms: job.slots(who).length * ms }));
  for (const { who, slots, ms } of times.sort((one, other) => one.ms - other.ms))
    if (slots.length > 0 && ms < deadlineMs) job.answer(who, slots, { nowMs: fromMs + ms, elapsedMs: ms, step });
  if (job.round.open[0]?.task.step === step) job.feed({ kind: "deadline", step, nowMs: fromMs + deadlineMs });
  job.evaluated();
}
const shareOf = (job: ReturnType<typeof drive>, who: string) => job.slots(who).length;

describe("slots follow speed", () => {
  it("a machine that is 8 times faster gets about 8 times the directions", () => {
    const job = drive({ steps: 20, directionsLog2: 6 }, 2);
    job.join(A);
    job.join(B);
    for (let step = 0; step < 8; step++) turn(job, 10_000 * step, { [A]: 10, [B]: 80 });
    const ratio = shareOf(job, A) / shareOf(job, B);
    expect(ratio).toBeGreaterThanOrEqual(6);
    expect(ratio).toBeLessThanOrEqual(10);
  });

  it("a worker that says it took no time is believed no longer than it answers", () => {
    const job = drive({ steps: 40, directionsLog2: 6, quorum: 0.25 }, 2);
    job.join(A);
    job.join(B);
    for (let step = 0; step < 12; step++) {
      const nowMs = 10_000 * step;
      const { step: open } = job.round.open[0]?.task ?? { step: 0 };
      job.answer(B, job.slots(B), { nowMs: nowMs + 500, elapsedMs: 500, step: open });
      // The liar answers a few slots at once and never the rest.
      job.answer(A, job.slots(A).slice(0, 2), { nowMs: nowMs + 600, elapsedMs: 0, step: open });
      if (job.round.open[0]?.task.step === open) job.feed({ kind: "deadline", step: open, nowMs: nowMs + 1000 });
    }
    expect(shareOf(job, A)).toBe(1);
    expect(shareOf(job, B)).toBe(64);
  });
});

it("what a worker answers again, because it was offered more, says nothing of its speed", () => {
  const job = drive({ directionsLog2: 6 }, 2);
  job.join(A);
  job.join(B);
  const slots = job.slots(A);
  job.answer(A, slots, { nowMs: 3200, elapsedMs: 3200 });
  expect(job.round.members.get(A)?.speed).toBe(10);
  job.feed({ kind: "left", peerId: B, nowMs: 3210 });
  expect(job.slots(A).length).toBe(32);
  job.answer(A, slots, { nowMs: 3220, elapsedMs: 3200 });
  expect(job.round.members.get(A)?.speed).toBe(10);
});

describe("probation", () => {
  const slow = () => {
    const job = drive({ steps: 40, quorum: 0.25, deadlineMs: 1000, deadlineFloorMs: 1000 }, 3);
    for (const who of [A, B, C]) job.join(who);
    for (let step = 0; step < 3; step++) turn(job, 10_000 * step, { [A]: 10, [B]: 10, [C]: 5_000 }, 1_000);
    return job;
  };

  it("comes after three missed deadlines in a row: one slot, which somebody else has too, and nobody waits", () => {
    const job = slow();
    expect(shareOf(job, C)).toBe(1);
    expect(new Set([...job.slots(A), ...job.slots(B)]).size).toBe(8);
    const { step } = job.round.open[0]?.task ?? { step: -1 };
    for (const who of [A, B]) job.answer(who, job.slots(who), { nowMs: 40_000 });
    expect(job.round.replica.history.lastStep).toBe(step);
    expect(job.round.members.get(C)?.state).not.toBe("gone");
  });

  it("ends with one answer in time, also of a slot that somebody else answered first", () => {
    const job = slow();
    const slots = job.slots(C);
    job.answer(A, job.slots(A), { nowMs: 40_000 });
    job.answer(C, slots, { nowMs: 40_100 });
    job.answer(B, job.slots(B), { nowMs: 40_200 });
    expect(job.round.members.get(C)?.missed).toBe(0);
    expect([...job.slots(A), ...job.slots(B), ...job.slots(C)].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("the deadline", () => {
  const manifest = manifestOf("ab".repeat(32), { deadlineMs: 30_000, deadlineFloorMs: 500 });
  const deadline = (times: number[]) => deadlineMsOf({ times, manifest });

  it("is the ceiling until enough was seen, then median + 6 MAD, at least twice the median, within floor and ceiling", () => {
    expect(deadline([1, 2, 3, 4, 5, 6, 7])).toBe(30_000);
    expect(deadline([1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000])).toBe(2000);
    // Median 1000, deviations 400 400 200 200 200 200 400 400.
    expect(deadline([600, 600, 800, 800, 1200, 1200, 1400, 1400])).toBe(1000 + 6 * 300);
    expect(deadline(new Array(8).fill(100))).toBe(500);
    expect(deadline(new Array(8).fill(20_000))).toBe(30_000);
    // One machine that hangs does not move it.
    expect(deadline([...new Array(20).fill(1000), 29_000])).toBe(2000);
  });

  it("of a step follows what earlier steps took, and costs no frame", () => {
    const job = drive({ steps: 40, deadlineMs: 30_000, deadlineFloorMs: 100 }, 2);
    job.join(A);
    job.join(B);
    for (let step = 0; step < 10; step++) turn(job, 200 * step, { [A]: 50, [B]: 50 });
    const before = job.effects.length;
    turn(job, 2000, { [A]: 50, [B]: 50 });
    const after = job.effects.slice(before);
    expect(after.flatMap((effect) => (effect.kind === "deadline" ? [effect.afterMs] : []))).toEqual([400]);
    expect(after.some((effect) => effect.kind === "send" && effect.frame.kind === "slots")).toBe(false);
  });
});

it("assignments cost at most 40 bytes a worker and step, with many workers of many speeds that come and go", () => {
  const workers = 400;
  const job = drive({ steps: 1000, directionsLog2: 11 }, 200);
  const speeds: Record<string, number> = {};
  const id = (i: number) => `12D3KooW${i.toString().replaceAll("0", "z").padStart(20, "A")}`;
  for (let i = 0; i < workers; i++) if (i < 200) job.join(id(i));
  let bytes = 0;
  let places = 0;
  const count = (effects: readonly RoundEffect[]) => {
    for (const effect of effects)
      if (effect.kind === "send" && effect.frame.kind === "slots") bytes += encodeCoordinatorFrame(effect.frame).byteLength + 1;
  };
  for (let step = 0; step < 12; step++) {
    const before = job.effects.length;
    job.feed({ kind: "left", peerId: id(step), nowMs: 10_000 * step });
    job.join(id(200 + step), 10_000 * step);
    for (const [i, { peerId, state }] of [...job.round.members.values()].entries())
      if (state !== "gone") speeds[peerId] = 5 + (i % 17);
      else delete speeds[peerId];
    turn(job, 10_000 * step, speeds);
    count(job.effects.slice(before));
    places += Object.keys(speeds).length;
  }
  expect(bytes).toBeGreaterThan(0);
  expect(bytes / places).toBeLessThanOrEqual(40);
});

it("whatever the staleness and the order of events, commits are in order, each once, and every slot counts once", () => {
  const peers = [A, B, C];
  const event = fc.record({
    what: fc.constantFrom("join", "leave", "answer", "answer", "answer", "answer", "part", "deadline"),
    who: fc.nat(2),
    at: fc.nat(7),
    which: fc.nat(3),
  });
  let overlapped = 0;
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), fc.nat(3), (events, staleness) => {
      const job = drive({ steps: 6, staleness });
      let nowMs = 0;
      for (const { what, who, at, which } of events) {
        const id = peers[who] as string;
        nowMs += 50;
        const open = job.round.open[which % Math.max(1, job.round.open.length)];
        const offered = [...(open?.offered.get(id) ?? [])];
        const step = open?.task.step ?? 0;
        if (what === "join") job.join(id, nowMs);
        else if (what === "leave") job.feed({ kind: "left", peerId: id, nowMs });
        else if (what === "deadline") job.feed({ kind: "deadline", step, nowMs });
        else if (offered.length > 0) job.answer(id, what === "part" ? offered.slice(0, at) : offered, { nowMs, step });
        job.evaluated();
        const { open: tasks, lastStep } = job.round.replica.history;
        if (tasks.length > 1) overlapped++;
        // Steps from the oldest that is not committed on, without a hole, never more than staleness + 1.
        expect(tasks.map(({ task }) => task.step)).toEqual(tasks.map((_, i) => lastStep + 1 + i));
        if (lastStep >= 0 || tasks.length > 0) expect(tasks.length).toBe(Math.min(staleness + 1, 5 - lastStep));
        for (const { task, base } of tasks) expect(base?.commit.step ?? -1).toBe(Math.max(-1, task.step - 1 - staleness));
        expect(job.round.open.map(({ head }) => head)).toEqual(tasks.map(({ head }) => head));
      }
      const { losses, credit } = job.round.replica.history;
      expect(losses.map(({ step }) => step)).toEqual(losses.map((_, i) => i));
      expect(losses.every(({ directions, committed }) => directions === 8 && committed >= 4)).toBe(true);
      expect(credit.reduce((sum, n) => sum + n, 0)).toBe(8 * losses.length);
      // A restart reopens the very steps, also where it was killed after any entry.
      for (const end of [job.ledger.length, Math.floor(job.ledger.length / 2)]) {
        const again = drive({ steps: 6, staleness }, 1, job.ledger.slice(0, end), job.pem);
        const { open: tasks, lastStep } = again.round.replica.history;
        if (tasks.length > 0) expect(tasks.length).toBe(Math.min(staleness + 1, 5 - lastStep));
        expect(again.round.open.map(({ head }) => head)).toEqual(tasks.map(({ head }) => head));
      }
    }),
    { seed: 11, numRuns: 150 },
  );
  expect(overlapped).toBeGreaterThan(100);
});

it("with staleness a step that is complete waits for the one before, and what a leaver owes of an old step waits for its deadline", () => {
  const job = drive({ steps: 6, staleness: 1, quorum: 0.25 }, 2);
  job.join(A);
  job.join(B);
  const [first, second] = job.round.open.map(({ task }) => task.step);
  expect([first, second]).toEqual([0, 1]);
  const [mine, others] = [job.slots(A), job.slots(B)];
  for (const step of [0, 1]) job.answer(A, mine, { step });
  job.answer(B, others, { step: 1 });
  expect(job.round.replica.history.lastStep).toBe(-1);
  const offered = job.feed({ kind: "left", peerId: B, nowMs: 50 });
  expect(offered.filter(({ kind }) => kind === "send")).toEqual([]);
  job.feed({ kind: "deadline", step: 0, nowMs: 1000 });
  // The first with zeros, the second, which waited for it, whole.
  expect(job.round.replica.history.losses.map(({ step, committed }) => [step, committed])).toEqual([
    [0, 4],
    [1, 8],
  ]);
});
