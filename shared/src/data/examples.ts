/**
 * Examples as volunteers download them: shards, each a blob of columns, and one index that names the shards and holds the labels
 * from which batches are drawn. Reading trusts nothing: every length is checked against the bytes that are there.
 */
import { decode, encode } from "../protocol/codec.ts";
import { fromHex, toHex } from "../protocol/entries.ts";

/** One example. What an objective does not need stays at its default. */
export interface Example {
  /** Token ids in order; none where the model reads features alone. */
  tokens: ArrayLike<number>;
  /** Class; -1 where there is none. */
  label: number;
  /** Target of a regression. */
  value: number;
  /** The first token whose prediction counts; token 0 is never predicted. */
  from: number;
  /** The token at which the model is asked: the last of a prompt, or the mask. */
  position: number;
  /** Little-endian elements of each feature input, in the manifest's order. */
  features: readonly Uint8Array[];
  /** JSON for rewards and exact matches: text, target; "" where there is none. */
  extra: string;
}

/** An example of these tokens and this label, nothing else. */
export function exampleOf(tokens: ArrayLike<number>, more: Partial<Omit<Example, "tokens">> = {}): Example {
  return { tokens, label: -1, value: 0, from: 1, position: Math.max(0, tokens.length - 1), features: [], extra: "", ...more };
}

/** Bounds; they keep a batch's arrays far below what would end a process. */
export const EXAMPLES_COUNT_MAX = 16_777_216;
export const EXAMPLE_TOKENS_MAX = 65_536;
export const CLASSES_MAX = 65_536;
export const SHARD_BYTES_MAX = 64 * 2 ** 20;
export const INDEX_BYTES_MAX = 128 * 2 ** 20;
/** What a shard is filled to: a volunteer fetches little that its batches do not touch. */
export const SHARD_BYTES = 256 * 1024;
const EXTRA_CHARACTERS_MAX = 1_000_000;
const TOKEN_MAX = 0x7fffffff;
const SHARD = "zoswarm/shard/2";
const INDEX = "zoswarm/index/2";

/** Encodes a shard. Throws a RangeError that names the example where one cannot be encoded. */
export function encodeShard(examples: readonly Example[]): Uint8Array {
  const features = examples[0]?.features.map(({ byteLength }) => byteLength) ?? [];
  for (const [index, { tokens, label, extra, features: own }] of examples.entries()) {
    const refuse = (what: string) => {
      throw new RangeError(`example ${index} ${what}`);
    };
    if (tokens.length > EXAMPLE_TOKENS_MAX) refuse(`has ${tokens.length} tokens; at most ${EXAMPLE_TOKENS_MAX} are allowed`);
    if (tokens.length === 0 && own.length === 0) refuse("has neither tokens nor features");
    if (!isWithin(label, -1, CLASSES_MAX - 1)) refuse(`has label ${label}; it must be 0 to ${CLASSES_MAX - 1}`);
    if (extra.length > EXTRA_CHARACTERS_MAX) refuse(`has ${extra.length} characters of text; at most ${EXTRA_CHARACTERS_MAX} are allowed`);
    if (String(own.map(({ byteLength }) => byteLength)) !== String(features)) refuse("has features of other sizes than the first");
    for (let i = 0; i < tokens.length; i++)
      if (!isWithin(tokens[i] as number, 0, TOKEN_MAX)) refuse(`has token id ${tokens[i]}; it must be 0 to ${TOKEN_MAX}`);
  }
  const column = (of: (example: Example) => number, array: "u32" | "i32" | "f32") => {
    const values = examples.map(of);
    return bytesOf(array === "f32" ? Float32Array.from(values) : array === "i32" ? Int32Array.from(values) : Uint32Array.from(values));
  };
  const extras = examples.map(({ extra }) => Buffer.from(extra, "utf8"));
  return encode([
    SHARD,
    examples.length,
    column(({ tokens }) => tokens.length, "u32"),
    bytesOf(Uint32Array.from(examples.flatMap(({ tokens }) => Array.from(tokens)))),
    column(({ label }) => label, "i32"),
    column(({ value }) => value, "f32"),
    column(({ from }) => from, "u32"),
    column(({ position }) => position, "u32"),
    features,
    Uint8Array.from(Buffer.concat(examples.flatMap((example) => example.features))),
    bytesOf(Uint32Array.from(extras.map(({ byteLength }) => byteLength))),
    Uint8Array.from(Buffer.concat(extras)),
  ]);
}

/** Decodes a shard. Throws a RangeError that says what is wrong where the bytes are anything else. */
export function decodeShard(bytes: Uint8Array): Example[] {
  const decoded = decode(bytes, SHARD_BYTES_MAX);
  if (!decoded.ok || !Array.isArray(decoded.value) || decoded.value[0] !== SHARD) throw malformed("it does not begin as one");
  const [, count, ...columns] = decoded.value as [string, number, ...unknown[]];
  if (!isWithin(count, 1, EXAMPLES_COUNT_MAX)) throw malformed(`${count} examples`);
  const words = (at: number, type: "u32" | "i32" | "f32", length?: number) => {
    const part = columns[at];
    if (!(part instanceof Uint8Array) || part.byteLength % 4 !== 0 || (length !== undefined && part.byteLength !== 4 * length))
      throw malformed(`column ${at} is not of ${length ?? "whole"} words`);
    const own = new Uint8Array(part).buffer;
    return type === "f32" ? new Float32Array(own) : type === "i32" ? new Int32Array(own) : new Uint32Array(own);
  };
  const lengths = words(0, "u32", count);
  const tokens = words(1, "u32") as Uint32Array;
  const [labels, values] = [words(2, "i32", count), words(3, "f32", count)];
  const [froms, positions] = [words(4, "u32", count), words(5, "u32", count)];
  const sizes = columns[6];
  const features = columns[7];
  const extraLengths = words(8, "u32", count);
  const extras = columns[9];
  if (!Array.isArray(sizes) || !sizes.every((size) => isWithin(size, 0, SHARD_BYTES_MAX))) throw malformed("its features have no sizes");
  const featureBytes = sizes.reduce((sum: number, size: number) => sum + size, 0);
  if (!(features instanceof Uint8Array) || features.byteLength !== count * featureBytes) throw malformed("its features do not fit");
  if (!(extras instanceof Uint8Array) || extras.byteLength !== sumOf(extraLengths)) throw malformed("its texts do not fit");
  if (tokens.length !== sumOf(lengths)) throw malformed("its tokens do not fit");
  let token = 0;
  let feature = 0;
  let extra = 0;
  const text = new TextDecoder("utf-8", { fatal: true });
  return Array.from({ length: count }, (_, i) => {
    const length = lengths[i] as number;
    if (length > EXAMPLE_TOKENS_MAX) throw malformed(`example ${i} has ${length} tokens`);
    const example: Example = {
      tokens: tokens.slice(token, token + length),
      label: labels[i] as number,
      value: values[i] as number,
      from: froms[i] as number,
      position: positions[i] as number,
      features: sizes.map((size: number) => {
        feature += size;
        return features.slice(feature - size, feature);
      }),
      extra: text.decode(extras.subarray(extra, extra + (extraLengths[i] as number))),
    };
    token += length;
    extra += extraLengths[i] as number;
    const { label, from, position } = example;
    if (!isWithin(label, -1, CLASSES_MAX - 1) || from > length || position > Math.max(0, length - 1))
      throw malformed(`example ${i} names places that it does not have`);
    return example;
  });
}

/** Where the examples are: shard i holds the examples from i * perShard on. */
export interface ExampleIndex {
  count: number;
  perShard: number;
  /** Of every example, -1 where there is none: batches are balanced by it. */
  labels: Int32Array;
  shards: readonly { id: string; bytes: number }[];
}

export function encodeIndex({ count, perShard, labels, shards }: ExampleIndex): Uint8Array {
  return encode([INDEX, count, perShard, bytesOf(labels), shards.map(({ id, bytes }) => [fromHex(id), bytes])]);
}

/** Decodes an index. Throws a RangeError that says what is wrong where the bytes are anything else. */
export function decodeIndex(bytes: Uint8Array): ExampleIndex {
  const decoded = decode(bytes, INDEX_BYTES_MAX);
  if (!decoded.ok || !Array.isArray(decoded.value) || decoded.value[0] !== INDEX) throw malformed("its index does not begin as one");
  const [, count, perShard, labels, shards] = decoded.value as [string, number, number, Uint8Array, [Uint8Array, number][]];
  if (!isWithin(count, 1, EXAMPLES_COUNT_MAX) || !isWithin(perShard, 1, EXAMPLES_COUNT_MAX))
    throw malformed(`its index has ${count} examples`);
  if (!(labels instanceof Uint8Array) || labels.byteLength !== 4 * count)
    throw malformed("its index does not have a label for each example");
  const isShard = (shard: unknown) =>
    Array.isArray(shard) && shard[0] instanceof Uint8Array && shard[0].byteLength === 32 && isWithin(shard[1], 1, SHARD_BYTES_MAX);
  if (!Array.isArray(shards) || shards.length !== Math.ceil(count / perShard) || !shards.every(isShard))
    throw malformed("its index does not name every shard");
  const own = new Int32Array(new Uint8Array(labels).buffer);
  if (!own.every((label) => isWithin(label, -1, CLASSES_MAX - 1))) throw malformed("its index has a label out of range");
  return { count, perShard, labels: own, shards: shards.map(([id, size]) => ({ id: toHex(id), bytes: size })) };
}

/** Cuts examples into shards of about SHARD_BYTES, all of the same number of examples but the last. */
export function shardsOf(examples: readonly Example[]): { perShard: number; shards: Example[][] } {
  const total = examples.reduce(
    (sum, { tokens, features, extra }) => sum + 4 * tokens.length + 24 + 2 * extra.length + features.reduce((n, f) => n + f.byteLength, 0),
    0,
  );
  const perShard = Math.max(1, Math.floor((SHARD_BYTES * examples.length) / Math.max(1, total)));
  const shards = Array.from({ length: Math.ceil(examples.length / perShard) }, (_, i) => examples.slice(i * perShard, (i + 1) * perShard));
  return { perShard, shards };
}

function bytesOf(values: Uint32Array | Int32Array | Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function sumOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum;
}

function isWithin(value: unknown, from: number, to: number): boolean {
  return Number.isInteger(value) && (value as number) >= from && (value as number) <= to;
}

function malformed(why: string): RangeError {
  return new RangeError(`not a data set of examples: ${why}`);
}
