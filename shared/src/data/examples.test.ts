import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeExamples, type Example, encodeExamples } from "./examples.ts";

const example: fc.Arbitrary<Example> = fc.record({
  tokens: fc.array(fc.integer({ min: 0, max: 100_000 }), { minLength: 1, maxLength: 20 }),
  label: fc.integer({ min: 0, max: 2 }),
});
const SMALL: Example[] = [
  { tokens: [7, 8, 9], label: 1 },
  { tokens: [5], label: 0 },
];

describe("examples", () => {
  it("come back as they went in, at any place in a buffer", () => {
    fc.assert(
      fc.property(fc.array(example, { maxLength: 12 }), fc.integer({ min: 0, max: 3 }), (examples, offset) => {
        const blob = encodeExamples(examples, 3);
        const moved = Buffer.alloc(blob.length + offset).subarray(offset);
        moved.set(blob);
        const decoded = decodeExamples(moved);
        expect(examples.map((_, i) => ({ tokens: [...decoded.tokens(i)], label: decoded.labels[i] }))).toEqual(examples);
        expect(decoded.tokenMax).toBe(Math.max(0, ...examples.flatMap(({ tokens }) => tokens)));
      }),
    );
  });

  it("are two bytes a token while every id fits", () => {
    expect(encodeExamples(SMALL, 2).byteLength).toBe(24 + 2 * 8 + 4 * 2);
  });

  it("form a batch padded to its own longest row", () => {
    const examples = decodeExamples(encodeExamples(SMALL, 2));
    expect(examples.batch([1, 0])).toEqual({
      inputIds: BigInt64Array.of(5n, 0n, 0n, 7n, 8n, 9n),
      attentionMask: BigInt64Array.of(1n, 0n, 0n, 1n, 1n, 1n),
      labels: BigInt64Array.of(0n, 1n),
      rows: 2,
      columns: 3,
    });
    expect(examples.batch([1]).columns).toBe(1);
  });

  it("refuse a batch of an example that is not there", () => {
    const examples = decodeExamples(encodeExamples(SMALL, 2));
    for (const index of [2, -1, 0.5, Number.NaN]) expect(() => examples.batch([index])).toThrow(/there is no example/);
    expect(() => examples.batch([])).toThrow(/at least one/);
  });

  it("refuse what no model could take", () => {
    expect(() => encodeExamples([{ tokens: [], label: 0 }], 2)).toThrow("example 0 has 0 tokens");
    expect(() => encodeExamples([{ tokens: [1], label: 2 }], 2)).toThrow("example 0 has label 2; it must be 0 to 1");
    expect(() => encodeExamples([{ tokens: [-1], label: 0 }], 2)).toThrow("token id -1");
  });

  it("never make anything of altered bytes but a RangeError or other valid examples", () => {
    const blob = encodeExamples(SMALL, 2);
    fc.assert(
      fc.property(fc.nat(blob.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(4), (at, change, cut) => {
        const hostile = blob.slice(0, blob.length - cut);
        if (at < hostile.length) hostile[at] = (hostile[at] as number) ^ change;
        try {
          const examples = decodeExamples(hostile);
          expect(examples.batch([0]).columns).toBeLessThanOrEqual(4);
          expect(Math.max(...examples.labels)).toBeLessThan(examples.classes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });

  it("are not believed about their own size", () => {
    const blob = encodeExamples(SMALL, 2);
    new DataView(blob.buffer).setUint32(12, 0xffffffff, true);
    expect(() => decodeExamples(blob)).toThrow("4294967295 examples are more than");
    expect(() => decodeExamples(new Uint8Array(3))).toThrow("3 bytes are fewer");
  });
});
