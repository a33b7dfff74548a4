import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { scattered } from "./sample.ts";
import { LEAF, leafHash, rootHash, stateHash } from "./statehash.ts";

const sha256 = (...parts: Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
const leaf = (byte: number) => Buffer.alloc(32, byte);

describe("the state hash", () => {
  it("hashes int32 little-endian, whatever the view's offset", () => {
    const x = Int32Array.of(9, 1, -2, 2 ** 23);
    expect(leafHash(x.subarray(1))).toEqual(sha256(Uint8Array.of(1, 0, 0, 0, 254, 255, 255, 255, 0, 0, 128, 0)));
  });

  it("pairs left and right, and an odd last node moves up unchanged", () => {
    const [a, b, c, d, e] = [1, 2, 3, 4, 5].map(leaf) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    expect(rootHash([a])).toBe(a.toString("hex"));
    expect(rootHash([a, b])).toBe(sha256(a, b).toString("hex"));
    expect(rootHash([a, b, c])).toBe(sha256(sha256(a, b), c).toString("hex"));
    expect(rootHash([a, b, c, d, e])).toBe(sha256(sha256(sha256(a, b), sha256(c, d)), e).toString("hex"));
  });

  it("cuts each tensor into leaves of 65536, never across tensors", () => {
    const x = scattered(LEAF + 3, 1, 1000);
    const y = scattered(5, 2, 1000);
    expect(stateHash([x, y])).toBe(rootHash([leafHash(x.subarray(0, LEAF)), leafHash(x.subarray(LEAF)), leafHash(y)]));
    expect(stateHash([Int32Array.of(1), Int32Array.of(2)])).not.toBe(stateHash([Int32Array.of(1, 2)]));
  });
});
