import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { runs } from "./sample.ts";
import { type Key, threefry } from "./threefry.ts";

const hex = (key: Key, counter: Key) => threefry(key, ...counter).map((word) => word.toString(16).padStart(8, "0"));
const u32 = fc.integer({ min: 0, max: 0xffffffff });

describe("threefry", () => {
  it("gives the known answers that Random123 publishes", () => {
    expect(hex([0, 0, 0, 0], [0, 0, 0, 0])).toEqual(["9c6ca96a", "e17eae66", "fc10ecd4", "5256a7d8"]);
    const ones: Key = [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff];
    expect(hex(ones, ones)).toEqual(["2a881696", "57012287", "f6c7446e", "a16a6732"]);
    expect(hex([0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344])).toEqual([
      "59cd1dbb",
      "b8879579",
      "86b5d00c",
      "ac8b6d84",
    ]);
  });

  it("answers in u32 and differs by every word of counter and key", () => {
    fc.assert(
      fc.property(fc.tuple(u32, u32, u32, u32), fc.tuple(u32, u32, u32, u32), fc.nat(7), (key, counter, at) => {
        const words = threefry(key, ...counter);
        expect(words.every((word) => word === word >>> 0)).toBe(true);
        const changed = [...counter, ...key];
        changed[at] = ((changed[at] as number) ^ 1) >>> 0;
        const [c0, c1, c2, c3, k0, k1, k2, k3] = changed as [number, number, number, number, number, number, number, number];
        expect(threefry([k0, k1, k2, k3], c0, c1, c2, c3)).not.toEqual(words);
      }),
      runs(100),
    );
  });
});
