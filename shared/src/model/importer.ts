/**
 * From an ONNX model to what a job trains: the lifted graph, the tensors on their lattices, the initial state. It refuses whatever it
 * cannot train faithfully, with the node or tensor and the remedy.
 *
 * The steps, each of use by itself: `openModel` (file.ts) or `readModel` (onnx.ts) -> `refusalsOf` (refuse.ts) -> `addHead`, `addLora`,
 * `addObjective` -> `prepareModel`, which is `switchOffTraining` (operators.ts), `trainableOf` (lift.ts), `selectTrainable` and `placeOnLattices`
 * (place.ts), `liftTrainable` (lift.ts), `widenBfloat16` (widen.ts) -> `externalizeFrozen` (freeze.ts).
 */
import { elementsOf, type TensorSpec } from "../zo/lattice.ts";
import { type Frozen, liftTrainable, trainableOf } from "./lift.ts";
import type { Model, Refused } from "./onnx.ts";
import { switchOffTraining } from "./operators.ts";
import { type PlaceOptions, placeOnLattices, selectTrainable } from "./place.ts";
import type { TensorCode, WeightSource } from "./tensor.ts";
import { calledOf } from "./walk.ts";
import { widenBfloat16 } from "./widen.ts";

export interface ImportOptions extends PlaceOptions {
  /** Names of what is trained, `*` standing for any text; everything that can be where it is left out. */
  trained?: readonly string[];
}

export type PrepareCode = TensorCode | "pattern-unused" | "gain-out-of-range" | "gain-unused" | "weights-not-finite" | "nothing-to-train";

export type Prepared =
  | {
      ok: true;
      /** The model with its tensors as float32 inputs after its own, in the order of `tensors`; frozen weights still inside. */
      model: Model;
      /** In the order of the file's initializers, then its Constants. */
      tensors: TensorSpec[];
      /** X of every tensor, in order: int32, made when it is asked for. */
      initial(): Generator<Int32Array>;
      frozen: Frozen[];
      /** Nodes that only matter in training and are off. */
      switchedOff: string[];
    }
  | Refused<PrepareCode>;

/** What is trained of a model of which nothing is refused (refuse.ts), without an objective. Changes like adapters are made to the model before. */
export function prepareModel(original: Model, source: WeightSource, { trained, ...options }: ImportOptions): Prepared {
  const { model, off } = switchOffTraining(original);
  const found = trainableOf(model, source);
  if (!found.ok) return found;
  const selected =
    trained === undefined ? { ok: true as const, tensors: found.tensors, frozen: [] } : selectTrainable(found.tensors, trained);
  if (!selected.ok) return selected;
  const placed = placeOnLattices(selected.tensors, options);
  if (!placed.ok) return placed;
  const frozen = [...found.frozen, ...selected.frozen, ...placed.frozen];
  if (placed.tensors.length === 0) return nothingToTrain(model, frozen);
  const lifted = widenBfloat16(liftTrainable(model, placed.tensors));
  return { ok: true, model: lifted, tensors: placed.tensors, initial: placed.initial, frozen, switchedOff: off };
}

export function nothingToTrain({ graph }: Pick<Model, "graph">, frozen: readonly Frozen[]): Refused<"nothing-to-train"> {
  const classical = graph.node.find(({ domain }) => domain === "ai.onnx.ml");
  const why = classical
    ? [`${calledOf(classical)} is no neural network's, and keeps what it learnt for itself`]
    : frozen.slice(0, 5).map(({ name, reason }) => `"${name}" ${reason}`);
  const remedy = classical ? "take a neural network instead" : "export it in float32, weights as initializers, or train adapters (lora)";
  const message = `the model has no weights that can be trained${why.length > 0 ? `: ${why.join("; ")}` : ""}; ${remedy}`;
  return { ok: false, code: "nothing-to-train", message };
}

/** All X after each other, int32 little-endian, as the initial state is stored. */
export function joinInitial(tensors: readonly TensorSpec[], initial: Iterable<Int32Array>): Uint8Array {
  const all = new Int32Array(tensors.reduce((sum, { shape }) => sum + elementsOf(shape), 0));
  let at = 0;
  for (const x of initial) {
    all.set(x, at);
    at += x.length;
  }
  return new Uint8Array(all.buffer);
}
