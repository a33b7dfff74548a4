import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type HalfType, narrow, widen } from "./half.ts";

const every = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);
const TYPES = ["float16", "bfloat16"] as const;

/** The bits of one value. */
function bitsOf(value: number, type: HalfType): number {
  return narrow(Float32Array.of(value), type)[0] as number;
}

describe("16-bit floats", () => {
  it.each(TYPES)("%s: every value comes back as it was, and a NaN as a NaN", (type) => {
    const values = widen(every, type);
    const back = narrow(values, type);
    const wrong = every.filter((bits) => (Number.isNaN(values[bits]) ? !Number.isNaN(widen(back, type)[bits]) : back[bits] !== bits));
    expect([...wrong]).toEqual([]);
  });

  it("have the values that they stand for", () => {
    expect([...widen(Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x0400, 0x7c00), "float16")]).toEqual([
      1,
      -2,
      65504,
      2 ** -24,
      1023 * 2 ** -24,
      2 ** -14,
      Number.POSITIVE_INFINITY,
    ]);
    expect([...widen(Uint16Array.of(0x3f80, 0xc049, 0xff80), "bfloat16")]).toEqual([1, -3.140625, Number.NEGATIVE_INFINITY]);
    expect(Object.is(widen(Uint16Array.of(0x8000), "float16")[0], -0)).toBe(true);
  });

  it.each(TYPES)("%s: a value goes to the nearest, and from half-way to the even one", (type) => {
    const finite = (type === "float16" ? 0x7bff : 0x7f7f) - 1;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: finite }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.boolean(),
        (low, part, isNegative) => {
          const [below, above] = widen(Uint16Array.of(low, low + 1), type) as unknown as [number, number];
          const value = Math.fround(below + (above - below) * part);
          const half = below + (above - below) / 2;
          const nearest = value < half || (value === half && low % 2 === 0) ? low : low + 1;
          expect(bitsOf(isNegative ? -value : value, type)).toBe(nearest | (isNegative ? 0x8000 : 0));
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
    for (let low = 0; low < finite; low += 97) {
      const [below, above] = widen(Uint16Array.of(low, low + 1), type) as unknown as [number, number];
      expect(bitsOf((below + above) / 2, type)).toBe(low % 2 === 0 ? low : low + 1);
    }
  });

  it("know no value beyond the largest", () => {
    expect([65519, 65520, 1e30, Number.NEGATIVE_INFINITY].map((value) => bitsOf(value, "float16"))).toEqual([
      0x7bff, 0x7c00, 0x7c00, 0xfc00,
    ]);
    expect(bitsOf(3.4e38, "bfloat16")).toBe(0x7f80);
  });
});
