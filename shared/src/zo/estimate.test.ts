import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { requireMeaning } from "./commit.ts";
import { CENTRE_MIN, estimateStep, type Measured, type StepEstimate, type StepRule } from "./estimate.ts";
import { commitOf, runs, tensor } from "./sample.ts";

const EPSILON = 2 ** -10;
const RULE: StepRule = { epsilonLog2: -10, rule: "plain", rate: 2 ** -3, effectiveExponents: { min: 20, max: 24 } };
const NORMALISED: StepRule = { ...RULE, rule: "normalised" };
/** The tensors whose exponents the rules name: a commit must have a meaning for both. */
const TENSORS = [tensor([4], 20), tensor([4], 22, 2)];

/** Measurements of directions `from`, `from + 1`, ... whose projected gradients are these. */
const twoSided = (gradients: readonly number[], from = 0, base = 0.5): Measured[] =>
  gradients.map((g, i) => ({ k: from + i, plus: base + g * EPSILON, minus: base - g * EPSILON, source: 1 }));
/** Losses of one source that lie so many epsilons above `base`. */
const oneSided = (heights: readonly number[], { from = 0, base = 0.5, source = 1 } = {}): Measured[] =>
  heights.map((height, i) => ({ k: from + i, plus: base + height * EPSILON, minus: null, source }));

/** A group of 16 directions, unless the rule comes with another number. */
const estimate = ({ m = 4, ...rule }: StepRule & { m?: number }, ...measured: Measured[][]) =>
  estimateStep(rule, [{ g: 7, m, measured: measured.flat() }]);
const coefficients = ({ groups }: StepEstimate) => groups.map(({ a }) => Array.from(a));
/** How far each direction moves theta. */
const moves = ({ groups }: StepEstimate) => groups.flatMap(({ p, a }) => Array.from(a, (v) => v * 2 ** -p));
const rest = (n: number) => Array.from({ length: n }, () => 0);

describe("a step with missing slots", () => {
  const gradients = [0.5, -1, 0.25, 0.75];

  it("moves the measured directions as far as a step that asked for no others: zeros do not dilute its length", () => {
    for (const rule of [RULE, NORMALISED]) {
      const [asked, whole] = [estimate({ ...rule, m: 4 }, twoSided(gradients)), estimate({ ...rule, m: 2 }, twoSided(gradients))];
      expect(moves(asked)).toEqual([...moves(whole), ...rest(12)]);
      expect([asked.signal, asked.effective]).toEqual([whole.signal, 4]);
    }
  });

  it("is shorter under the plain rule by what is missing, and as long for each direction under the normalised one", () => {
    const length = (rule: StepRule, heights: number[]) => Math.hypot(...moves(estimate(rule, twoSided(heights))));
    const eight = [1, -1, 1, -1, 1, -1, 1, -1];
    for (const rule of [RULE, NORMALISED]) expect(length(rule, eight.slice(0, 4)) / length(rule, eight)).toBeCloseTo(Math.SQRT1_2, 3);
  });
});

describe("a two-sided step", () => {
  it("divides differences by two epsilons, and moves against them at the rate: a case computed by hand", () => {
    const step = estimate({ ...RULE, m: 2 }, twoSided([0.5, -1, 0.25, 0]));
    // c = -g / 8, the largest is 2^-3: p = 18 would give 2^15.
    expect(step.groups).toEqual([{ g: 7, m: 2, p: 17, a: Int32Array.of(-8192, 16384, -4096, 0) }]);
    expect(step.signal).toBe(Math.sqrt((0.25 + 1 + 0.0625) / 4));
    expect([step.effective, step.meanLoss]).toEqual([4, 0.5]);
  });

  it("takes one signal over all groups, but an exponent for each", () => {
    const groups = [
      { g: 0, m: 2, measured: twoSided([7, 1, 1, 1]) },
      { g: 5, m: 2, measured: twoSided([1, -1, 1, 3]) },
    ];
    const step = estimateStep({ ...NORMALISED, clip: 10 }, groups);
    expect(step.signal).toBe(Math.sqrt(64 / 8));
    expect(step.groups.map(({ g, p }) => [g, p])).toEqual([
      [0, 16],
      [5, 17],
    ]);
    expect(moves(step)[0]).toBeCloseTo(-7 / 8 / Math.sqrt(8), 4);
  });
});

it("groups of one step may have different numbers of directions", () => {
  const groups = [
    { g: 0, m: 2, measured: twoSided([1, 1, 1, 1]) },
    { g: 1, m: 3, measured: twoSided([-1, -1], 6) },
  ];
  const step = estimateStep(RULE, groups);
  expect(step.groups.map(({ g, m, a }) => [g, m, a.length])).toEqual([
    [0, 2, 4],
    [1, 3, 8],
  ]);
  expect(moves(step)).toEqual([...[1, 1, 1, 1].map((g) => -g / 8), ...rest(6), 1 / 8, 1 / 8]);
});

describe("the rules", () => {
  // 49 + 15 = 64 over 16 directions: the root mean square is 2.
  const spiked = twoSided([7, ...Array.from({ length: 15 }, (_, i) => (i % 2 === 0 ? 1 : -1))]);

  it("normalised divides by the root mean square and clips at two of them, or where it is told to", () => {
    const step = estimate(NORMALISED, spiked);
    expect(step.signal).toBe(2);
    expect(moves(step).slice(0, 3)).toEqual([-2 / 8, -0.5 / 8, 0.5 / 8]);
    expect(moves(estimate({ ...NORMALISED, clip: 1 }, spiked)).slice(0, 3)).toEqual([-1 / 8, -0.5 / 8, 0.5 / 8]);
    expect(moves(estimate({ ...NORMALISED, clip: 4 }, spiked)).slice(0, 3)).toEqual([-3.5 / 8, -0.5 / 8, 0.5 / 8]);
  });

  it("normalised is shorter by the root of the slopes' share of the reference, and never longer where they are above it", () => {
    const whole = moves(estimate(NORMALISED, spiked));
    const by = (reference: number | null) => moves(estimate({ ...NORMALISED, reference }, spiked));
    expect(by(8)).toEqual(whole.map((v) => v / 2));
    expect(by(32)).toEqual(whole.map((v) => v / 4));
    for (const reference of [null, 2, 1, 0.01]) expect(by(reference)).toEqual(whole);
  });

  it("the reference is compared with the slopes of all directions, before the clip, and changes nothing of what is reported", () => {
    const [step, free] = [estimate({ ...NORMALISED, clip: 1, reference: 8 }, spiked), estimate({ ...NORMALISED, clip: 1 }, spiked)];
    expect(moves(step).slice(0, 3)).toEqual([-1 / 16, -0.25 / 8, 0.25 / 8]);
    expect([step.signal, step.effective, step.meanLoss]).toEqual([free.signal, free.effective, free.meanLoss]);
  });

  it("plain knows no reference: its steps are shorter on flatter slopes anyway", () => {
    expect(moves(estimate({ ...RULE, reference: 100 }, spiked))).toEqual(moves(estimate(RULE, spiked)));
  });

  it("plain neither divides nor clips", () => {
    expect(moves(estimate({ ...RULE, clip: 1 }, spiked)).slice(0, 3)).toEqual([-7 / 8, -1 / 8, 1 / 8]);
  });
});

describe("a one-sided step", () => {
  const first = oneSided([3, 1, -1, -3], { base: 0.5 });
  const second = oneSided([1, -1, 1, -1], { from: 4, base: 0.75, source: 2 });

  it("centres each source on its own mean, and counts one direction less for each", () => {
    const step = estimate(NORMALISED, first, second);
    // (9 + 1 + 1 + 9 + 4) / (8 - 2) = 4.
    expect([step.signal, step.effective, step.meanLoss]).toEqual([2, 6, 0.625]);
    expect(moves(step)).toEqual([...[3, 1, -1, -3, 1, -1, 1, -1].map((g) => -g / 16), ...rest(8)]);
  });

  it("centres a source in each group of a step apart", () => {
    const groups = [first, oneSided([3, 1, -1, -3], { base: 0.25 })].map((measured, g) => ({ g, m: 2, measured }));
    const step = estimateStep(RULE, groups);
    expect(coefficients(step)[1]).toEqual(coefficients(step)[0]);
    expect([step.effective, moves(step)[0]]).toEqual([6, -3 / 8]);
  });

  it("gives zeros to a source with too few losses, and the others what they had without it", () => {
    const few = oneSided([5, -9, 2], { from: 8, source: 3 });
    expect(few.length).toBe(CENTRE_MIN - 1);
    expect(estimate(NORMALISED, first, few, second).groups).toEqual(estimate(NORMALISED, first, second).groups);
    expect(coefficients(estimate(NORMALISED, few))).toEqual([rest(16)]);
    expect(estimate(NORMALISED, few)).toMatchObject({ effective: 0, signal: 0, meanLoss: 0.5 - (2 / 3) * EPSILON });
  });

  it("leaves out losses that are not finite before it takes the mean: theirs is 0, not minus the mean", () => {
    const lost: Measured = { k: 15, plus: Number.POSITIVE_INFINITY, minus: null, source: 1 };
    expect(estimate(NORMALISED, first, [lost])).toEqual(estimate(NORMALISED, first));
    const damaged = first.map((one) => (one.k === 2 ? { ...one, plus: Number.NaN } : one));
    expect(coefficients(estimate(NORMALISED, damaged))).toEqual([rest(16)]);
  });

  it("takes two-sided measurements of the same source as they are", () => {
    const step = estimate(RULE, first, twoSided([2, -4], 4, 0.9));
    expect(moves(step).slice(0, 7)).toEqual([-3 / 8, -1 / 8, 1 / 8, 3 / 8, expect.closeTo(-2 / 8, 9), expect.closeTo(4 / 8, 9), 0]);
    expect(step.effective).toBe(3 + 2);
  });
});

describe("nothing moves", () => {
  const huge = 1.7e308;
  it.each<[string, Measured[]]>([
    ["where nothing was measured", []],
    ["where no loss is finite", oneSided([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN])],
    ["where one side of every pair is not finite", twoSided([1, 2]).map((one) => ({ ...one, minus: Number.NaN }))],
    ["where pairs are tied", twoSided([0, 0, 0])],
    ["where one-sided losses are tied", oneSided([2, 2, 2, 2, 2])],
    ["where pairs differ by less than the noise floor", twoSided([1e-7, -9e-7])],
    ["where one-sided losses differ by less than the noise floor", oneSided([1e-7, -1e-7, 2e-7, 0])],
    ["where differences overflow", [{ k: 0, plus: huge, minus: -huge, source: 1 }, ...twoSided([1], 1)]],
    ["where the sum of losses overflows", [0, 1, 2, 3].map((k) => ({ k, plus: huge, minus: null, source: 1 }))],
  ])("%s, under either rule", (_, measured) => {
    for (const rule of [RULE, NORMALISED, { ...NORMALISED, reference: 1 }]) {
      const step = estimate(rule, measured);
      expect(coefficients(step)).toEqual([rest(16)]);
      expect([step.signal, step.effective]).not.toContain(Number.NaN);
      expect(() => requireMeaning(commitOf(0, ...step.groups), TENSORS)).not.toThrow();
    }
  });

  it("at the noise floor itself, and everything does above it", () => {
    const step = (noiseFloor: number) => estimate({ ...NORMALISED, noiseFloor }, twoSided([1, -1])).groups[0]?.a[0];
    expect([step(EPSILON), step(EPSILON * 0.99)]).toEqual([0, -16384]);
    expect(estimate(NORMALISED, twoSided([2e-6, -2e-6])).groups[0]?.a[0]).toBe(-16384);
  });

  it("and the mean loss is null where there is none that the ledger could hold", () => {
    const losses = (...each: number[]) => each.map((plus, k) => ({ k, plus, minus: plus, source: 1 }));
    expect(estimate(RULE, losses()).meanLoss).toBeNull();
    expect(estimate(RULE, losses(Number.NaN, 3, 4)).meanLoss).toBe(3.5);
    expect(estimate(RULE, losses(1e308)).meanLoss).toBeNull();
  });
});

describe("the exponent", () => {
  const { min, max } = RULE.effectiveExponents;

  it("is the largest that keeps coefficients below 2^15, within what both tensors allow", () => {
    fc.assert(
      fc.property(fc.double({ min: -45, max: 15, noNaN: true }), fc.array(fc.integer({ min: -999, max: 999 })), (log2, gradients) => {
        const rate = 2 ** log2;
        const { groups } = estimate({ ...RULE, rate }, twoSided([1000, ...gradients.slice(0, 15)]));
        const largest = Math.abs(groups[0]?.a[0] ?? 0);
        const p = groups[0]?.p as number;
        requireMeaning(commitOf(0, ...groups), TENSORS);
        if (p > max - 8) expect(largest).toBeLessThan(2 ** 15);
        if (p < min + 32) expect(Math.round(1000 * rate * 2 ** (p + 1))).toBeGreaterThanOrEqual(2 ** 15);
        expect(largest).toBe(Math.min(Math.round(1000 * rate * 2 ** p), 2 ** 31 - 1));
      }),
      runs(300),
    );
  });

  it("stops at its bounds: small moves lose their bits, and large ones are kept in int32 with their sign", () => {
    expect(estimate({ ...RULE, rate: 2 ** -50 }, twoSided([1, -4])).groups[0]).toMatchObject({ p: min + 32, a: { 0: -4, 1: 16 } });
    const far = estimate({ ...RULE, rate: 2 ** 20 }, twoSided([1, -4]));
    expect(far.groups[0]).toMatchObject({ p: max - 8, a: { 0: -(2 ** 31 - 1), 1: 2 ** 31 - 1 } });
  });
});

describe("whatever is measured", () => {
  const any = fc.oneof(fc.double(), fc.double({ min: -20, max: 20 }));
  /** Losses that are multiples of 2^-10: sums of them are exact in any order. */
  const exact = fc.integer({ min: -20_000, max: 20_000 }).map((v) => v / 1024);
  /** Half of them one-sided, of two sources: some sources can be centred, some cannot. */
  const measuredOf = (loss: fc.Arbitrary<number>) =>
    fc.uniqueArray(fc.record({ k: fc.nat(15), plus: loss, minus: fc.option(loss, { freq: 2 }), source: fc.nat(1) }), {
      selector: ({ k }) => k,
      size: "medium",
    });
  const rules = fc.constantFrom(RULE, NORMALISED);

  it("coefficients mean something, go against their differences, and no figure is NaN", () => {
    fc.assert(
      fc.property(measuredOf(any), rules, (measured, rule) => {
        const step = estimate(rule, measured);
        requireMeaning(commitOf(0, ...step.groups), TENSORS);
        for (const { k, plus, minus } of measured) {
          if (minus === null) continue;
          const against = Math.sign(step.groups[0]?.a[k] ?? Number.NaN) * Math.sign(plus - minus);
          expect(against <= 0 || !Number.isFinite(plus - minus)).toBe(true);
        }
        expect(step.signal).toBeGreaterThanOrEqual(0);
        expect(step.meanLoss === null || Number.isFinite(step.meanLoss)).toBe(true);
      }),
      runs(500),
    );
  });

  it("effective directions are those committed less one for each centre", () => {
    const group = measuredOf(fc.oneof({ weight: 9, arbitrary: exact }, { weight: 1, arbitrary: fc.constant(Number.NaN) }));
    fc.assert(
      fc.property(fc.array(group, { maxLength: 3 }), (groups) => {
        let expected = 0;
        for (const measured of groups) {
          const finite = measured.filter(({ plus, minus }) => !Number.isNaN(plus + (minus ?? 0)));
          expected += finite.filter(({ minus }) => minus !== null).length;
          for (const source of [0, 1]) {
            const own = finite.filter((one) => one.minus === null && one.source === source).length;
            expected += own >= 4 ? own - 1 : 0;
          }
        }
        const step = estimateStep(
          NORMALISED,
          groups.map((measured, g) => ({ g, m: 4, measured })),
        );
        expect(step.effective).toBe(expected);
      }),
      runs(300),
    );
  });

  it("the order of measurements changes nothing", () => {
    const shuffled = measuredOf(exact).chain((measured) =>
      fc.tuple(fc.constant(measured), fc.shuffledSubarray(measured, { minLength: measured.length })),
    );
    fc.assert(
      fc.property(shuffled, rules, ([measured, other], rule) => {
        const [one, same] = [estimate(rule, measured), estimate(rule, other)];
        expect(same.groups).toEqual(one.groups);
        expect([same.effective, same.meanLoss]).toEqual([one.effective, one.meanLoss]);
      }),
      runs(300),
    );
  });

  it("a normalised step is the same when all losses are scaled: to the bit by powers of two, else to one unit", () => {
    const scaled = (measured: readonly Measured[], c: number) =>
      measured.map((one) => ({ ...one, plus: one.plus * c, minus: one.minus === null ? null : one.minus * c }));
    fc.assert(
      fc.property(measuredOf(exact), fc.integer({ min: -6, max: 20 }), fc.constantFrom(0.1, 0.7, 3, 33.3), (measured, log2, c) => {
        const step = estimate(NORMALISED, measured);
        expect(estimate(NORMALISED, scaled(measured, 2 ** log2)).groups).toEqual(step.groups);
        const other = estimate(NORMALISED, scaled(measured, c));
        const unit = 2 ** -Math.min(step.groups[0]?.p ?? 0, other.groups[0]?.p ?? 0);
        const after = moves(other);
        expect(Math.max(...moves(step).map((v, k) => Math.abs(v - (after[k] as number))))).toBeLessThanOrEqual(unit);
      }),
      runs(300),
    );
  });
});
