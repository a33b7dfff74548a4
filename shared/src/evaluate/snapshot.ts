/**
 * Snapshots (shared/spec/snapshots.md): the parameters after a step as a file, written and read leaf by leaf beside the one theta.
 * A file is a peer's until every leaf has the hash that the ledger's state hash commits to: nothing is allocated on its word.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Parameters } from "../zo/kernel.ts";
import { elementsOf, type TensorSpec } from "../zo/lattice.ts";
import { LEAF, leafHash, rootHash } from "../zo/statehash.ts";

const MAGIC = Buffer.from("zosnap/1");
const HASH_BYTES = 32;
/** Magic, job id, step, number of leaves; the hashes follow. */
const HEADER_BYTES = MAGIC.byteLength + HASH_BYTES + 4 + 4;
/** Kind and length of a leaf's frame. */
const FRAME_HEADER_BYTES = 5;
const KINDS = ["difference", "plain"] as const;
/** zstd's level 1: higher ones gain under 1 % on byte planes and cost twice the time. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** A leaf is 2^18 bytes: a frame that wants a larger window is none of ours. */
const WINDOW_LOG_MAX = 20;

/** Elements `from` to `from + count` of tensor `t`; `at` is their place among all elements. */
interface Leaf {
  t: number;
  from: number;
  count: number;
  at: number;
}

export interface SnapshotOf {
  jobId: string;
  /** -1 is the initial state. */
  step: number;
}

/** A file of int32 little-endian X of all tensors: the initial state that differences are to. */
interface Base {
  parameters: Parameters;
  initialFile: string;
}

/** The most that a snapshot of these tensors can have: what a peer says is measured against it before anything is fetched. */
export function snapshotBytesMax(tensors: readonly TensorSpec[]): number {
  const leaves = leavesOf(tensors);
  return leaves.reduce((sum, { count }) => sum + HASH_BYTES + FRAME_HEADER_BYTES + frameBytesMax(count), HEADER_BYTES);
}

/** Writes the state to `file`, durably. Leaf by leaf: no second copy of the parameters exists. Throws what the disk says. */
export function writeSnapshot({ parameters, initialFile }: Base, { jobId, step }: SnapshotOf, file: string) {
  const leaves = leavesOf(parameters.tensors);
  const hashes: Buffer[] = [];
  const initial = openSync(initialFile, "r");
  const out = openSync(file, "w");
  try {
    let at = HEADER_BYTES + HASH_BYTES * leaves.length;
    for (const leaf of leaves) {
      const x = parameters.read(leaf.t, leaf.from, leaf.count);
      hashes.push(leafHash(x));
      at += writeSync(out, frameOf(x, readLeaf(initial, leaf)), 0, undefined, at);
    }
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    Buffer.from(jobId, "hex").copy(header, MAGIC.byteLength);
    header.writeInt32LE(step, HEADER_BYTES - 8);
    header.writeUInt32LE(leaves.length, HEADER_BYTES - 4);
    writeSync(out, Buffer.concat([header, ...hashes]), 0, undefined, 0);
    fsyncSync(out);
    return { stateHash: rootHash(hashes), bytes: at };
  } finally {
    closeSync(out);
    closeSync(initial);
  }
}

export type LoadedSnapshot = { ok: true } | { ok: false; code: "wrong-snapshot"; message: string };

/**
 * Sets the parameters from `file`, where it is the snapshot of that step with that state hash. Each leaf is checked as it is decoded;
 * where one is wrong, those before it are set: the caller puts another state in their place.
 */
export function loadSnapshot(
  { parameters, initialFile }: Base,
  { jobId, step, stateHash }: SnapshotOf & { stateHash: string },
  file: string,
): LoadedSnapshot {
  const leaves = leavesOf(parameters.tensors);
  const wrong = (why: string): LoadedSnapshot => ({
    ok: false,
    code: "wrong-snapshot",
    message: `snapshot after step ${step + 1}: ${why}`,
  });
  let input: number;
  try {
    input = openSync(file, "r");
  } catch (error) {
    return wrong(`cannot be read (${(error as Error).message})`);
  }
  const initial = openSync(initialFile, "r");
  try {
    const header = readAt(input, 0, HEADER_BYTES);
    if (header === null || !header.subarray(0, MAGIC.byteLength).equals(MAGIC)) return wrong("not a snapshot file");
    if (header.subarray(MAGIC.byteLength, MAGIC.byteLength + HASH_BYTES).toString("hex") !== jobId) return wrong("of another job");
    if (header.readInt32LE(HEADER_BYTES - 8) !== step) return wrong("of another step");
    if (header.readUInt32LE(HEADER_BYTES - 4) !== leaves.length) return wrong("another number of leaves than the job has");
    const list = readAt(input, HEADER_BYTES, HASH_BYTES * leaves.length);
    if (list === null) return wrong("cut short");
    const hashes = leaves.map((_, i) => list.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
    if (rootHash(hashes) !== stateHash) return wrong("its leaf hashes do not give the state hash that the ledger states");
    let at = HEADER_BYTES + list.byteLength;
    for (const [i, leaf] of leaves.entries()) {
      const frame = readFrame(input, at, leaf.count);
      if (frame === null) return wrong(`leaf ${i} is cut short or malformed`);
      at += FRAME_HEADER_BYTES + frame.bytes.byteLength;
      const x = decodeFrame(frame, leaf.count, () => readLeaf(initial, leaf));
      if (x === null) return wrong(`leaf ${i} cannot be decoded`);
      if (!leafHash(x).equals(hashes[i] as Buffer) || !parameters.set(leaf.t, leaf.from, x).ok)
        return wrong(`leaf ${i} is not the one that the ledger's state hash commits to`);
    }
    return fstatSync(input).size === at ? { ok: true } : wrong("bytes behind its end");
  } finally {
    closeSync(input);
    closeSync(initial);
  }
}

function leavesOf(tensors: readonly TensorSpec[]): Leaf[] {
  const leaves: Leaf[] = [];
  let at = 0;
  tensors.forEach(({ shape }, t) => {
    const size = elementsOf(shape);
    for (let from = 0; from < size; from += LEAF) {
      const count = Math.min(LEAF, size - from);
      leaves.push({ t, from, count, at });
      at += count;
    }
  });
  return leaves;
}

/** zstd's own bound for bytes that do not shrink. */
function frameBytesMax(count: number): number {
  return 4 * count + (count >>> 6) + 128;
}

/** The leaf's frame with its header: differences to the initial state, or the plain values where those are smaller. */
function frameOf(x: Int32Array, initial: Int32Array): Buffer {
  const compressed = (values: Int32Array) => zstdCompressSync(planesOf(values), LEVEL);
  const frames = [compressed(x.map((v, i) => v - (initial[i] as number))), compressed(x)] as const;
  const kind = frames[0].byteLength <= frames[1].byteLength ? 0 : 1;
  const bytes = frames[kind];
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header[0] = kind;
  header.writeUInt32LE(bytes.byteLength, 1);
  return Buffer.concat([header, bytes]);
}

function readFrame(input: number, at: number, count: number): { kind: (typeof KINDS)[number]; bytes: Buffer } | null {
  const header = readAt(input, at, FRAME_HEADER_BYTES);
  const kind = KINDS[header?.[0] ?? -1];
  const length = header?.readUInt32LE(1) ?? 0;
  if (kind === undefined || length > frameBytesMax(count)) return null;
  const bytes = readAt(input, at + FRAME_HEADER_BYTES, length);
  return bytes && { kind, bytes };
}

function decodeFrame(
  { kind, bytes }: { kind: (typeof KINDS)[number]; bytes: Buffer },
  count: number,
  initial: () => Int32Array,
): Int32Array | null {
  let planes: Buffer;
  try {
    planes = zstdDecompressSync(bytes, { maxOutputLength: 4 * count, params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX } });
  } catch {
    return null;
  }
  if (planes.byteLength !== 4 * count) return null;
  const x = valuesOf(planes, count);
  if (kind === "difference") {
    const base = initial();
    for (let i = 0; i < count; i++) x[i] = (x[i] as number) + (base[i] as number);
  }
  return x;
}

/** Zigzag, then first all low bytes, then all second ones and so on: small numbers of both signs leave the upper planes empty. */
function planesOf(values: Int32Array): Uint8Array {
  const count = values.length;
  const planes = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    const v = values[i] as number;
    const zigzag = (v << 1) ^ (v >> 31);
    planes[i] = zigzag;
    planes[count + i] = zigzag >>> 8;
    planes[2 * count + i] = zigzag >>> 16;
    planes[3 * count + i] = zigzag >>> 24;
  }
  return planes;
}

function valuesOf(planes: Uint8Array, count: number): Int32Array {
  const values = new Int32Array(count);
  const byte = (i: number) => planes[i] as number;
  for (let i = 0; i < count; i++) {
    const zigzag = byte(i) | (byte(count + i) << 8) | (byte(2 * count + i) << 16) | (byte(3 * count + i) << 24);
    values[i] = (zigzag >>> 1) ^ -(zigzag & 1);
  }
  return values;
}

function readLeaf(initial: number, { at, count }: Leaf): Int32Array {
  const bytes = readAt(initial, 4 * at, 4 * count);
  if (bytes === null) throw new Error("the initial parameters end inside a tensor");
  return new Int32Array(bytes.buffer, bytes.byteOffset, count);
}

/** Exactly `length` bytes; null where the file ends before. */
function readAt(handle: number, position: number, length: number): Buffer | null {
  const bytes = Buffer.from(new ArrayBuffer(length));
  return readSync(handle, bytes, 0, length, position) === length ? bytes : null;
}
