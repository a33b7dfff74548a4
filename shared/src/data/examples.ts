/**
 * Tokenized examples as one compact blob, the form in which volunteers download a data set, and as padded batches for the runtime.
 * Reading trusts nothing: every length is checked against the bytes that are there before anything is allocated.
 */

/** One example: token ids in order and its class. */
export interface Example {
  tokens: readonly number[];
  label: number;
}

/** One padded batch, row-major `[rows, columns]`; `labels` is `[rows]`. */
export interface Batch {
  inputIds: BigInt64Array;
  /** 1 where there is a token, 0 where there is padding. */
  attentionMask: BigInt64Array;
  labels: BigInt64Array;
  rows: number;
  columns: number;
}

export interface Examples {
  count: number;
  classes: number;
  labels: Int32Array;
  /** The largest token id, so that it can be held against a model's vocabulary. */
  tokenMax: number;
  /** The token ids of one example. Throws a RangeError where there is no such example. */
  tokens(index: number): Uint16Array | Uint32Array;
  /** A batch padded with id 0 to its own longest row. Throws a RangeError where an index names no example, or there is none. */
  batch(indices: ArrayLike<number>): Batch;
}

/** Bounds of a blob; they keep a batch's arrays far below what would end a process. */
export const EXAMPLES_COUNT_MAX = 16_777_216;
export const EXAMPLE_TOKENS_MAX = 65_536;
export const CLASSES_MAX = 65_536;
const TOKEN_MAX = 0x7fffffff;

const MAGIC = 0x78456f7a; // "zoEx", little-endian
const VERSION = 1;
/** magic, version, classes, count, tokens of all examples, bytes per token (2 or 4): six u32; then lengths, labels (u32 each), tokens. */
const HEADER_WORDS = 6;
const HEADER_BYTES = 4 * HEADER_WORDS;

/** Encodes examples, little-endian. Throws a RangeError that names the example where one has no tokens, or a token or label is out of range. */
export function encodeExamples(examples: readonly Example[], classes: number): Uint8Array {
  if (!isWithin(classes, 1, CLASSES_MAX)) throw new RangeError(`classes is ${classes}; it must be 1 to ${CLASSES_MAX}`);
  if (examples.length > EXAMPLES_COUNT_MAX)
    throw new RangeError(`${examples.length} examples; at most ${EXAMPLES_COUNT_MAX} fit one data set`);
  let total = 0;
  let largest = 0;
  for (const [index, { tokens, label }] of examples.entries()) {
    if (!isWithin(tokens.length, 1, EXAMPLE_TOKENS_MAX))
      throw new RangeError(`example ${index} has ${tokens.length} tokens; it must have 1 to ${EXAMPLE_TOKENS_MAX}`);
    if (!isWithin(label, 0, classes - 1)) throw new RangeError(`example ${index} has label ${label}; it must be 0 to ${classes - 1}`);
    for (const token of tokens) {
      if (!isWithin(token, 0, TOKEN_MAX)) throw new RangeError(`example ${index} has token id ${token}; it must be 0 to ${TOKEN_MAX}`);
      if (token > largest) largest = token;
    }
    total += tokens.length;
  }
  const tokenBytes = largest > 0xffff ? 4 : 2;
  const blob = new Uint8Array(HEADER_BYTES + 8 * examples.length + tokenBytes * total);
  const count = examples.length;
  new Uint32Array(blob.buffer, 0, HEADER_WORDS).set([MAGIC, VERSION, classes, count, total, tokenBytes]);
  new Uint32Array(blob.buffer, HEADER_BYTES, count).set(examples.map(({ tokens }) => tokens.length));
  new Uint32Array(blob.buffer, HEADER_BYTES + 4 * count, count).set(examples.map(({ label }) => label));
  const tokens = tokensAt(blob.buffer, HEADER_BYTES + 8 * count, total, tokenBytes);
  let at = 0;
  for (const example of examples) {
    tokens.set(example.tokens, at);
    at += example.tokens.length;
  }
  return blob;
}

/** Decodes a blob of `encodeExamples`. Throws a RangeError that says what is wrong where the bytes are anything else. */
export function decodeExamples(blob: Uint8Array): Examples {
  if (blob.byteLength < HEADER_BYTES) throw malformed(`${blob.byteLength} bytes are fewer than its header's ${HEADER_BYTES}`);
  const header = Array.from({ length: HEADER_WORDS }, (_, word) => new DataView(blob.buffer, blob.byteOffset).getUint32(4 * word, true));
  const [magic, version, classes, count, total, tokenBytes] = header as [number, number, number, number, number, number];
  if (magic !== MAGIC) throw malformed("it does not begin as one");
  if (version !== VERSION) throw malformed(`version ${version} is not ${VERSION}: use the same release on both sides`);
  if (!isWithin(classes, 1, CLASSES_MAX)) throw malformed(`${classes} classes are not 1 to ${CLASSES_MAX}`);
  if (count > EXAMPLES_COUNT_MAX) throw malformed(`${count} examples are more than ${EXAMPLES_COUNT_MAX}`);
  if (tokenBytes !== 2 && tokenBytes !== 4) throw malformed(`${tokenBytes} bytes a token are not 2 or 4`);
  const expected = HEADER_BYTES + 8 * count + tokenBytes * total;
  if (blob.byteLength !== expected) throw malformed(`${blob.byteLength} bytes are not the ${expected} that its header says`);

  // A copy by constructor: the slice of a Buffer would share its memory, unaligned as it was.
  const bytes = blob.byteOffset % 4 === 0 ? blob : new Uint8Array(blob);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + HEADER_BYTES, 2 * count);
  const starts = startsOf(words.subarray(0, count), total);
  const labels = Int32Array.from(words.subarray(count));
  for (const [index, label] of labels.entries())
    if (!isWithin(label, 0, classes - 1)) throw malformed(`example ${index}'s label ${label} is not 0 to ${classes - 1}`);
  const tokens = tokensAt(bytes.buffer, bytes.byteOffset + HEADER_BYTES + 8 * count, total, tokenBytes);
  const tokenMax = largestOf(tokens);
  if (tokenMax > TOKEN_MAX) throw malformed(`token id ${tokenMax} is more than ${TOKEN_MAX}`);

  const tokensOf = (index: number) => {
    if (!isWithin(index, 0, count - 1)) throw new RangeError(`there is no example ${index}; there are ${count}`);
    return tokens.subarray(starts[index], starts[index + 1]);
  };
  return { count, classes, labels, tokenMax, tokens: tokensOf, batch: (indices) => padded(indices, tokensOf, labels) };
}

/** Rows of tokens side by side, as the int64 that models take. Only low words are written: ids are below 2^31, hosts little-endian. */
function padded(indices: ArrayLike<number>, tokensOf: Examples["tokens"], labels: Int32Array): Batch {
  const rows = Array.from(indices, tokensOf);
  if (rows.length === 0) throw new RangeError("a batch needs at least one example");
  const columns = rows.reduce((longest, row) => Math.max(longest, row.length), 0);
  const batch: Batch = {
    inputIds: new BigInt64Array(rows.length * columns),
    attentionMask: new BigInt64Array(rows.length * columns),
    labels: BigInt64Array.from(Array.from(indices, (index) => BigInt(labels[index] ?? 0))),
    rows: rows.length,
    columns,
  };
  const ids = new Int32Array(batch.inputIds.buffer);
  const mask = new Int32Array(batch.attentionMask.buffer);
  for (const [r, row] of rows.entries()) {
    for (let c = 0; c < row.length; c++) {
      const low = 2 * (r * columns + c);
      ids[low] = row[c] as number;
      mask[low] = 1;
    }
  }
  return batch;
}

/** Where each example's tokens begin, and the end of the last. */
function startsOf(lengths: Uint32Array, total: number): Float64Array {
  const starts = new Float64Array(lengths.length + 1);
  for (const [index, length] of lengths.entries()) {
    if (!isWithin(length, 1, EXAMPLE_TOKENS_MAX)) throw malformed(`example ${index}'s ${length} tokens are not 1 to ${EXAMPLE_TOKENS_MAX}`);
    starts[index + 1] = (starts[index] as number) + length;
  }
  const sum = starts[lengths.length] as number;
  if (sum !== total) throw malformed(`its examples' ${sum} tokens are not the ${total} that its header says`);
  return starts;
}

function tokensAt(buffer: ArrayBufferLike, offset: number, length: number, tokenBytes: number): Uint16Array | Uint32Array {
  return tokenBytes === 2 ? new Uint16Array(buffer, offset, length) : new Uint32Array(buffer, offset, length);
}

function largestOf(tokens: Uint16Array | Uint32Array): number {
  let largest = 0;
  for (const token of tokens) if (token > largest) largest = token;
  return largest;
}

function isWithin(value: number, from: number, to: number): boolean {
  return Number.isInteger(value) && value >= from && value <= to;
}

function malformed(why: string): RangeError {
  return new RangeError(`not a data set of examples: ${why}`);
}
