/**
 * Lifts a model's trainable weights out of its file: float32 initializers become plain graph inputs of the same names.
 * Only so can a changed weight change the loss: the runtime silently ignores what is fed for an initializer.
 */
import { TensorProto_DataType } from "onnx-buf";
import { valueInfoOf } from "./graph.ts";
import { floatsOf, type Model, type Refused, typeNameOf } from "./onnx.ts";

export interface TrainableTensor {
  name: string;
  shape: readonly number[];
  /** Row-major; shares the model's memory where it can. */
  values: Float32Array;
}

export interface Frozen {
  name: string;
  /** Why this tensor stays in the graph as it is. */
  reason: string;
}

/** Operators that read these inputs once, when the session is made, and not from what is fed later. */
const READ_ONCE: Readonly<Record<string, string>> = {
  DequantizeLinear: "a scale of quantized weights",
  DynamicQuantizeLinear: "a scale of quantized weights",
  MatMulNBits: "a scale of quantized weights",
  QLinearConv: "a scale of quantized weights",
  QLinearMatMul: "a scale of quantized weights",
  QuantizeLinear: "a scale of quantized weights",
  Resize: "a scale of picture sizes",
  Upsample: "a scale of picture sizes",
};

/** Which initializers can be trained, in the graph's order, and why the others cannot. */
export function trainableOf(model: Model): { ok: true; tensors: TrainableTensor[]; frozen: Frozen[] } | Refused<"tensor-unreadable"> {
  const { graph } = model;
  const tensors: TrainableTensor[] = [];
  const frozen: Frozen[] = [];
  const outputs = new Set(graph.output.map(({ name }) => name));
  const readOnce = new Map(
    graph.node.flatMap(({ opType, input }) => (opType in READ_ONCE ? input.map((name) => [name, opType] as const) : [])),
  );
  for (const tensor of graph.initializer) {
    const { name } = tensor;
    const reader = readOnce.get(name);
    if (tensor.dataType !== TensorProto_DataType.FLOAT) {
      frozen.push({ name, reason: `is ${typeNameOf(tensor.dataType)}; only float32 is trained` });
    } else if (outputs.has(name)) {
      frozen.push({ name, reason: "is itself an output of the graph" });
    } else if (reader !== undefined) {
      frozen.push({ name, reason: `is ${READ_ONCE[reader]}, read by ${reader}` });
    } else {
      const floats = floatsOf(tensor);
      if (!floats.ok) return floats;
      if (floats.values.length === 0) frozen.push({ name, reason: "has no elements" });
      else tensors.push({ name, shape: floats.shape, values: floats.values });
    }
  }
  for (const sparse of graph.sparseInitializer)
    frozen.push({ name: sparse.values?.name ?? "", reason: "is sparse; only dense float32 is trained" });
  return { ok: true, tensors, frozen };
}

/**
 * The model with the named float32 initializers as graph inputs, after its own inputs and in the order given.
 * The model that is passed stays as it is; one already listed as an input (as files before IR 4 do) is not listed twice.
 */
export function liftTrainable(model: Model, tensors: readonly Pick<TrainableTensor, "name" | "shape">[]): Model {
  const names = new Set(tensors.map(({ name }) => name));
  const { graph } = model;
  return {
    ...model,
    graph: {
      ...graph,
      initializer: graph.initializer.filter(({ name }) => !names.has(name)),
      input: [
        ...graph.input.filter(({ name }) => !names.has(name)),
        ...tensors.map(({ name, shape }) => valueInfoOf(name, "float32", shape)),
      ],
    },
  };
}
