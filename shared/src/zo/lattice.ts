/**
 * The lattice of parameters (shared/spec/arithmetic.md 1): theta = X * 2^-q with |X| <= LIM, so that every theta is exactly an
 * fp32 number and every addition is exact. Import never clamps.
 */
export type { Key } from "./threefry.ts";

export const LIM = 2 ** 24 - 2 ** 22;
/** Bound on one step's move of one parameter, in units of X. */
export const VMAX = 2 ** 21;
/** Largest perturbation amplitude E = epsilon * 2^q'. */
export const AMPLITUDE_MAX = 2 ** 20;

export interface TensorSpec {
  name: string;
  shape: readonly number[];
  /** theta = X * 2^-q. */
  q: number;
  /** The tensor is perturbed and moved 2^gain times as far; -8..8. */
  gain: number;
}

/** Bounds of q + gain over tensors: of them depend which exponents and which epsilon all of them can hold. */
export function effectiveExponents(tensors: readonly Pick<TensorSpec, "q" | "gain">[]): { min: number; max: number } {
  const exponents = tensors.map(({ q, gain }) => q + gain);
  return { min: exponents.reduce((a, b) => Math.min(a, b)), max: exponents.reduce((a, b) => Math.max(a, b)) };
}

/** Number of elements of a shape; a scalar's shape [] has one. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((n, d) => n * d, 1);
}

export type ChosenExponent = { ok: true; q: number } | { ok: false; code: "lattice-too-coarse"; message: string };

/** Chooses q for a tensor with the largest magnitude `maxAbs`: room to double, and an amplitude of at most 2^20. */
export function chooseExponent({ maxAbs, gain, epsilonLog2 }: { maxAbs: number; gain: number; epsilonLog2: number }): ChosenExponent {
  const floor = maxAbs === 0 || gain !== 0 ? 1 : 0;
  const room = Math.floor(Math.log2(LIM / (2 * Math.max(maxAbs, floor))));
  const q = Math.min(26, room, 20 - gain - epsilonLog2);
  // Asked this way round, so that a NaN is refused too.
  const fits = q >= 16 && q + gain >= 16 && q + gain <= 36 && q + gain + epsilonLog2 >= 0;
  if (!fits)
    return {
      ok: false,
      code: "lattice-too-coarse",
      message: `largest magnitude ${maxAbs} with gain ${gain} and epsilon 2^${epsilonLog2} gives q = ${q}; a lattice needs q >= 16, 16 <= q + gain <= 36 and epsilon >= 2^-${q + gain}`,
    };
  return { ok: true, q };
}

export type OnLattice = { ok: true; x: Int32Array } | { ok: false; code: "not-finite" | "outside-lattice"; index: number };

/** X = roundTiesToEven(w * 2^q). NaN and infinity are refused with their index; -0 becomes +0. */
export function toLattice(values: Float32Array, q: number): OnLattice {
  const x = new Int32Array(values.length);
  const scale = 2 ** q;
  for (let i = 0; i < values.length; i++) {
    const w = values[i] as number;
    if (!Number.isFinite(w)) return { ok: false, code: "not-finite", index: i };
    const rounded = roundTiesToEven(w * scale);
    if (Math.abs(rounded) > LIM) return { ok: false, code: "outside-lattice", index: i };
    x[i] = rounded;
  }
  return { ok: true, x };
}

/** fp32 values of lattice points; exact. */
export function fromLattice(x: Int32Array, q: number): Float32Array {
  const unit = 2 ** -q;
  return Float32Array.from(x, (v) => v * unit);
}

function roundTiesToEven(v: number): number {
  const down = Math.floor(v);
  const rest = v - down;
  if (rest < 0.5) return down;
  if (rest > 0.5) return down + 1;
  return down % 2 === 0 ? down : down + 1;
}
