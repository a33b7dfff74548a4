/**
 * ONNX files as messages: reads them with limits and clear refusals, and writes them.
 * It must never copy the weights of a model that is only read: 2 GB of them may be in the file.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type GraphProto, type ModelProto, ModelProtoSchema } from "onnx-buf";
import { MODEL_BYTES_MAX } from "./tensor.ts";

export type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from "onnx-buf";
export { floatsOf, MODEL_BYTES_MAX, typeNameOf } from "./tensor.ts";

/** What the surgery on graphs is written and tested for. */
export const OPSET_MIN = 11;
export const OPSET_MAX = 23;

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
    return refused(
      `the model's opset is ${opset}; it must be ${OPSET_MIN} to ${OPSET_MAX}: convert it or export it again, for instance with opset 17`,
    );
  return { ok: true, model: model as Model };
}

/** A copy of a message with some fields changed. Unlike a spread it keeps what the fields that were never set stand for. */
export function changed<M extends object>(message: M, fields: Partial<M>): M {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message, fields);
}

/** Writes an ONNX file. */
export function writeModel(model: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, model);
}

/** The version of the standard operators, 0 where the model names none. */
export function opsetOf(model: ModelProto): number {
  return Number(model.opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version ?? 0n);
}
