/**
 * The plain implementation of the arithmetic, on Int32Array X, as the spec reads: slow, obvious, and the reference that the
 * kernel must match bit for bit.
 */
import { type Commit, requireMeaning } from "./commit.ts";
import { classes, signs } from "./directions.ts";
import { elementsOf, LIM, type TensorSpec } from "./lattice.ts";
import { commitTable, ditherWords, perturbTable, walsh } from "./table.ts";
import type { Key } from "./threefry.ts";

/** X_i += r_i * T[j(i)], in place; clamped to +-LIM only for an update. */
export function applyTable(
  x: Int32Array,
  key: Key,
  at: { tensor: number; step: number; group: number; m: number },
  table: ArrayLike<number>,
  clamped: boolean,
): void {
  const r = signs(key, at.tensor, at.step, at.group, x.length);
  const j = classes(key, at.tensor, at.step, at.group, at.m, x.length);
  for (let i = 0; i < x.length; i++) {
    const moved = (x[i] as number) + (r[i] as number) * (table[j[i] as number] as number);
    x[i] = clamped ? Math.min(Math.max(moved, -LIM), LIM) : moved;
  }
}

/** Perturbs one tensor by `amount` units of X along z_k (spec 4). */
export function perturbPlain(
  x: Int32Array,
  key: Key,
  at: { tensor: number; step: number; group: number; m: number },
  k: number,
  amount: number,
): void {
  applyTable(x, key, at, perturbTable(at.m, k, amount), false);
}

/** Applies a commit to all tensors, groups in ascending g, each clamped (spec 5). Returns the last V computed. */
export function commitPlain(
  x: readonly Int32Array[],
  tensors: readonly TensorSpec[],
  key: Key,
  commit: Commit,
  firstTensor = 0,
): Float64Array {
  requireMeaning(commit, tensors);
  let last = new Float64Array(0);
  for (const { g, m, p, a } of [...commit.groups].sort((one, other) => one.g - other.g)) {
    const s = walsh(a);
    const words = ditherWords(key, commit.step, g, m);
    tensors.forEach(({ q, gain }, t) => {
      last = commitTable(s, words, p, q + gain) as Float64Array<ArrayBuffer>;
      applyTable(x[t] as Int32Array, key, { tensor: firstTensor + t, step: commit.step, group: g, m }, last, true);
    });
  }
  return last;
}

/** Splits int32 little-endian bytes of all tensors, in order, into one array a tensor. Throws RangeError on another length. */
export function splitTensors(bytes: Uint8Array, tensors: readonly TensorSpec[]): Int32Array[] {
  const total = tensors.reduce((n, { shape }) => n + elementsOf(shape), 0);
  if (bytes.byteLength !== 4 * total)
    throw new RangeError(`parameters have ${bytes.byteLength} bytes; the tensors have ${total} elements, so ${4 * total} are needed`);
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
  let offset = aligned.byteOffset;
  return tensors.map(({ shape }) => {
    const x = new Int32Array(aligned.buffer as ArrayBuffer, offset, elementsOf(shape));
    offset += x.byteLength;
    return x;
  });
}
