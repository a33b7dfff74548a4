import type { ResultFrame } from "@zoswarm/shared/protocol/messages";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { judgeResult, type OpenStep } from "./accept.ts";
import { drive } from "./driver.testing.ts";

const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const HEAD = "ab".repeat(32);

type Losses = ResultFrame["losses"];
const openStep = (estimator: "one-sided" | "two-sided" = "two-sided"): OpenStep => ({
  task: { step: 5, groups: [{ g: 0, m: 3, batch: 0 }], epsilonLog2: -10, estimator },
  ...{ head: HEAD, total: 8, answers: new Map(), openedMs: 0 },
  ...{ offered: new Map(), asked: new Map(), askedLast: [], late: new Set() },
});
const frameOf = (losses: Losses, { step = 5, head = HEAD } = {}): ResultFrame => ({
  ...{ kind: "result", step, head, losses, assignment: 1, checkpoint: null, elapsedMs: 1 },
});
const lossesOf = (slots: readonly number[], plus: number | null = 0.5, minus: number | null = 0.25): Losses =>
  slots.map((slot) => ({ slot, plus, minus }));

/** A judge of frames for an open step that follows step 4; slots 0 to 5 are offered to everybody. */
function judge(open: OpenStep | null = openStep(), offered: readonly number[] = [0, 1, 2, 3, 4, 5]) {
  return (
    losses: Losses,
    { peer = A, diverged = false, ...frame }: { peer?: string; diverged?: boolean; step?: number; head?: string } = {},
  ) => judgeResult(frameOf(losses, frame), peer, open, 4, { offered: new Set(offered), diverged });
}
const whole = (code: string, n: number) => ({ code, counts: { [code]: n }, accepted: 0, fresh: 0 });

describe("a frame is refused as a whole", () => {
  it("for the first reason that holds: late, unknown step, other branch, diverged; and nothing is recorded", () => {
    const open = openStep();
    const judged = judge(open);
    const losses = lossesOf([0, 1]);
    const wrong = { head: "cd".repeat(32), diverged: true };
    expect(judged(losses, { ...wrong, step: 4 })).toEqual(whole("late", 2));
    expect(judged(losses, { ...wrong, step: 0 })).toEqual(whole("late", 2));
    expect(judged(losses, { ...wrong, step: 6 })).toEqual(whole("unknown-step", 2));
    expect(judged(losses, wrong)).toEqual(whole("wrong-head", 2));
    expect(judged(losses, { diverged: true })).toEqual(whole("diverged", 2));
    expect(open.answers.size).toBe(0);
  });

  it("between two steps: what is committed is late, the coming step is not known yet", () => {
    expect(judge(null)(lossesOf([0]), { step: 4 }).code).toBe("late");
    expect(judge(null)(lossesOf([0]), { step: 5 }).code).toBe("unknown-step");
  });
});

describe("a loss", () => {
  it("that comes first is accepted and recorded with who measured it; another's is a duplicate and changes nothing", () => {
    const open = openStep();
    const judged = judge(open);
    expect(judged(lossesOf([2, 3]))).toEqual({ code: "accepted", counts: { accepted: 2 }, accepted: 2, fresh: 2 });
    const known = new Map(open.answers);
    expect(judged(lossesOf([2, 3]), { peer: B })).toEqual(whole("duplicate", 2));
    expect(judged(lossesOf([2, 3], 0.9))).toEqual(whole("duplicate", 2));
    expect(open.answers).toEqual(known);
    expect(known.get(3)).toEqual({ peerId: A, losses: { plus: 0.5, minus: 0.25 } });
  });

  it("of a slot that was not offered is refused, even where it is answered, and the rest of the frame counts", () => {
    const open = openStep();
    const judged = judge(open, [0, 1]);
    judge(open)(lossesOf([5]), { peer: B });
    const answer = { code: "not-my-slot", counts: { accepted: 2, "not-my-slot": 2 }, accepted: 2, fresh: 2 };
    expect(judged(lossesOf([0, 1, 5, 7]))).toEqual(answer);
    expect([...open.answers.keys()].sort()).toEqual([0, 1, 5]);
  });

  it("without one of its two sides is not finite, unless the step is one-sided", () => {
    for (const [plus, minus] of [
      [null, 0.5],
      [0.5, null],
      [null, null],
    ] as const) {
      const open = openStep();
      const answer = { code: "not-finite", counts: { "not-finite": 1 }, accepted: 0, fresh: 1 };
      expect(judge(open)(lossesOf([1], plus, minus))).toEqual(answer);
      expect(open.answers.get(1)).toEqual({ peerId: A, losses: null });
    }
    const open = openStep("one-sided");
    expect(judge(open)(lossesOf([1], 0.5, null)).code).toBe("accepted");
    expect(judge(open)(lossesOf([2], null, null)).code).toBe("not-finite");
    expect(open.answers.get(1)?.losses).toEqual({ plus: 0.5, minus: null });
  });

  it("that is measured in full does not replace an answer that was not finite, nor the other way round", () => {
    const judged = judge();
    judged([...lossesOf([0], null), ...lossesOf([1])]);
    expect(judged(lossesOf([0]))).toEqual(whole("duplicate", 1));
    expect(judged(lossesOf([1], null))).toEqual(whole("duplicate", 1));
  });
});

describe("a retry", () => {
  it("of losses that were not finite is told so again, and answers no slot a second time", () => {
    const judged = judge();
    const losses = [...lossesOf([0]), ...lossesOf([1], null)];
    expect(judged(losses)).toEqual({ code: "not-finite", counts: { accepted: 1, "not-finite": 1 }, accepted: 1, fresh: 2 });
    expect(judged(losses)).toEqual({ code: "not-finite", counts: { duplicate: 2 }, accepted: 1, fresh: 0 });
    expect(judged(losses, { peer: B })).toEqual(whole("duplicate", 2));
  });

  it("is answered as before whatever was in the frame and whoever came between; the first answer of a slot stands", () => {
    const value = fc.constantFrom(0.5, 0.25, null);
    const losses = fc.array(fc.record({ slot: fc.nat(7), plus: value, minus: value }), { minLength: 1, maxLength: 8 });
    const frames = fc.array(fc.record({ peer: fc.constantFrom(A, B), losses }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(frames, fc.constantFrom("one-sided", "two-sided"), (sent, estimator) => {
        const open = openStep(estimator);
        const judged = judge(open);
        const first = sent.map(({ losses, peer }) => judged(losses, { peer }));
        const recorded = new Map(open.answers);
        expect(first.reduce((sum, { fresh }) => sum + fresh, 0)).toBe(recorded.size);
        sent.forEach(({ losses, peer }, i) => {
          const again = judged(losses, { peer });
          expect([again.code, again.accepted, again.fresh]).toEqual([first[i]?.code, first[i]?.accepted, 0]);
          const counted = Object.values(first[i]?.counts ?? {}).reduce((sum, n) => sum + n, 0);
          expect(counted).toBe(losses.length);
        });
        expect(open.answers).toEqual(recorded);
        for (const [slot, { peerId }] of recorded)
          expect(sent.find(({ losses }) => losses.some((loss) => loss.slot === slot))?.peer).toBe(peerId);
      }),
      { seed: 7, numRuns: 300 },
    );
  });
});

it("losses that are finite but add up to no number are committed without a mean, and the job goes on", () => {
  const job = drive();
  job.join(A);
  job.answer(A, [0, 1, 2, 3, 4, 5, 6, 7], { loss: 1e308 });
  expect(job.round.replica.history.losses).toEqual([{ step: 0, meanLoss: null, directions: 8, committed: 8 }]);
  expect(job.round.open[0]?.task.step).toBe(1);
});
