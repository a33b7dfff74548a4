/**
 * From an ONNX file to what a job trains: the lifted graph with its loss, the tensors on their lattices, the initial state.
 * It refuses whatever it cannot train faithfully, with the node or tensor and the remedy; it never clamps or drops a weight silently.
 */
import { chooseExponent, type TensorSpec, toLattice } from "../zo/lattice.ts";
import { dimensionsOf } from "./graph.ts";
import { type Frozen, liftTrainable, type TrainableTensor, trainableOf } from "./lift.ts";
import { addLoss } from "./loss.ts";
import { type Model, type Refused, readModel, writeModel } from "./onnx.ts";
import { refuseNodes } from "./operators.ts";

export interface ImportOptions {
  /** epsilon = 2^epsilonLog2, for instance -10. */
  epsilonLog2: number;
  /** A tensor takes the gain of the first pattern that its name matches (`*` is any text), else 0. */
  gains: readonly { pattern: string; gain: number }[];
}

export type Imported =
  | {
      ok: true;
      /** The ONNX graph without its weights: inputs input_ids, attention_mask, the tensors, labels; outputs logits, loss. */
      graph: Uint8Array;
      /** In the order of the file's initializers. */
      tensors: TensorSpec[];
      /** int32 little-endian X of all tensors, in order. */
      initial: Uint8Array;
      frozen: Frozen[];
      /** How many classes the logits have, null where the model does not say. */
      classes: number | null;
    }
  | Refused<
      | "model-unreadable"
      | "tensor-unreadable"
      | "unsupported-node"
      | "unsupported-signature"
      | "nothing-to-train"
      | "weights-not-finite"
      | "gain-out-of-range"
      | "gain-unused"
      | "name-taken"
    >;

/** What the convention for sentence classifiers asks for; everything else that is an input must be a weight. */
const INPUTS = ["input_ids", "attention_mask"] as const;
const LOGITS = "logits";
const GAIN_MAX = 8;

/** Imports a model for training. Expected failures are values; weights are read where they lie, so `bytes` must not change meanwhile. */
export function importModel(bytes: Uint8Array, { epsilonLog2, gains }: ImportOptions): Imported {
  const read = readModel(bytes);
  if (!read.ok) return read;
  const { model } = read;
  const refused = refuseNodes(model) ?? refuseSignature(model);
  if (refused !== undefined) return refused;
  const found = trainableOf(model);
  if (!found.ok) return found;
  const placed = place(found.tensors, epsilonLog2, gains);
  if (!placed.ok) return placed;
  const frozen = [...found.frozen, ...placed.frozen];
  if (placed.tensors.length === 0) return nothingToTrain(frozen);
  const lossy = addLoss(liftTrainable(model, placed.tensors), LOGITS);
  if (!lossy.ok) return lossy;
  const logits = model.graph.output.find(({ name }) => name === LOGITS);
  const classes = (logits && dimensionsOf(logits)?.sizes[1]) ?? null;
  return { ok: true, graph: writeModel(lossy.model), tensors: placed.tensors, initial: placed.initial, frozen, classes };
}

function refuseSignature({ graph }: Model): Refused<"unsupported-signature"> | undefined {
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  const inputs = graph.input.filter(({ name }) => !initializers.has(name)).map(({ name }) => name);
  const outputs = graph.output.map(({ name }) => name);
  const message =
    `the model has the inputs ${quoted(inputs)} and the outputs ${quoted(outputs)}; a text classifier needs exactly the inputs ` +
    `${quoted(INPUTS)}, int64 [batch, sequence], and the output "${LOGITS}", float32 [batch, classes]: export it with these names`;
  const isFit =
    inputs.length === INPUTS.length &&
    INPUTS.every((name) => inputs.includes(name)) &&
    graph.input.every((value) => initializers.has(value.name) || hasRank(value, 7)) &&
    graph.output.some((value) => value.name === LOGITS && hasRank(value, 1));
  return isFit ? undefined : { ok: false, code: "unsupported-signature", message };
}

/** Whether a value is of that ONNX type (1 float, 7 int64) and has rank 2, or says nothing of its shape. */
function hasRank(value: Parameters<typeof dimensionsOf>[0], type: number): boolean {
  const declared = dimensionsOf(value);
  return declared === undefined || (declared.type === type && declared.sizes.length === 2);
}

type Placed =
  | { ok: true; tensors: TensorSpec[]; initial: Uint8Array; frozen: Frozen[] }
  | Refused<"weights-not-finite" | "gain-out-of-range" | "gain-unused">;

/** Gives every tensor its gain, its exponent and its integers (spec 1); one whose values are too large for a lattice stays frozen. */
function place(tensors: readonly TrainableTensor[], epsilonLog2: number, gains: ImportOptions["gains"]): Placed {
  const rules = gains.map(({ pattern, gain }) => ({ pattern, gain, matches: globOf(pattern) }));
  for (const { pattern, gain, matches } of rules) {
    if (!Number.isInteger(gain) || Math.abs(gain) > GAIN_MAX)
      return {
        ok: false,
        code: "gain-out-of-range",
        message: `the gain of "${pattern}" is ${gain}; it must be an integer from -${GAIN_MAX} to ${GAIN_MAX}`,
      };
    if (!tensors.some(({ name }) => matches.test(name)))
      return {
        ok: false,
        code: "gain-unused",
        message: `no trainable tensor has a name like "${pattern}"; they are ${quoted(tensors.map(({ name }) => name))}`,
      };
  }
  const placed: { spec: TensorSpec; x: Int32Array }[] = [];
  const frozen: Frozen[] = [];
  for (const { name, shape, values } of tensors) {
    const maxAbs = maxAbsOf(values);
    if (!Number.isFinite(maxAbs)) {
      const at = values.findIndex((value) => !Number.isFinite(value));
      const message = `the tensor "${name}" has ${values[at]} at element ${at}; export a model whose weights are finite`;
      return { ok: false, code: "weights-not-finite", message };
    }
    const gain = rules.find(({ matches }) => matches.test(name))?.gain ?? 0;
    const exponent = chooseExponent({ maxAbs, gain, epsilonLog2 });
    const lattice = exponent.ok ? toLattice(values, exponent.q) : exponent;
    if (exponent.ok && lattice.ok) placed.push({ spec: { name, shape, q: exponent.q, gain }, x: lattice.x });
    else frozen.push({ name, reason: `reaches ${maxAbs}, too large for a lattice at gain ${gain} and epsilon 2^${epsilonLog2}` });
  }
  return { ok: true, tensors: placed.map(({ spec }) => spec), initial: joined(placed.map(({ x }) => x)), frozen };
}

function nothingToTrain(frozen: readonly Frozen[]): Refused<"nothing-to-train"> {
  const why = frozen.slice(0, 5).map(({ name, reason }) => `"${name}" ${reason}`);
  const message = `the model has no float32 weights that can be trained${why.length > 0 ? `: ${why.join("; ")}` : ""}; export it in float32, weights as initializers`;
  return { ok: false, code: "nothing-to-train", message };
}

function maxAbsOf(values: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i] as number));
  return largest;
}

function joined(parts: readonly Int32Array[]): Uint8Array {
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(all.buffer);
}

/** `*` is any text; everything else stands for itself. */
function globOf(pattern: string): RegExp {
  const escaped = pattern.split("*").map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${escaped.join(".*")}$`, "s");
}

function quoted(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.map((name) => `"${name}"`).join(", ");
}
