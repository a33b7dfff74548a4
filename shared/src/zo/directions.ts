/**
 * Directions (shared/spec/arithmetic.md 3): a group of K = 2^m shares one sign vector r and differs by the Walsh-Hadamard sign
 * of a hashed class: z_k[i] = r_i * (-1)^popc(k & j(i)).
 */
import { type Key, threefry } from "./threefry.ts";

/** Elements that share one call of the generator for their signs. */
export const BLOCK = 128;

/** r_i for the `n` elements of tensor `t`: +1 or -1 each. */
export function signs(key: Key, t: number, step: number, group: number, n: number): Int8Array {
  const r = new Int8Array(n);
  for (let b = 0; b * BLOCK < n; b++) {
    const w = threefry(key, b, t, step, group);
    for (let e = 0; e < BLOCK && b * BLOCK + e < n; e++) {
      const bit = ((w[e & 3] as number) >>> (31 - (e >> 2))) & 1;
      r[b * BLOCK + e] = bit === 0 ? 1 : -1;
    }
  }
  return r;
}

/** The odd multiplier A and the offset B that place a tensor's blocks among the classes. */
export function placement(key: Key, t: number, step: number, group: number): { a: number; b: number } {
  const u = threefry(key, 0, t, step, ((1 << 24) | group) >>> 0);
  return { a: (u[0] | 1) >>> 0, b: u[1] };
}

/** The class at which block `block` begins. */
export function baseOf(block: number, { a, b }: { a: number; b: number }, m: number): number {
  return m === 0 ? 0 : ((Math.imul(block, a) + b) >>> 0) >>> (32 - m);
}

/** j(i) for the `n` elements of tensor `t`: 0..K-1 each. */
export function classes(key: Key, t: number, step: number, group: number, m: number, n: number): Uint32Array {
  const place = placement(key, t, step, group);
  return Uint32Array.from({ length: n }, (_, i) => (baseOf(Math.floor(i / BLOCK), place, m) + (i % BLOCK)) % 2 ** m);
}

/** (-1)^popc(k & j). */
export function walshSign(k: number, j: number): 1 | -1 {
  let v = k & j;
  v ^= v >>> 16;
  v ^= v >>> 8;
  v ^= v >>> 4;
  v ^= v >>> 2;
  v ^= v >>> 1;
  return (v & 1) === 0 ? 1 : -1;
}
