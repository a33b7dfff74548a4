import fc from "fast-check";
import { expect, test } from "vitest";
import { createFrameReader, encodeFrame } from "./frames.ts";

test("frames survive any way the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), fc.array(fc.nat(50), { minLength: 1 }), (frames, cuts) => {
      const got: Uint8Array[] = [];
      const reader = createFrameReader(300, (bytes) => got.push(bytes));
      const stream = Buffer.concat(frames.map(encodeFrame));
      let cut = 0;
      for (let at = 0; at < stream.byteLength; ) {
        const size = 1 + (cuts[cut++ % cuts.length] ?? 0);
        expect(reader.push(stream.subarray(at, at + size))).toBeNull();
        at += size;
      }
      expect(got.map((bytes) => [...bytes])).toEqual(frames.map((bytes) => [...bytes]));
    }),
  );
});

test("a length over the limit, or without an end, is refused before its bytes arrive", () => {
  const reader = () => createFrameReader(100, () => expect.unreachable());
  expect(reader().push(encodeFrame(new Uint8Array(101)).subarray(0, 1))).toBe("frame-too-large");
  expect(reader().push(Uint8Array.of(0xff, 0xff, 0xff, 0xff))).toBe("malformed-length");
  expect(reader().push(Uint8Array.of(0xff, 0xff, 0xff, 0x7f))).toBe("frame-too-large");
});
