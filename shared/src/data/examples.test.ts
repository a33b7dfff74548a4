import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decode, encode } from "../protocol/codec.ts";
import { decodeIndex, decodeShard, type Example, encodeIndex, encodeShard, exampleOf, SHARD_BYTES, shardsOf } from "./examples.ts";

const anyExample = fc
  .record({
    tokens: fc.array(fc.nat(0x7fffffff), { minLength: 1, maxLength: 9 }),
    label: fc.integer({ min: -1, max: 65_535 }),
    value: fc.float({ noNaN: true }),
    extra: fc.string({ unit: "grapheme" }),
    features: fc.tuple(fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.uint8Array({ minLength: 4, maxLength: 4 })),
  })
  .chain((example) =>
    fc
      .record({ from: fc.nat(example.tokens.length), position: fc.nat(example.tokens.length - 1) })
      .map((places) => ({ ...example, ...places })),
  );

const plain = ({ tokens, features, ...rest }: Example) => ({
  ...rest,
  tokens: Array.from(tokens),
  features: features.map((part) => [...part]),
});

describe("shards", () => {
  it("come back as they went in, whatever their columns", () => {
    fc.assert(
      fc.property(fc.array(anyExample, { minLength: 1, maxLength: 12 }), (examples) => {
        expect(decodeShard(encodeShard(examples)).map(plain)).toEqual(examples.map(plain));
      }),
    );
  });

  it("of examples that cannot be are refused with the example's number", () => {
    const good = exampleOf([1, 2]);
    for (const [wrong, message] of [
      [exampleOf([]), "neither tokens nor features"],
      [exampleOf([-1]), "token id -1"],
      [exampleOf([1.5]), "token id 1.5"],
      [exampleOf([1], { label: 65_536 }), "label 65536"],
      [exampleOf([1], { features: [new Uint8Array(3)] }), "features of other sizes"],
      [exampleOf(new Array(65_537).fill(0)), "65537 tokens"],
    ] as const)
      expect(() => encodeShard([good, wrong])).toThrow(`example 1 has ${message.replace(/^has /, "")}`);
  });

  it("whose columns do not fit together are no shards", () => {
    const bytes = encodeShard([
      exampleOf([1, 2, 3], { label: 1, extra: "é", features: [new Uint8Array(4)] }),
      exampleOf([4], { features: [new Uint8Array(4)] }),
    ]);
    const decoded = decode(bytes, 1e6);
    if (!decoded.ok) throw new Error(decoded.code);
    const columns = decoded.value as unknown[];
    expect(decodeShard(encode(columns))).toHaveLength(2);
    const spoilt = (at: number, value: unknown) => encode(columns.map((column, i) => (i === at ? value : column)));
    for (let at = 0; at < columns.length; at++)
      for (const value of [null, 7, "text", [], new Uint8Array(1), new Uint8Array(1000)]) {
        if (at === 8 && Array.isArray(value)) continue;
        expect(() => decodeShard(spoilt(at, value)), `column ${at}: ${String(value)}`).toThrow(/^not a data set of examples/);
      }
    expect(() => decodeShard(bytes.subarray(0, 40))).toThrow("not a data set");
  });

  it("that name places which they do not have are refused", () => {
    const shard = (more: Partial<Example>) => encodeShard([exampleOf([1, 2], more)]);
    expect(() => decodeShard(shard({ position: 2 }))).toThrow("places that it does not have");
    expect(() => decodeShard(shard({ from: 3 }))).toThrow("places that it does not have");
  });

  it("are cut to about their size, in order, nothing left out", () => {
    const examples = Array.from({ length: 5000 }, (_, i) => exampleOf(new Array(100).fill(i % 50)));
    const { perShard, shards } = shardsOf(examples);
    expect(shards.flat()).toEqual(examples);
    expect(shards.slice(0, -1).every((shard) => shard.length === perShard)).toBe(true);
    const bytes = encodeShard(shards[0] as Example[]).byteLength;
    expect(bytes).toBeGreaterThan(SHARD_BYTES / 2);
    expect(bytes).toBeLessThan(1.5 * SHARD_BYTES);
  });
});

describe("the index", () => {
  const index = {
    count: 5,
    perShard: 2,
    labels: Int32Array.of(0, 1, -1, 3, 0),
    shards: ["aa", "bb", "cc"].map((id) => ({ id: id.repeat(32), bytes: 7 })),
  };

  it("comes back as it went in", () => {
    expect(decodeIndex(encodeIndex(index))).toEqual(index);
  });

  it("that does not name every shard, or not a label for each example, is none", () => {
    for (const wrong of [
      { ...index, shards: index.shards.slice(1) },
      { ...index, perShard: 1 },
      { ...index, count: 6 },
      { ...index, count: 0 },
      { ...index, labels: Int32Array.of(0, 1, -2, 3, 0) },
      { ...index, shards: index.shards.map(({ id }) => ({ id: id.slice(2), bytes: 7 })) },
      { ...index, shards: index.shards.map(({ id }) => ({ id, bytes: 0 })) },
    ])
      expect(() => decodeIndex(encodeIndex(wrong)), JSON.stringify(wrong)).toThrow("not a data set of examples");
    expect(() => decodeIndex(encode(["something"]))).toThrow("not a data set of examples");
  });
});
