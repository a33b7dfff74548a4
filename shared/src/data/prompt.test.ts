import { describe, expect, it } from "vitest";
import { truncate } from "./prompt.ts";

describe("truncate", () => {
  it("cuts the end or the start, and says how much", () => {
    expect(truncate([1, 2, 3, 4], 3, "end")).toEqual({ tokens: [1, 2, 3], cut: 1 });
    expect(truncate([1, 2, 3, 4], 3, "start")).toEqual({ tokens: [2, 3, 4], cut: 1 });
    expect(truncate([1, 2], 2, "start")).toEqual({ tokens: [1, 2], cut: 0 });
    expect(truncate([1, 2], 0, "end")).toEqual({ tokens: [], cut: 2 });
    expect(truncate([1, 2], 0, "start")).toEqual({ tokens: [], cut: 2 });
  });

  it("needs a whole number", () => {
    for (const max of [-1, 1.5, Number.NaN]) expect(() => truncate([1], max, "end")).toThrow(`max is ${max}`);
  });
});
