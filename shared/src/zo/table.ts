/**
 * Tables of K integers: perturbing and updating are the same operation X_i += r_i * T[j(i)] for one of these
 * (shared/spec/arithmetic.md 4 and 5). Rounding happens once, here, stochastically; never on a_k, never on X.
 */
import { walshSign } from "./directions.ts";
import { VMAX } from "./lattice.ts";
import { type Key, threefry } from "./threefry.ts";

/** T for `amount` along z_k: amount * (-1)^popc(k & j). */
export function perturbTable(m: number, k: number, amount: number): Float64Array {
  return Float64Array.from({ length: 2 ** m }, (_, j) => amount * walshSign(k, j));
}

/** S_j = sum_k (-1)^popc(k & j) a_k by the fast transform; exact in float64 (|S| <= 2^47). */
export function walsh(a: ArrayLike<number>): Float64Array {
  const s = Float64Array.from(a);
  for (let h = 1; h < s.length; h *= 2) {
    for (let i = 0; i < s.length; i += 2 * h) {
      for (let j = i; j < i + h; j++) {
        const x = s[j] as number;
        const y = s[j + h] as number;
        s[j] = x + y;
        s[j + h] = x - y;
      }
    }
  }
  return s;
}

/** The dither word d_j before its shift: F(j>>2, 0, step, (2<<24)|group)[j&3] for all j. */
export function ditherWords(key: Key, step: number, group: number, m: number): Uint32Array {
  const words = new Uint32Array(Math.max(4, 2 ** m));
  for (let j = 0; j < words.length; j += 4) words.set(threefry(key, j >>> 2, 0, step, ((2 << 24) | group) >>> 0), j);
  return words.subarray(0, 2 ** m);
}

/** Bits that a commit of exponent p loses on tensors whose q + gain is `qPrime`. Throws RangeError outside -8..32. */
export function shiftOf(p: number, qPrime: number): number {
  const shift = p - qPrime;
  if (shift < -8 || shift > 32) throw new RangeError(`commit exponent p = ${p} is outside -8..32 of q' = ${qPrime}`);
  return shift;
}

/**
 * V for the tensors whose q + gain is `qPrime`, from S = walsh(a) and the group's dither words.
 * Throws RangeError as `shiftOf` does.
 */
export function commitTable(s: Float64Array, words: Uint32Array, p: number, qPrime: number): Float64Array {
  const shift = shiftOf(p, qPrime);
  const scale = 2 ** -shift;
  const ditherScale = 2 ** (shift - 32);
  return s.map((sum, j) => {
    const dithered = shift <= 0 ? sum * scale : Math.floor((sum + Math.floor((words[j] as number) * ditherScale)) * scale);
    return Math.min(Math.max(dithered, -VMAX), VMAX);
  });
}
