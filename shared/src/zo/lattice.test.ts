import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseExponent, elementsOf, fromLattice, LIM, toLattice } from "./lattice.ts";
import { runs } from "./sample.ts";

describe("chooseExponent", () => {
  it.each([
    // The spec's table.
    { maxAbs: 0.3, gain: 0, epsilonLog2: -10, q: 24 },
    { maxAbs: 1, gain: 0, epsilonLog2: -10, q: 22 },
    { maxAbs: 4, gain: 0, epsilonLog2: -10, q: 20 },
    // Never finer than 26, however small the weights.
    { maxAbs: 1e-9, gain: 0, epsilonLog2: -10, q: 26 },
    // All zero, or with a gain: as if the largest were 1.
    { maxAbs: 0, gain: 0, epsilonLog2: -10, q: 22 },
    { maxAbs: 0, gain: 5, epsilonLog2: -10, q: 22 },
    { maxAbs: 0.01, gain: 5, epsilonLog2: -10, q: 22 },
    { maxAbs: 0.01, gain: -3, epsilonLog2: -10, q: 22 },
    // The amplitude epsilon * 2^(q + gain) stays within 2^20.
    { maxAbs: 0, gain: 8, epsilonLog2: -8, q: 20 },
    { maxAbs: 0.3, gain: 0, epsilonLog2: 0, q: 20 },
    // Room to double: at LIM / 2 exactly, and just beyond.
    { maxAbs: LIM / 2 / 2 ** 20, gain: 0, epsilonLog2: -10, q: 20 },
    { maxAbs: (LIM / 2 / 2 ** 20) * (1 + 2 ** -23), gain: 0, epsilonLog2: -10, q: 19 },
    { maxAbs: 95, gain: 0, epsilonLog2: -10, q: 16 },
  ])("gives q = $q for max|w| $maxAbs, gain $gain, epsilon 2^$epsilonLog2", ({ q, ...weights }) => {
    expect(chooseExponent(weights)).toEqual({ ok: true, q });
  });

  it.each([
    { maxAbs: 97, gain: 0, epsilonLog2: -10 },
    { maxAbs: 1, gain: 8, epsilonLog2: 0 },
    { maxAbs: 64, gain: -1, epsilonLog2: -10 },
    { maxAbs: 64, gain: 0, epsilonLog2: -20 },
    { maxAbs: Number.NaN, gain: 0, epsilonLog2: -10 },
    { maxAbs: Number.POSITIVE_INFINITY, gain: 0, epsilonLog2: -10 },
  ])("refuses max|w| $maxAbs, gain $gain, epsilon 2^$epsilonLog2", (weights) => {
    expect(chooseExponent(weights)).toMatchObject({ ok: false, code: "lattice-too-coarse" });
  });

  it("always leaves room to double and an amplitude of 1..2^20", () => {
    const float = fc.float({ min: 0, noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(float, fc.integer({ min: -8, max: 8 }), fc.integer({ min: -20, max: 0 }), (maxAbs, gain, epsilonLog2) => {
        const chosen = chooseExponent({ maxAbs, gain, epsilonLog2 });
        if (!chosen.ok) return;
        expect(2 * maxAbs * 2 ** chosen.q).toBeLessThanOrEqual(LIM);
        expect(chosen.q).toBeGreaterThanOrEqual(16);
        expect(chosen.q).toBeLessThanOrEqual(26);
        const amplitude = 2 ** (epsilonLog2 + chosen.q + gain);
        expect(amplitude >= 1 && amplitude <= 2 ** 20).toBe(true);
      }),
      runs(500),
    );
  });
});

describe("toLattice", () => {
  it("rounds ties to even, and -0 becomes +0", () => {
    const unit = 2 ** -20;
    const values = Float32Array.from([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -0.25, 0.75, -0, 0].map((v) => v * unit));
    const on = toLattice(values, 20);
    expect(on).toEqual({ ok: true, x: Int32Array.from([0, 2, 2, 0, -2, -2, 0, 1, 0, 0]) });
    if (on.ok) for (const v of fromLattice(on.x, 20)) expect(Object.is(v, -0)).toBe(false);
  });

  it("never clamps: the first value that is no lattice point is named", () => {
    const at = (value: number) => toLattice(Float32Array.from([1, LIM * 2 ** -22, -LIM * 2 ** -22, value]), 22);
    expect(at(0)).toMatchObject({ ok: true });
    expect(at(Number.NaN)).toEqual({ ok: false, code: "not-finite", index: 3 });
    expect(at(Number.NEGATIVE_INFINITY)).toEqual({ ok: false, code: "not-finite", index: 3 });
    expect(at((LIM + 1) * 2 ** -22)).toEqual({ ok: false, code: "outside-lattice", index: 3 });
    expect(at(-(LIM + 1) * 2 ** -22)).toEqual({ ok: false, code: "outside-lattice", index: 3 });
  });

  it("gives back every lattice point", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -LIM, max: LIM })), fc.integer({ min: 16, max: 28 }), (points, q) => {
        const x = Int32Array.from(points);
        expect(toLattice(fromLattice(x, q), q)).toEqual({ ok: true, x });
      }),
      runs(200),
    );
  });
});

it("counts a scalar's shape as one element", () => {
  expect([elementsOf([]), elementsOf([3, 5]), elementsOf([7])]).toEqual([1, 15, 7]);
});
