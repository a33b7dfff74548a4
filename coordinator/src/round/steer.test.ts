import type { EvaluationPoint } from "@zoswarm/shared/ledger/folds";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Course, lossNoise, noiseOf, turnOf } from "./steer.ts";

const every = 5;
const pointsOf = (losses: readonly number[]): EvaluationPoint[] =>
  losses.map((loss, i) => ({ step: every * i, loss, score: loss, examples: 8, stateHash: "ab".repeat(32) }));
/** Falling by so much a step. */
const falling = (gain: number, count = 6) => pointsOf(Array.from({ length: count }, (_, i) => 1 - gain * every * i));
const course: Course = { rate: 1e-3, directions: 16, curvature: 100 };

describe("shorter steps", () => {
  const cost = noiseOf(course);

  it("cost half the curvature along each direction, times the square of the rate; a bend that is none costs nothing", () => {
    expect(cost).toBeCloseTo((16 * 100 * 1e-6) / 2, 12);
    expect(noiseOf({ ...course, rate: 2e-3 })).toBeCloseTo(4 * cost, 12);
    expect([noiseOf({ ...course, curvature: null }), noiseOf({ ...course, curvature: -3 })]).toEqual([0, 0]);
  });

  it("are better where the gain no longer pays for the noise: half of the rate at which a single step gains most", () => {
    expect(turnOf(course, falling(10 * cost))).toBeNull();
    expect(turnOf(course, falling(3 * cost))).toBeNull();
    expect(turnOf(course, falling(1.4 * cost))).toMatchObject({ kind: "shorter", share: expect.closeTo(0.6, 9) });
    // Never by more than half at once.
    expect(turnOf(course, falling(0))).toMatchObject({ kind: "shorter", share: 0.5, cost });
  });

  it("need three evaluations, and to know the curvature", () => {
    expect(turnOf(course, falling(0, 2))).toBeNull();
    expect(turnOf(course, falling(0, 3))).toMatchObject({ kind: "shorter" });
    expect(turnOf({ ...course, curvature: null }, falling(0))).toBeNull();
  });

  it("are taken on a plane, or where the curvature cannot be told, once the loss stands still", () => {
    for (const curvature of [0, -5, Number.NaN]) {
      expect(turnOf({ ...course, curvature }, falling(0.01))).toBeNull();
      const still = pointsOf([0.5, 0.5001, 0.5, 0.4999, 0.5001, 0.5]);
      expect(turnOf({ ...course, curvature }, still)).toMatchObject({ kind: "shorter", share: 0.5 });
      // A loss that does not move at all, as one that moves in jumps, says nothing.
      expect(turnOf({ ...course, curvature }, falling(0))).toBeNull();
    }
  });
});

describe("going back", () => {
  it("is for two evaluations in a row above the best one, beyond the noise", () => {
    expect(turnOf(course, pointsOf([1, 0.5, 0.6]))?.kind).not.toBe("back");
    expect(turnOf(course, pointsOf([1, 0.5, 0.6, 0.7]))).toMatchObject({ kind: "back", from: 0.5, loss: 0.7 });
    expect(turnOf(course, pointsOf([1, 0.5, 0.6, 0.5]))?.kind).not.toBe("back");
    expect(turnOf(course, pointsOf([0.5, 0.501, 0.501]))?.kind).not.toBe("back");
  });

  it("does not wait for the curvature", () => {
    expect(turnOf({ ...course, curvature: null }, pointsOf([0.5, 0.6, 0.7]))?.kind).toBe("back");
  });
});

describe("the noise of held-out losses", () => {
  it("is a share of the loss where few tell it, and less where they lie on a line", () => {
    expect(lossNoise(pointsOf([1, 2]))).toBeCloseTo(0.006, 9);
    expect(lossNoise(falling(0.01, 8))).toBeLessThan(1e-9);
    expect(lossNoise([])).toBe(0);
  });

  it("is no more than that share, whatever single jumps do", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 }), (losses) => {
        expect(lossNoise(pointsOf(losses))).toBeLessThanOrEqual(0.003 * Math.abs(losses.at(-1) as number) + 1e-12);
      }),
      { seed: 7 },
    );
  });
});

it("never raises the rate, nor takes more than half of it", () => {
  const losses = fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { maxLength: 20 });
  const curvature = fc.option(fc.double({ min: -1e6, max: 1e6 }));
  fc.assert(
    fc.property(losses, curvature, fc.double({ min: 1e-9, max: 1, noNaN: true }), (each, bend, rate) => {
      const turn = turnOf({ rate, directions: 16, curvature: bend }, pointsOf(each));
      if (turn?.kind !== "shorter") return;
      expect(turn.share).toBeLessThan(1);
      expect(turn.share).toBeGreaterThanOrEqual(0.5);
    }),
    { seed: 7, numRuns: 1000 },
  );
});
