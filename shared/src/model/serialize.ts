/**
 * Writes a model as the bytes of its file, piece by piece: weights go from where they are into the file, and no second copy of them all
 * is ever made. Fields keep the order of their numbers, so what was read is written again byte for byte.
 */
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { GraphProtoSchema, ModelProtoSchema, type TensorProto, TensorProtoSchema } from "onnx-buf";
import { changed, type Model } from "./onnx.ts";
import { isExternal, type WeightSource } from "./tensor.ts";

export interface Serialized {
  bytes: number;
  pieces(): Generator<Uint8Array>;
}

/** Field numbers of onnx.proto. */
const GRAPH = 7;
const INITIALIZER = 5;
const RAW_DATA = 9;
/** segment, typed values and the place of external data: they give way to raw data. */
const OTHER_DATA = new Set([3, 4, 5, 6, 7, RAW_DATA, 10, 11, 13]);

/**
 * The file of a model whose initializers are all inside, wherever the source has them. Those with values in typed fields keep them,
 * except where the source says otherwise: `isReplaced` tells of which tensors it does.
 */
export function serializeModel(model: Model, source: WeightSource, isReplaced: (tensor: TensorProto) => boolean = () => false): Serialized {
  const { graph } = model;
  const initializers = graph.initializer.map((tensor) => {
    const isRaw = isReplaced(tensor) || isExternal(tensor) || tensor.rawData?.byteLength > 0;
    return isRaw ? withRawData(tensor, source) : whole(toBinary(TensorProtoSchema, tensor));
  });
  const inGraph = [
    part(GraphProtoSchema, graph, (field) => field < INITIALIZER),
    ...initializers.flatMap((tensor) => delimited(INITIALIZER, tensor)),
    part(GraphProtoSchema, graph, (field) => field > INITIALIZER),
  ];
  return joined([
    part(ModelProtoSchema, model, (field) => field < GRAPH),
    ...delimited(GRAPH, joined(inGraph)),
    part(ModelProtoSchema, model, (field) => field > GRAPH),
  ]);
}

function withRawData(tensor: TensorProto, source: WeightSource): Serialized {
  const size = source.sizeOf(tensor);
  if (!size.ok) throw new Error(size.message);
  const data: Serialized = {
    bytes: size.bytes,
    *pieces() {
      yield* source.piecesOf(tensor);
    },
  };
  const about = isExternal(tensor) ? changed(tensor, { dataLocation: undefined as never }) : tensor;
  return joined([
    part(TensorProtoSchema, about, (field) => field < RAW_DATA && !OTHER_DATA.has(field)),
    ...delimited(RAW_DATA, data),
    part(TensorProtoSchema, about, (field) => field > RAW_DATA && !OTHER_DATA.has(field)),
  ]);
}

/** Some of a message's fields. What the schema does not know comes last. */
function part<Schema extends DescMessage>(schema: Schema, message: MessageShape<Schema>, has: (field: number) => boolean): Serialized {
  const dropped = schema.fields
    .filter(({ number }) => !has(number))
    .map(({ localName, fieldKind }) => [localName, fieldKind === "list" ? [] : undefined]);
  const isLast = has(Number.MAX_SAFE_INTEGER);
  const kept = changed(message, { ...Object.fromEntries(dropped), ...(isLast ? {} : { $unknown: undefined }) });
  return whole(toBinary(schema, kept));
}

function whole(bytes: Uint8Array): Serialized {
  return {
    bytes: bytes.byteLength,
    *pieces() {
      yield bytes;
    },
  };
}

function joined(parts: readonly Serialized[]): Serialized {
  return {
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    *pieces() {
      for (const each of parts) yield* each.pieces();
    },
  };
}

/** Protobuf's wire type 2: a tag, a length, that many bytes. */
function delimited(field: number, content: Serialized): Serialized[] {
  return [whole(Uint8Array.from([...varint((field << 3) | 2), ...varint(content.bytes)])), content];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return bytes;
}
