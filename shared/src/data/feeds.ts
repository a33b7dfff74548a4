/**
 * From examples to what a model's inputs are fed: token ids padded to the batch's longest, masks, positions, features; and what the
 * objective needs beside them. The manifest says which input is filled from what.
 */
import type { InputSpec } from "../protocol/manifest.ts";
import type { Example } from "./examples.ts";

export type FeedData = BigInt64Array | Int32Array | Float32Array | Uint8Array | Int8Array;
export interface Feed {
  type: InputSpec["type"];
  dims: number[];
  data: FeedData;
}

/** Inputs that the objective adds to the graph (model/objective.ts); only those are fed that the graph has. */
export const LABELS = "zoswarm/labels";
export const POSITIONS = "zoswarm/positions";
export const TARGETS = "zoswarm/targets";
export interface Needs {
  /** A class for each example, or the next token for each place: -1 does not count. */
  labels: "classes" | "tokens" | null;
  positions: boolean;
  targets: boolean;
}

/** What holds values of an input type in memory. */
export const ARRAYS = {
  int64: BigInt64Array,
  int32: Int32Array,
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  bool: Uint8Array,
} as const;

/** The feeds of a batch, by input name. Throws a RangeError where there is no example. */
export function feedsOf(inputs: readonly InputSpec[], needs: Needs, examples: readonly Example[]): Record<string, Feed> {
  if (examples.length === 0) throw new RangeError("a batch needs at least one example");
  const rows = examples.length;
  const longest = examples.reduce((most, { tokens }) => Math.max(most, tokens.length), 0);
  const columns = fixedLengthOf(inputs) ?? longest;
  if (longest > columns) throw new RangeError(`an example has ${longest} tokens; the model takes ${columns}`);
  const feeds: Record<string, Feed> = {};
  for (const { name, type, dims, source } of inputs) {
    const sizes = dims.map((size) => (size === "batch" ? rows : size === "sequence" ? columns : size));
    const data = new ARRAYS[type](sizes.reduce((n, size) => n * size, 1)) as FeedData;
    if (source.from === "feature")
      examples.forEach(({ features }, r) => {
        const bytes = features[source.index] as Uint8Array;
        new Uint8Array(data.buffer).set(bytes, r * bytes.byteLength);
      });
    else if (source.from === "constant") fill(data, () => source.value);
    else {
      const valueAt = {
        tokens: ({ tokens }: Example, c: number) => tokens[c] ?? (source.from === "tokens" ? source.pad : 0),
        mask: ({ tokens }: Example, c: number) => (c < tokens.length ? 1 : 0),
        padding: ({ tokens }: Example, c: number) => (c < tokens.length ? 0 : 1),
        positions: ({ tokens }: Example, c: number) => (dims[0] !== "batch" ? c : Math.min(c, Math.max(0, tokens.length - 1))),
      }[source.from];
      fill(data, (i) => valueAt(examples[Math.floor(i / columns)] as Example, i % columns));
    }
    feeds[name] = { type, dims: sizes, data };
  }
  const integers = (dims: number[], of: (i: number) => number): Feed => {
    const data = new BigInt64Array(dims.reduce((n, size) => n * size, 1));
    fill(data, of);
    return { type: "int64", dims, data };
  };
  if (needs.labels === "classes") feeds[LABELS] = integers([rows], (r) => (examples[r] as Example).label);
  if (needs.labels === "tokens")
    feeds[LABELS] = integers([rows, columns], (i) => nextToken(examples[Math.floor(i / columns)] as Example, i % columns));
  if (needs.positions) feeds[POSITIONS] = integers([rows], (r) => (examples[r] as Example).position);
  if (needs.targets) feeds[TARGETS] = { type: "float32", dims: [rows], data: Float32Array.from(examples, ({ value }) => value) };
  return feeds;
}

/** How many examples the model takes, where it takes no other number. */
export function fixedBatchOf(inputs: readonly InputSpec[]): number | null {
  const fixed = inputs.find(({ source }) => source.from === "tokens" || source.from === "feature")?.dims[0];
  return typeof fixed === "number" ? fixed : null;
}

/** How many tokens the model takes, where it takes no other number. */
export function fixedLengthOf(inputs: readonly InputSpec[]): number | null {
  const fixed = inputs.find(({ source }) => source.from === "tokens")?.dims[1];
  return typeof fixed === "number" ? fixed : null;
}

/** The token that follows place c, where its prediction counts; else -1. */
export function nextToken({ tokens, from }: Example, c: number): number {
  return c + 1 < tokens.length && c + 1 >= from ? (tokens[c + 1] as number) : -1;
}

/** Predictions that count in an example's loss over its tokens. */
export function countedTokens({ tokens, from }: Example): number {
  return Math.max(0, tokens.length - Math.max(1, from));
}

function fill(data: FeedData, valueAt: (i: number) => number): void {
  if (data instanceof BigInt64Array) for (let i = 0; i < data.length; i++) data[i] = BigInt(valueAt(i));
  else for (let i = 0; i < data.length; i++) data[i] = valueAt(i);
}
