/**
 * Lifts a model's trainable weights out of its file: initializers and large Constants become plain graph inputs of the same names.
 * Only so can a changed weight change the loss: the runtime silently ignores what is fed for an initializer.
 */
import { type TensorProto, TensorProto_DataType } from "onnx-buf";
import { nodeOf, valueInfoOf } from "./graph.ts";
import { judgeTensors } from "./judge.ts";
import { changed, type Model, type Refused } from "./onnx.ts";
import { floatsOf, insideSource, type TensorCode, TRAINABLE_TYPES, type TrainableType, type WeightSource } from "./tensor.ts";
import { constantOf, renameReads, tensorsOf } from "./walk.ts";

export interface TrainableTensor {
  name: string;
  shape: readonly number[];
  /** The type in the file; it is trained in float32 whatever that is. */
  dataType: TrainableType;
  /** Row-major. Read anew each time where the file has them elsewhere or in 16 bits, so take them once; else shared with the model. */
  readonly values: Float32Array;
}

export interface Frozen {
  name: string;
  /** Why this tensor stays in the graph as it is. */
  reason: string;
}

/** Begins the name of a 16-bit weight after its rounding: `zoswarm/lift/NAME`. */
export const LIFT_PREFIX = "zoswarm/lift/";
/** A tensor as it is trained, for one that is judged so and of which the source knows the size. */
export function trainableFrom(tensor: TensorProto, source: WeightSource): TrainableTensor {
  return {
    name: tensor.name,
    shape: tensor.dims.map(Number),
    dataType: TRAINABLE_TYPES[tensor.dataType] as TrainableType,
    get values() {
      const floats = floatsOf(tensor, source);
      if (!floats.ok) throw new Error(floats.message);
      return floats.values;
    },
  };
}

/**
 * Which tensors can be trained, initializers first, then Constants, in the graph's order, and why the others cannot.
 * A weight that several nodes read is one tensor. Refuses what cannot be read; nothing of external data is read here.
 */
export function trainableOf(
  model: Model,
  source: WeightSource = insideSource,
): { ok: true; tensors: TrainableTensor[]; frozen: Frozen[] } | Refused<TensorCode> {
  const tensors: TrainableTensor[] = [];
  const frozen: Frozen[] = [];
  for (const { tensor, reason } of judgeTensors(model)) {
    if (reason !== undefined) {
      frozen.push({ name: tensor.name, reason });
      continue;
    }
    const size = source.sizeOf(tensor);
    if (!size.ok) return size;
    tensors.push(trainableFrom(tensor, source));
  }
  return { ok: true, tensors, frozen };
}

/**
 * The model with the named tensors as float32 graph inputs, after its own inputs and in the order given. Where the file has 16-bit floats,
 * a Cast rounds the input to them and everything reads that. Names that the model does not have become inputs too.
 * The model that is passed stays as it is; what remains of its initializers is no longer listed as inputs, as files before IR 4 do.
 */
export function liftTrainable(model: Model, tensors: readonly Pick<TrainableTensor, "name" | "shape">[]): Model {
  const { graph } = model;
  const names = new Set(tensors.map(({ name }) => name));
  const types = new Map(tensorsOf(model).map(({ tensor }) => [tensor.name, tensor.dataType]));
  const rounded = tensors.filter(({ name }) => (types.get(name) ?? TensorProto_DataType.FLOAT) !== TensorProto_DataType.FLOAT);
  const casts = rounded.map(({ name }) => nodeOf("Cast", [name], [LIFT_PREFIX + name], { to: types.get(name) as number }));
  const kept = graph.node.filter((node) => constantOf(node) === undefined || !names.has(node.output[0] ?? ""));
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  return changed(model, {
    // Up to 3, every initializer had to be an input.
    irVersion: model.irVersion < 4n ? 4n : model.irVersion,
    graph: changed(graph, {
      node: [...casts, ...renameReads(kept, new Map(rounded.map(({ name }) => [name, LIFT_PREFIX + name])))],
      initializer: graph.initializer.filter(({ name }) => !names.has(name)),
      input: [
        ...graph.input.filter(({ name }) => !names.has(name) && !initializers.has(name)),
        ...tensors.map(({ name, shape }) => valueInfoOf(name, "float32", shape)),
      ],
      // What a declaration said of a 16-bit weight would contradict the input.
      valueInfo: graph.valueInfo.filter(({ name }) => !names.has(name)),
    }),
  });
}
