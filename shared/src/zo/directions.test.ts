import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLOCK, classes, signs, walshSign } from "./directions.ts";
import { KEY, runs } from "./sample.ts";
import { threefry } from "./threefry.ts";

const step = fc.integer({ min: 0, max: 0xffffffff });
const group = fc.nat(2 ** 24 - 1);

describe("signs", () => {
  it("reads bit 31 - (e >> 2) of word e & 3 of the block's call", () => {
    const r = signs(KEY, 3, 41, 2, 200);
    const words = threefry(KEY, 1, 3, 41, 2);
    for (const e of [0, 1, 2, 3, 4, 71]) expect(r[BLOCK + e]).toBe((((words[e & 3] as number) >>> (31 - (e >> 2))) & 1) === 1 ? -1 : 1);
  });

  it("gives a tail the same signs as a longer tensor", () => {
    fc.assert(
      fc.property(step, group, fc.integer({ min: 1, max: 600 }), (s, g, n) => {
        expect(signs(KEY, 7, s, g, n)).toEqual(signs(KEY, 7, s, g, 600).subarray(0, n));
      }),
      runs(30),
    );
  });

  it("differs by tensor, step and group", () => {
    const base = signs(KEY, 0, 0, 0, 512);
    for (const other of [signs(KEY, 1, 0, 0, 512), signs(KEY, 0, 1, 0, 512), signs(KEY, 0, 0, 1, 512)]) expect(other).not.toEqual(base);
  });
});

describe("classes", () => {
  it.each(Array.from({ length: 17 }, (_, m) => m))("m = %i: from a hashed base, one up an element, mod 2^m", (m) => {
    const j = classes(KEY, 5, 9, 1, m, 3 * BLOCK + 17);
    for (let i = 0; i < j.length; i++) {
      expect(j[i]).toBeLessThan(2 ** m);
      if (i % BLOCK > 0) expect(j[i]).toBe(((j[i - 1] as number) + 1) % 2 ** m);
    }
  });

  it("spreads the blocks' bases: an odd multiplier never repeats early", () => {
    const j = classes(KEY, 5, 9, 1, 16, 256 * BLOCK);
    expect(new Set(Array.from({ length: 256 }, (_, b) => j[b * BLOCK])).size).toBe(256);
  });
});

it("walshSign is the parity of k & j, and its rows are orthogonal", () => {
  const parity = (v: number) => (v.toString(2).replaceAll("0", "").length % 2 === 0 ? 1 : -1);
  fc.assert(
    fc.property(fc.nat(65535), fc.nat(65535), (k, j) => {
      expect(walshSign(k, j)).toBe(parity(k & j));
    }),
    runs(200),
  );
  for (let k = 0; k < 16; k++) {
    for (let other = 0; other < 16; other++) {
      let dot = 0;
      for (let j = 0; j < 16; j++) dot += walshSign(k, j) * walshSign(other, j);
      expect(dot).toBe(k === other ? 16 : 0);
    }
  }
});
