/** A job that leaves its settings to the coordinator and is measured by accuracy, through the whole round. */
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { describe, expect, it } from "vitest";
import { firstSettings } from "./course.ts";
import { drive, manifestOf } from "./driver.testing.ts";
import { A, OPEN, PINNED } from "./game.testing.ts";
import { resized } from "./size.ts";

const manifest = (over: Partial<Manifest> = {}): Manifest => {
  const usual = manifestOf("ab".repeat(32), { ...OPEN, estimator: "one-sided" });
  return { ...usual, objective: { ...usual.objective, measure: "accuracy" }, ...over };
};

describe("a measure that moves by jumps", () => {
  it("is followed by 2^-6, as far as the lattice holds it, with steps half as far, whatever their size", () => {
    const first = firstSettings(manifest());
    expect(first).toEqual({ rate: 2 ** -7 / 4, epsilonLog2: -6, groups: 1, directionsLog2: 4, probing: false, reference: null });
    const many = firstSettings(manifest(), 64);
    expect([many.rate * Math.sqrt(256), many.groups]).toEqual([2 ** -7, 16]);
    expect(resized(first, { groups: 16, directionsLog2: 4 }, manifest())).toMatchObject({ rate: many.rate, epsilonLog2: -6 });
    const narrow = firstSettings(manifest({ tensors: [{ name: "w", shape: [4], q: 24, gain: 4 }] }));
    expect([narrow.epsilonLog2, narrow.rate]).toEqual([-8, 2 ** -9 / 4]);
    const pinned = manifest();
    expect(firstSettings({ ...pinned, job: { ...pinned.job, epsilonLog2: -5 } }).rate).toBe(2 ** -6 / 4);
  });

  it("has no probe: training begins at once, and says why", () => {
    const job = drive({ ...OPEN, measure: "accuracy", estimator: "one-sided", steps: 80 });
    job.join(A);
    const { decisions } = job.round.replica.history;
    expect(decisions.map(({ entry }) => entry)).toMatchObject([
      { kind: "rate", probing: false, rate: 2 ** -7 / 4, why: expect.stringMatching(/^the accuracy moves by jumps/) },
    ]);
    expect(job.round.open.map(({ task }) => task)).toMatchObject([{ step: 0, epsilonLog2: -6 }]);
  });

  it("that becomes no better in six evaluations has steps of half the length; one that rises is not gone back from, but at the end", () => {
    const job = drive({ ...PINNED, measure: "accuracy", estimator: "one-sided", steps: 12, evaluateEvery: 1 });
    job.join(A);
    const rates: number[] = [];
    for (let step = 0; step < 12; step++) {
      rates.push(job.round.replica.history.settings?.rate as number);
      job.answer(A, job.slots(A));
      job.evaluated({ loss: step === 2 ? 0.1 : 0.6 + step / 100 });
    }
    expect(rates.map((rate) => rate * 2 ** 9)).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]);
    expect(job.round.replica.history.decisions.map(({ entry }) => entry)).toMatchObject([
      { kind: "rate" },
      { kind: "rate", why: expect.stringContaining("no better accuracy in 6 evaluations") },
      { kind: "restore", step: 2 },
    ]);
    expect(job.round.phase).toBe("finished");
  });
});
