/** Values worked out by hand, or with scikit-learn where said, and what holds for any. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accuracy, exactMatch, f1, perplexity } from "./metrics.ts";

const classes = fc.integer({ min: 2, max: 5 });
const predicted = classes.chain((count) =>
  fc.array(fc.tuple(fc.nat(count - 1), fc.nat(count - 1)), { minLength: 1, maxLength: 40 }).map((pairs) => ({ count, pairs })),
);
const split = <A>(pairs: readonly (readonly [A, A])[]) => [pairs.map(([a]) => a), pairs.map(([, b]) => b)] as const;
const within01 = (value: number) => value >= 0 && value <= 1 + 1e-12;

describe("accuracy", () => {
  it("is the share that is right", () => {
    expect(accuracy([0, 1, 2, 1], [0, 1, 1, 1])).toBe(0.75);
    expect(accuracy(Int32Array.of(1), Int32Array.of(0))).toBe(0);
  });

  it("needs one of each", () => {
    expect(() => accuracy([], [])).toThrow(new RangeError("no predictions: a metric needs at least one example"));
    expect(() => accuracy([1], [1, 2])).toThrow(new RangeError("1 predictions against 2: give one of each for every example"));
  });
});

describe("F1", () => {
  it("of two classes is that of class 1", () => {
    // TP 2, FP 1, FN 1.
    expect(f1([1, 1, 1, 0, 0], [1, 1, 0, 1, 0], 2)).toBeCloseTo(4 / 6, 15);
    expect(f1([0, 0], [0, 0], 2)).toBe(0);
    expect(f1([1, 1], [0, 0], 2)).toBe(0);
    expect(f1([1, 1], [1, 1], 2)).toBe(1);
  });

  it("of more is the mean over the classes that occur", () => {
    // scikit-learn: f1_score([0,1,2,0,1,2], [0,2,1,0,0,1], average="macro") = 0.26666666666666666.
    expect(f1([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 3)).toBeCloseTo(0.8 / 3, 15);
    // Class 2 occurs nowhere and does not count; class 3 is only predicted and counts as 0. Class 0: 2/2, class 1: 2/3.
    expect(f1([0, 1, 3], [0, 1, 1], 4)).toBeCloseTo((1 + 2 / 3 + 0) / 3, 15);
  });

  it("refuses what is no class", () => {
    expect(() => f1([2], [1], 2)).toThrow(new RangeError("prediction 0 is 2, not a class of 0..1"));
    expect(() => f1([1, 1], [1, 0.5], 2)).toThrow(new RangeError("label 1 is 0.5, not a class of 0..1"));
    expect(() => f1([0], [0], 1)).toThrow("classes is 1");
    expect(() => f1([], [], 2)).toThrow(RangeError);
  });

  it("agrees with precision and recall, and does not change with the order or the names of classes", () => {
    fc.assert(
      fc.property(predicted, fc.nat(), ({ count, pairs }, turn) => {
        const [predictions, labels] = split(pairs);
        const value = f1(predictions, labels, count);
        const of = (c: number) => {
          const hits = pairs.filter(([p, l]) => p === c && l === c).length;
          const precision = hits / predictions.filter((p) => p === c).length;
          const recall = hits / labels.filter((l) => l === c).length;
          return hits === 0 ? 0 : 2 / (1 / precision + 1 / recall);
        };
        const occurring = count === 2 ? [1] : [...new Set(pairs.flat())];
        expect(value).toBeCloseTo(occurring.reduce((sum, c) => sum + of(c), 0) / occurring.length, 12);
        expect(within01(value)).toBe(true);
        expect(f1(predictions.toReversed(), labels.toReversed(), count)).toBe(value);
        const renamed = (all: readonly number[]) => all.map((c) => (c + turn) % count);
        if (count > 2) expect(f1(renamed(predictions), renamed(labels), count)).toBeCloseTo(value, 12);
        const share = accuracy(predictions, labels);
        expect(share === 1).toBe(pairs.every(([p, l]) => p === l));
        if (share === 1) expect(value).toBe(count === 2 && !labels.includes(1) ? 0 : 1);
      }),
    );
  });
});

describe("exact match", () => {
  it("looks past white space alone", () => {
    const [generated, targets] = [
      [" the  cat\n", "Cat", "cat."],
      ["the cat", "cat", "cat"],
    ];
    expect(exactMatch(generated, targets)).toBeCloseTo(1 / 3, 15);
    expect(exactMatch([" "], [""])).toBe(1);
    expect(() => exactMatch([], [])).toThrow(RangeError);
    expect(() => exactMatch(["a"], [])).toThrow(RangeError);
  });
});

describe("perplexity", () => {
  it("is the exponential of the mean", () => {
    // Every one of 8 tokens at probability 1/50.
    expect(perplexity(8 * Math.log(50), 8)).toBeCloseTo(50, 10);
    expect(perplexity(0, 3)).toBe(1);
    expect(perplexity(1e6, 1)).toBe(Number.POSITIVE_INFINITY);
  });

  it("refuses no tokens, and what is no sum of them", () => {
    expect(() => perplexity(1, 0)).toThrow(new RangeError("tokens is 0: perplexity needs at least one token"));
    expect(() => perplexity(1, 1.5)).toThrow(RangeError);
    expect(() => perplexity(-1, 1)).toThrow("nllSum is -1");
    expect(() => perplexity(Number.NaN, 1)).toThrow("nllSum is NaN");
  });

  it("is at least 1 and grows with the sum", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e4, noNaN: true }), fc.integer({ min: 1, max: 1e6 }), (sum, tokens) => {
        expect(perplexity(sum, tokens)).toBeGreaterThanOrEqual(1);
        expect(perplexity(sum + 1, tokens)).toBeGreaterThanOrEqual(perplexity(sum, tokens));
      }),
    );
  });
});
