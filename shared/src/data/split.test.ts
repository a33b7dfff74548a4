import { describe, expect, it } from "vitest";
import { lettersOf, splitHeldout } from "./split.ts";

const rows = Array.from({ length: 40 }, (_, i) => ({
  text: `text ${String.fromCharCode(97 + (i % 20))}${i < 20 ? "" : " again"}`,
  label: i % 2,
}));

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
});
