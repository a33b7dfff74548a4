/**
 * From float weights to what is trained of them: which tensors, at which gain, on which lattice (spec 1), and their integers.
 * A weight is never clamped or dropped in silence. Tensors are read one at a time, so that all of them never need to be in memory.
 */
import { chooseExponent, type TensorSpec, toLattice } from "../zo/lattice.ts";
import type { Frozen, TrainableTensor } from "./lift.ts";
import type { Refused } from "./onnx.ts";

const GAIN_MAX = 8;

export interface PlaceOptions {
  /** epsilon = 2^epsilonLog2, for instance -10. */
  epsilonLog2: number;
  /** A tensor takes the gain of the first pattern that its name matches (`*` is any text), else 0, or one by its weights. */
  gains: readonly { pattern: string; gain: number }[];
  byWeights?: boolean;
}

/** Weights of this root mean square are moved as far as a step is long. */
const USUAL_RMS = 0.1;
const GAIN_BY_WEIGHTS_MAX = 4;

/**
 * A gain by which all tensors move by about the same share of their weights: 2^gain is about rms / 0.1. On stories260K it gained more than
 * anything else that was tried (shared/spec/training.md); 0 for zeros, of which nothing can be told.
 */
export function gainByWeights(rms: number): number {
  const gain = Math.round(Math.log2(rms / USUAL_RMS));
  return Number.isFinite(gain) ? Math.min(Math.max(gain, -GAIN_BY_WEIGHTS_MAX), GAIN_BY_WEIGHTS_MAX) : 0;
}

/** `*` is any text; everything else stands for itself. */
export function globOf(pattern: string): RegExp {
  const escaped = pattern.split("*").map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${escaped.join(".*")}$`, "s");
}

/** The tensors with a name like one of the patterns, in their order; the rest is frozen. Refuses a pattern that none is like. */
export function selectTrainable<Tensor extends Pick<TrainableTensor, "name">>(
  tensors: readonly Tensor[],
  patterns: readonly string[],
): { ok: true; tensors: Tensor[]; frozen: Frozen[] } | Refused<"pattern-unused"> {
  const globs = patterns.map(globOf);
  const isAsked = ({ name }: Tensor) => globs.some((glob) => glob.test(name));
  const unused = patterns.find((_, at) => !tensors.some(({ name }) => globs[at]?.test(name)));
  if (unused !== undefined) return { ok: false, code: "pattern-unused", message: noneLike(unused, tensors) };
  const frozen = tensors.filter((tensor) => !isAsked(tensor)).map(({ name }) => ({ name, reason: "is not asked for by a pattern" }));
  return { ok: true, tensors: tensors.filter(isAsked), frozen };
}

function noneLike(pattern: string, tensors: readonly { name: string }[]): string {
  return `no trainable tensor has a name like "${pattern}"; they are ${quoted(tensors.map(({ name }) => name))}`;
}

/** Names in a message. */
export function quoted(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.map((name) => `"${name}"`).join(", ");
}

/** A tensor's lattice and what it was chosen by; without one, why not. */
export interface Weighed {
  maxAbs: number;
  rms: number;
  gain: number;
  /** theta = X * 2^-q. */
  q: number | null;
  reason?: string;
}

/**
 * Reads a tensor once and chooses its lattice, and its gain where that is left to its weights. Refuses values that are not finite; but
 * -Infinity is what masks are made of.
 */
export function weighTensor(
  { name, values }: Pick<TrainableTensor, "name" | "values">,
  { gain: asked, epsilonLog2 }: { gain: number | "by weights"; epsilonLog2: number },
): ({ ok: true } & Weighed) | Refused<"weights-not-finite"> {
  let maxAbs = 0;
  let squares = 0;
  let bad = -1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    maxAbs = Math.max(maxAbs, Math.abs(value));
    squares += value * value;
    if (bad < 0 && !(Math.abs(value) < Number.POSITIVE_INFINITY) && value !== Number.NEGATIVE_INFINITY) bad = i;
  }
  if (bad >= 0) {
    const message = `the tensor "${name}" has ${values[bad]} at element ${bad}; export a model whose weights are finite`;
    return { ok: false, code: "weights-not-finite", message };
  }
  const rms = Math.sqrt(squares / values.length);
  const gain = asked === "by weights" ? gainByWeights(rms) : asked;
  if (maxAbs === Number.POSITIVE_INFINITY)
    return { ok: true, maxAbs, rms, gain, q: null, reason: "has -Infinity, as masks have; weights are finite" };
  const exponent = chooseExponent({ maxAbs, gain, epsilonLog2 });
  if (exponent.ok) return { ok: true, maxAbs, rms, gain, q: exponent.q };
  const reason = `reaches ${maxAbs}, too large for a lattice at gain ${gain} and epsilon 2^${epsilonLog2}`;
  return { ok: true, maxAbs, rms, gain, q: null, reason };
}

export type Placed =
  | {
      ok: true;
      tensors: TensorSpec[];
      frozen: Frozen[];
      /** X of each of `tensors`, in order, made when it is asked for. */
      initial(): Generator<Int32Array>;
    }
  | Refused<"weights-not-finite" | "gain-out-of-range" | "gain-unused">;

/** Gives every tensor its gain, its exponent and its integers (spec 1); one whose values are too large for a lattice stays frozen. */
export function placeOnLattices(tensors: readonly TrainableTensor[], { epsilonLog2, gains, byWeights = false }: PlaceOptions): Placed {
  const rules = gains.map(({ pattern, gain }) => ({ pattern, gain, matches: globOf(pattern) }));
  for (const { pattern, gain, matches } of rules) {
    if (!Number.isInteger(gain) || Math.abs(gain) > GAIN_MAX)
      return {
        ok: false,
        code: "gain-out-of-range",
        message: `the gain of "${pattern}" is ${gain}; it must be an integer from -${GAIN_MAX} to ${GAIN_MAX}`,
      };
    if (!tensors.some(({ name }) => matches.test(name))) return { ok: false, code: "gain-unused", message: noneLike(pattern, tensors) };
  }
  const placed: { tensor: TrainableTensor; spec: TensorSpec }[] = [];
  const frozen: Frozen[] = [];
  for (const tensor of tensors) {
    const { name, shape } = tensor;
    const gain = rules.find(({ matches }) => matches.test(name))?.gain ?? (byWeights ? "by weights" : 0);
    const weighed = weighTensor(tensor, { gain, epsilonLog2 });
    if (!weighed.ok) return weighed;
    if (weighed.q === null) frozen.push({ name, reason: weighed.reason ?? "has no lattice" });
    else placed.push({ tensor, spec: { name, shape, q: weighed.q, gain: weighed.gain } });
  }
  return {
    ok: true,
    tensors: placed.map(({ spec }) => spec),
    frozen,
    *initial() {
      for (const { tensor, spec } of placed) {
        const lattice = toLattice(tensor.values, spec.q);
        if (!lattice.ok) throw new Error(`"${spec.name}" leaves its lattice at element ${lattice.index}`);
        yield lattice.x;
      }
    },
  };
}
