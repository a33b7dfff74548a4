import { describe, expect, it } from "vitest";
import type { InputSpec } from "../protocol/manifest.ts";
import { exampleOf } from "./examples.ts";
import { countedTokens, feedsOf, nextToken } from "./feeds.ts";

const input = (name: string, source: InputSpec["source"], more: Partial<InputSpec> = {}): InputSpec => ({
  name,
  type: "int64",
  dims: ["batch", "sequence"],
  source,
  ...more,
});
const NOTHING = { labels: null, positions: false, targets: false } as const;
const numbers = (feeds: ReturnType<typeof feedsOf>, name: string) => [...(feeds[name]?.data ?? [])].map(Number);

describe("feedsOf", () => {
  const examples = [exampleOf([5, 6, 7], { label: 2, value: 1.5 }), exampleOf([8], { label: 0, value: -1 })];

  it("pads tokens to the longest row, and says where padding is", () => {
    const feeds = feedsOf(
      [
        input("ids", { from: "tokens", pad: 9 }),
        input("mask", { from: "mask" }),
        input("places", { from: "positions" }, { type: "int32" }),
      ],
      NOTHING,
      examples,
    );
    expect(feeds.ids).toMatchObject({ type: "int64", dims: [2, 3] });
    expect(numbers(feeds, "ids")).toEqual([5, 6, 7, 8, 9, 9]);
    expect(numbers(feeds, "mask")).toEqual([1, 1, 1, 1, 0, 0]);
    expect(feeds.places?.data).toEqual(Int32Array.of(0, 1, 2, 0, 0, 0));
  });

  it("says where padding is in torch's way, and counts positions for all examples together", () => {
    const feeds = feedsOf(
      [
        input("ids", { from: "tokens", pad: 9 }),
        input("padding", { from: "padding" }, { type: "bool" }),
        input("shared", { from: "positions" }, { dims: [1, "sequence"] }),
        input("cache", { from: "positions" }, { dims: ["sequence"] }),
      ],
      NOTHING,
      examples.toReversed(),
    );
    expect(numbers(feeds, "padding")).toEqual([0, 1, 1, 0, 0, 0]);
    expect(feeds.shared).toMatchObject({ dims: [1, 3], data: BigInt64Array.of(0n, 1n, 2n) });
    expect(feeds.cache).toMatchObject({ dims: [3], data: BigInt64Array.of(0n, 1n, 2n) });
  });

  it("fills constants in every shape, also an empty one", () => {
    const feeds = feedsOf(
      [
        input("past", { from: "constant", value: 0 }, { type: "float32", dims: ["batch", 4, 0, 8] }),
        input("h0", { from: "constant", value: 0.5 }, { type: "float32", dims: [1, "batch", 2] }),
        input("branch", { from: "constant", value: 0 }, { type: "bool", dims: [1] }),
      ],
      NOTHING,
      examples,
    );
    expect(feeds.past).toEqual({ type: "float32", dims: [2, 4, 0, 8], data: new Float32Array(0) });
    expect(feeds.h0).toEqual({ type: "float32", dims: [1, 2, 2], data: new Float32Array(4).fill(0.5) });
    expect(feeds.branch).toEqual({ type: "bool", dims: [1], data: Uint8Array.of(0) });
  });

  it("puts features where they belong, bit for bit", () => {
    const feature = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
    const feeds = feedsOf([input("image", { from: "feature", index: 1 }, { type: "float32", dims: ["batch", 1, 2] })], NOTHING, [
      exampleOf([], { features: [feature(0), feature(1.5, -2)] }),
      exampleOf([], { features: [feature(0), feature(3, Number.NaN)] }),
    ]);
    expect(feeds.image).toEqual({ type: "float32", dims: [2, 1, 2], data: Float32Array.of(1.5, -2, 3, Number.NaN) });
  });

  it("feeds what the objective needs, and nothing else", () => {
    expect(Object.keys(feedsOf([], NOTHING, examples))).toEqual([]);
    const feeds = feedsOf([], { labels: "classes", positions: true, targets: true }, examples);
    expect(numbers(feeds, "zoswarm/labels")).toEqual([2, 0]);
    expect(numbers(feeds, "zoswarm/positions")).toEqual([2, 0]);
    expect(feeds["zoswarm/targets"]).toEqual({ type: "float32", dims: [2], data: Float32Array.of(1.5, -1) });
  });

  it("shifts tokens to what comes next, and only where it counts", () => {
    const lm = [exampleOf([1, 2, 3, 4], { from: 2 }), exampleOf([5, 6]), exampleOf([7])];
    const feeds = feedsOf([], { labels: "tokens", positions: false, targets: false }, lm);
    expect(feeds["zoswarm/labels"]?.dims).toEqual([3, 4]);
    expect(numbers(feeds, "zoswarm/labels")).toEqual([-1, 3, 4, -1, 6, -1, -1, -1, -1, -1, -1, -1]);
    expect(lm.map(countedTokens)).toEqual([2, 1, 0]);
    // Token 0 is never predicted, whatever an example says.
    expect(nextToken(exampleOf([1, 2], { from: 0 }), 0)).toBe(2);
    expect(countedTokens(exampleOf([1, 2], { from: 0 }))).toBe(1);
  });

  it("fills a model of fixed length to its length, and refuses what is longer", () => {
    const fixed = [
      input("ids", { from: "tokens", pad: 0 }, { dims: ["batch", 4] }),
      input("mask", { from: "mask" }, { dims: ["batch", 4] }),
    ];
    const feeds = feedsOf(fixed, { ...NOTHING, labels: "tokens" }, examples);
    expect(feeds.ids?.dims).toEqual([2, 4]);
    expect(numbers(feeds, "ids")).toEqual([5, 6, 7, 0, 8, 0, 0, 0]);
    expect(numbers(feeds, "mask")).toEqual([1, 1, 1, 0, 1, 0, 0, 0]);
    expect(numbers(feeds, "zoswarm/labels")).toEqual([6, 7, -1, -1, -1, -1, -1, -1]);
    expect(() => feedsOf(fixed, NOTHING, [exampleOf([1, 2, 3, 4, 5])])).toThrow("5 tokens; the model takes 4");
  });

  it("needs an example", () => {
    expect(() => feedsOf([], NOTHING, [])).toThrow("at least one");
  });
});
