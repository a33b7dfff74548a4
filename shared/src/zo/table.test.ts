import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { walshSign } from "./directions.ts";
import { VMAX } from "./lattice.ts";
import { KEY, runs, scattered } from "./sample.ts";
import { commitTable, ditherWords, perturbTable, walsh } from "./table.ts";
import { threefry } from "./threefry.ts";

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const allInt32 = fc.nat(8).chain((m) => fc.array(int32, { minLength: 2 ** m, maxLength: 2 ** m }));

describe("walsh", () => {
  it("S by the fast transform equals S by direct sums, whatever the int32 coefficients", () => {
    fc.assert(
      fc.property(allInt32, (a) => {
        const direct = a.map((_, j) => a.reduce((sum, v, k) => sum + walshSign(k, j) * v, 0));
        expect([...walsh(a)]).toEqual(direct.map((v) => v + 0));
      }),
      runs(60),
    );
  });

  it("is exact at its bound: 2^16 coefficients of -2^31", () => {
    const s = walsh(new Int32Array(65536).fill(-(2 ** 31)));
    expect(s[0]).toBe(-(2 ** 47));
    expect(s.subarray(1).every((v) => v === 0)).toBe(true);
  });

  it("m = 16 agrees with direct sums at sampled classes", () => {
    const a = scattered(65536, 3, 2 ** 31 - 1);
    const s = walsh(a);
    for (const j of [0, 1, 255, 256, 40961, 65535]) expect(s[j]).toBe(a.reduce((sum, v, k) => sum + walshSign(k, j) * v, 0));
  });
});

describe("commitTable", () => {
  /** The spec's words in exact integers: floor((S + d) / 2^sh), d = word >>> (32 - sh), clamped. */
  function exact(s: number, word: number, shift: number): number {
    const v = shift <= 0 ? BigInt(s) << BigInt(-shift) : (BigInt(s) + (BigInt(word) >> BigInt(32 - shift))) >> BigInt(shift);
    return Number(v > BigInt(VMAX) ? BigInt(VMAX) : v < -BigInt(VMAX) ? -BigInt(VMAX) : v);
  }

  it("equals the spec in exact integers for every shift from -8 to 32", () => {
    const sum = fc.oneof(
      fc.maxSafeInteger().map((v) => Math.trunc(v / 64)),
      int32,
      fc.integer({ min: -3, max: 3 }),
    );
    const word = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff));
    fc.assert(
      fc.property(fc.array(fc.tuple(sum, word), { minLength: 1, maxLength: 16 }), fc.integer({ min: -8, max: 32 }), (pairs, shift) => {
        const v = commitTable(
          Float64Array.from(pairs, ([s]) => s),
          Uint32Array.from(pairs, ([, w]) => w),
          22 + shift,
          22,
        );
        expect([...v].map((each) => each + 0)).toEqual(pairs.map(([s, w]) => exact(s, w, shift)));
      }),
      runs(400),
    );
  });

  it("refuses a shift that the spec does not allow", () => {
    const s = Float64Array.of(1);
    const words = Uint32Array.of(0);
    expect(() => commitTable(s, words, 13, 22)).toThrow(RangeError);
    expect(() => commitTable(s, words, 55, 22)).toThrow("p = 55");
  });

  it("rounds without bias: the mean over many dithers is the unrounded value", () => {
    const m = 12;
    const s = new Float64Array(2 ** m).fill(0.3 * 2 ** 12);
    const v = commitTable(s.map(Math.round), ditherWords(KEY, 1, 0, m), 34, 22);
    const mean = v.reduce((sum, each) => sum + each, 0) / v.length;
    // Four standard deviations of the mean of 4096 Bernoulli draws.
    expect(Math.abs(mean - 0.3)).toBeLessThan(4 * Math.sqrt(0.21 / v.length));
  });
});

it("draws four dither words a call, and only K of them", () => {
  const words = ditherWords(KEY, 5, 3, 4);
  expect([...words.subarray(8, 12)]).toEqual(threefry(KEY, 2, 0, 5, (2 << 24) | 3));
  expect([0, 1, 2, 16].map((m) => ditherWords(KEY, 5, 3, m).length)).toEqual([1, 2, 4, 65536]);
});

it("perturbTable holds the amount with direction k's signs", () => {
  expect([...perturbTable(2, 3, 5)]).toEqual([5, -5, -5, 5]);
  expect([...perturbTable(0, 0, -7)]).toEqual([-7]);
});
