import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FIRST_SHARE, findRate, isTooFar, LOOK_RATE, nextTrial, SHARE_OF_BEST, TRIALS_MAX, type Trial } from "./probe.ts";

/** Numbers in [0, 1), the same on every machine (a 32-bit xorshift). */
function generator(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const DIMENSIONS = 200;
const K = 16;

/**
 * Probes the quadratic h |x|^2 / 2 from where its loss is 1, by real steps of K directions of signs; each batch adds its own error to the
 * gradient, `share` as large. Gives the trials, and the rate at which one step gains most: a s / (h (n + K)), with a = 1 / (1 + share^2).
 */
function probeQuadratic(seed: number, h: number, share: number): { trials: Trial[]; best: number } {
  const random = generator(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const lossOf = (x: readonly number[]) => (h / 2) * x.reduce((sum, v) => sum + v * v, 0);
  const first = Array.from({ length: DIMENSIONS }, normal);
  const scale = Math.sqrt(1 / lossOf(first));
  const start = first.map((v) => v * scale);
  const trials: Trial[] = [];
  let x = start;
  for (let rate = nextTrial(trials); rate !== null; rate = nextTrial(trials)) {
    if (isTooFar(trials)) x = start;
    const error = (share * h * Math.sqrt(x.reduce((sum, v) => sum + v * v, 0))) / Math.sqrt(DIMENSIONS);
    const gradient = x.map((v) => h * v + error * normal());
    const directions = Array.from({ length: K }, () => Array.from({ length: DIMENSIONS }, () => (random() < 0.5 ? -1 : 1)));
    const projected = directions.map((z) => z.reduce((sum, v, i) => sum + v * (gradient[i] as number), 0));
    const signal = Math.sqrt(projected.reduce((sum, g) => sum + g * g, 0) / K);
    const from = lossOf(x);
    const step = rate;
    x = x.map((v, i) => v - step * directions.reduce((sum, z, k) => sum + ((projected[k] as number) / signal) * (z[i] as number), 0));
    trials.push({ rate, directions: K, signal, from, loss: lossOf(x), step: trials.length, stateHash: "" });
  }
  const steep = Math.sqrt(2 * h);
  return { trials, best: steep / Math.sqrt(1 + share ** 2) / (h * (DIMENSIONS + K)) };
}

describe("a probe of a quadratic", () => {
  it.each([
    [1e-3, 0],
    [1, 0],
    [1, 1],
    [1e3, 1],
    [1e6, 0.5],
  ])(
    "of curvature %d and an error of the batch of %d times the gradient finds the best rate within a factor of 2, nine times of ten, or at worst of 6",
    (h, share) => {
      const off: number[] = [];
      for (let seed = 0; seed < 60; seed++) {
        const { trials, best } = probeQuadratic(seed, h, share);
        expect(trials.length).toBeLessThanOrEqual(TRIALS_MAX);
        const found = findRate(trials);
        expect(found.rate).toBe(SHARE_OF_BEST * found.best);
        off.push(Math.abs(Math.log2(found.best / best)));
      }
      expect(off.filter((one) => one > 1).length).toBeLessThanOrEqual(6);
      expect(Math.max(...off)).toBeLessThan(Math.log2(6));
    },
  );
});

/** Trials whose worth is as given, by rates as they come: `nextTrial` asks, `worthAt` answers. */
function probeBy(worthAt: (rate: number, i: number) => number, { from = 1, signal = 1, directions = K } = {}): Trial[] {
  const trials: Trial[] = [];
  let here = from;
  for (let rate = nextTrial(trials); rate !== null; rate = nextTrial(trials)) {
    if (isTooFar(trials)) here = from;
    const loss = trials.length === 0 ? from : here - directions * signal * rate * worthAt(rate, trials.length - 1);
    trials.push({
      rate,
      directions,
      signal,
      from: here,
      loss: Number.isFinite(loss) ? loss : Number.POSITIVE_INFINITY,
      step: 0,
      stateHash: "",
    });
    here = loss;
  }
  return trials;
}
const ratesOf = (trials: readonly Trial[]) => trials.map(({ rate }) => rate);

describe("trials", () => {
  it("begin with a look, then with a rate that promises one percent of the loss, then by threes until the promise is not kept", () => {
    const trials = probeBy((rate) => 0.6 - 60 * rate, { from: 0.5 });
    expect(FIRST_SHARE).toBe(0.01);
    const first = (FIRST_SHARE * 0.5) / (K * 1);
    expect(ratesOf(trials).slice(0, 4)).toEqual([LOOK_RATE, first, 3 * first, 9 * first]);
    const found = findRate(trials);
    expect(found.best).toBeCloseTo(0.6 / 120, 6);
    expect(found.rate).toBeCloseTo((SHARE_OF_BEST * 0.6) / 120, 6);
  });

  it("begin no further than at 2^-11, however large the loss is", () => {
    expect(ratesOf(probeBy((rate) => 0.6 - 60 * rate, { from: 1e6 }))[1]).toBe(2 ** -11);
  });

  it("are not ended by one that is much worse than the only one before it, as long as it gains", () => {
    expect(probeBy((_, i) => [0.7, 0.1, 0.6, -1][i] as number)).toHaveLength(5);
    expect(probeBy((_, i) => [0.7, 0.7, 0.1][i] as number)).toHaveLength(4);
    expect(probeBy((_, i) => [0.7, -0.01][i] as number)).toHaveLength(3);
  });

  it("go down by 27 as long as none gains, and then no further up than what was too far", () => {
    const trials = probeBy((rate) => (rate > 1e-6 ? -1 : 0.5));
    const rates = ratesOf(trials).slice(1);
    const gaining = rates.findIndex((rate) => rate <= 1e-6);
    for (let i = 1; i <= gaining; i++) expect(rates[i]).toBeCloseTo((rates[i - 1] as number) / 27, 15);
    expect(Math.max(...rates.slice(gaining))).toBeLessThan(rates[gaining - 1] as number);
    expect(findRate(trials).best).toBeLessThan(rates[gaining - 1] as number);
    expect(trials.map((_, n) => isTooFar(trials.slice(0, n)))).toEqual(trials.map((_, n) => n >= 2 && n < 2 + gaining));
  });

  it("go on over rates that show nothing where losses only move in jumps", () => {
    const trials = probeBy((rate) => (rate < 0.004 ? 0 : rate < 0.02 ? 0.2 : -1), { from: 0.5 });
    const { best } = findRate(trials);
    expect(best).toBeGreaterThan(0.001);
    expect(best).toBeLessThan(0.03);
  });

  it("end, with a rate to train with, whatever losses do", () => {
    const number = fc.oneof(
      fc.double({ min: -3, max: 3, noNaN: true }),
      fc.constantFrom(0, Number.NaN, Number.POSITIVE_INFINITY, -1e300, 1e300),
    );
    const scale = fc.constantFrom(0, 1e-12, 1, 1e12, Number.NaN);
    fc.assert(
      fc.property(
        fc.array(number, { minLength: TRIALS_MAX, maxLength: TRIALS_MAX }),
        scale,
        scale,
        fc.constantFrom(0, 1, K),
        (worths, from, signal, directions) => {
          const trials = probeBy((_, i) => worths[i] as number, { from, signal, directions });
          expect(trials.length).toBeLessThanOrEqual(TRIALS_MAX);
          const { best, rate } = findRate(trials);
          expect(rate).toBe(SHARE_OF_BEST * best);
          expect(rate).toBeGreaterThan(LOOK_RATE / 100);
          expect(rate).toBeLessThan(1);
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });

  it("say nothing before the first: what is found is the look's rate", () => {
    expect(findRate([])).toEqual({ best: LOOK_RATE, rate: SHARE_OF_BEST * LOOK_RATE });
  });
});
