import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { lettersOf, splitHeldout } from "./split.ts";

const rows = Array.from({ length: 40 }, (_, i) => ({
  text: `text ${String.fromCharCode(97 + (i % 20))}${i < 20 ? "" : " again"}`,
  label: i % 2,
}));

const anyRows = fc.array(
  fc.record({ text: fc.string({ unit: fc.constantFrom("a", "b", "c", "1", " "), maxLength: 4 }), label: fc.nat(2) }),
  {
    maxLength: 60,
  },
);
const amount = fc.nat(3).map((heldoutPerClass) => ({ heldoutPerClass }));
const share = fc.double({ min: 0.01, max: 0.99, noNaN: true }).map((heldoutShare) => ({ heldoutShare }));

describe("splitHeldout", () => {
  it("holds out the same number of each class, disjoint, the same for a seed", () => {
    const split = splitHeldout(rows, { seed: "one", classes: 2, heldoutPerClass: 5 });
    if (!split.ok) throw new Error(split.message);
    expect(split.heldout.filter(({ label }) => label === 1)).toHaveLength(5);
    expect(split.heldout).toHaveLength(10);
    expect(split.train).toHaveLength(30);
    expect(split.train.filter((row) => split.heldout.includes(row))).toEqual([]);
    expect(splitHeldout(rows.toReversed(), { seed: "one", classes: 2, heldoutPerClass: 5 })).toMatchObject({ heldout: split.heldout });
    expect(splitHeldout(rows, { seed: "two", classes: 2, heldoutPerClass: 5 })).not.toMatchObject({ heldout: split.heldout });
  });

  it("never leaves a duplicate of a held-out text in training, nor holds one out twice", () => {
    const doubled = [...rows, ...rows.map(({ text, label }) => ({ text: `  ${text.toUpperCase()} 42!`, label }))];
    const split = splitHeldout(doubled, { seed: "one", classes: 2, heldoutPerClass: 8 });
    if (!split.ok) throw new Error(split.message);
    const keys = split.heldout.map(({ text }) => lettersOf(text));
    expect(new Set(keys).size).toBe(16);
    expect(split.train.filter(({ text }) => keys.includes(lettersOf(text)))).toEqual([]);
    expect(split.train).toHaveLength(80 - 32);
  });

  it("says which class is too small", () => {
    expect(splitHeldout(rows, { seed: "one", classes: 2, heldoutPerClass: 21 })).toMatchObject({
      ok: false,
      message: "class 0 has 20 distinct texts, fewer than the 21 to hold out; add rows or hold out fewer",
    });
  });

  it("holds out a share of each class, of at least one text and never of all", () => {
    const uneven = [...rows, { text: "one", label: 2 }, { text: "other", label: 2 }];
    const split = splitHeldout(uneven, { seed: "one", classes: 3, heldoutShare: 0.2 });
    expect(split.ok && [0, 1, 2].map((label) => split.heldout.filter((row) => row.label === label).length)).toEqual([4, 4, 1]);
    expect(splitHeldout(uneven, { seed: "one", classes: 3, heldoutShare: 0.999 })).toMatchObject({ heldout: { length: 19 + 19 + 1 } });
    expect(splitHeldout(rows, { seed: "one", classes: 3, heldoutShare: 0.2 })).toEqual({
      ok: false,
      code: "too-few-rows",
      message: "class 2 has 0 distinct texts, fewer than the 2 that a share needs; add rows or hold out a number",
    });
  });

  it("tells rows without a text apart by their other fields, and takes those without a label for one class", () => {
    const numbers = Array.from({ length: 10 }, (_, index) => ({ at: `f:${index}`, numbers: [index % 5, 1], target: 0 }));
    const split = splitHeldout(numbers, { seed: "one", classes: 1, heldoutPerClass: 2 });
    expect(split).toMatchObject({ ok: true, heldout: { length: 2 }, train: { length: 6 } });
  });

  it("throws at numbers that are out of range", () => {
    for (const heldoutShare of [0, 1, NaN])
      expect(() => splitHeldout(rows, { seed: "", classes: 2, heldoutShare })).toThrow("heldoutShare");
    for (const heldoutPerClass of [-1, 0.5])
      expect(() => splitHeldout(rows, { seed: "", classes: 2, heldoutPerClass })).toThrow("heldoutPerClass");
    expect(() => splitHeldout(rows, { seed: "", classes: 1, heldoutPerClass: 1 })).toThrow("row 1 has label 1; it must be 0 to 0");
  });

  it("is the same on every machine", () => {
    const split = splitHeldout(rows, { seed: "one", classes: 2, heldoutPerClass: 2 });
    expect(split.ok && split.heldout.map(({ text }) => text)).toEqual(["text g", "text a again", "text d", "text h again"]);
  });

  it("puts every row into one part, unless it shares a held-out key", () => {
    fc.assert(
      fc.property(anyRows, fc.string(), fc.oneof(amount, share), (any, seed, amountOrShare) => {
        const split = splitHeldout(any, { seed, classes: 3, ...amountOrShare });
        if (!split.ok) return;
        const keys = new Set(split.heldout.map(({ text }) => lettersOf(text)));
        expect(keys.size).toBe(split.heldout.length);
        expect(split.train).toEqual(any.filter(({ text }) => !keys.has(lettersOf(text))));
        expect(split.heldout.every((row) => any.includes(row))).toBe(true);
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});
