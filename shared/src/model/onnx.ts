/**
 * ONNX files as messages: reads them with limits and clear refusals, writes them, and gets at a tensor's float32 values however they are stored.
 * It must never copy the weights of a model that is only read: 2 GB of them may be in the file.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
} from "onnx-buf";

export type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from "onnx-buf";

/** Protobuf's own limit of one message. */
export const MODEL_BYTES_MAX = 2 ** 31 - 1;
/** What the loss nodes need (GatherElements), and what this release's runtime knows. */
export const OPSET_MIN = 11;
export const OPSET_MAX = 26;

/** A model that has a graph, nodes and a known opset. */
export type Model = ModelProto & { graph: GraphProto };

export type Refused<Code extends string> = { ok: false; code: Code; message: string };

/** Reads an ONNX file. The result shares the memory of `bytes`. */
export function readModel(bytes: Uint8Array): { ok: true; model: Model } | Refused<"model-unreadable"> {
  const refused = (message: string) => ({ ok: false, code: "model-unreadable", message }) as const;
  if (bytes.byteLength > MODEL_BYTES_MAX)
    return refused(`the model has ${bytes.byteLength} bytes, more than the ${MODEL_BYTES_MAX} that an ONNX file can have`);
  let model: ModelProto;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    return refused(`the model is not an ONNX file (${(cause as Error).message}); export it again`);
  }
  const { graph } = model;
  if (graph === undefined || graph.node.length === 0) return refused("the model is not an ONNX file with a graph; export it again");
  const opset = opsetOf(model);
  if (opset < OPSET_MIN || opset > OPSET_MAX)
    return refused(`the model's opset is ${opset}; it must be ${OPSET_MIN} to ${OPSET_MAX}: export it again, for instance with opset 17`);
  return { ok: true, model: model as Model };
}

/** Writes an ONNX file. */
export function writeModel(model: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, model);
}

/** The version of the standard operators, 0 where the model names none. */
export function opsetOf(model: ModelProto): number {
  return Number(model.opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version ?? 0n);
}

/** The name of a tensor's type, as ONNX writes it: "float", "int64". */
export function typeNameOf(dataType: number): string {
  return (TensorProto_DataType[dataType] ?? `type ${dataType}`).toLowerCase();
}

/**
 * The float32 values of a tensor, without copying where its bytes are aligned.
 * Refuses a shape that is not one, and data that is elsewhere or does not fill the shape; the tensor is named.
 */
export function floatsOf(tensor: TensorProto): { ok: true; shape: number[]; values: Float32Array } | Refused<"tensor-unreadable"> {
  const refused = (why: string) => ({ ok: false, code: "tensor-unreadable", message: `the tensor "${tensor.name}" ${why}` }) as const;
  if (tensor.dataLocation === TensorProto_DataLocation.EXTERNAL || tensor.externalData.length > 0)
    return refused("keeps its data in another file; save the model with its weights inside, as one file");
  if (tensor.dims.some((size) => size < 0n || size > BigInt(MODEL_BYTES_MAX)))
    return refused(`has the impossible shape [${tensor.dims.join(", ")}]`);
  const shape = tensor.dims.map(Number);
  const count = shape.reduce((product, size) => product * size, 1);
  const { rawData, floatData } = tensor;
  const stored = rawData.byteLength > 0 ? rawData.byteLength / 4 : floatData.length;
  if (stored !== count)
    return refused(`has data for ${stored} elements, but its shape [${shape.join(", ")}] has ${count}; export the model again`);
  if (rawData.byteLength === 0) return { ok: true, shape, values: Float32Array.from(floatData) };
  // A copy by constructor: the slice of a Buffer would share its memory, unaligned as it was.
  const aligned = rawData.byteOffset % 4 === 0 ? rawData : new Uint8Array(rawData);
  return { ok: true, shape, values: new Float32Array(aligned.buffer, aligned.byteOffset, count) };
}
