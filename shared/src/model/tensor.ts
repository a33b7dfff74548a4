/**
 * A tensor's bytes and float values, wherever they are: raw, in one of the typed fields, or in another file (file.ts).
 * Everything is checked against the shape before it is read or allocated. ONNX is little-endian, as every machine that the runtime knows.
 */
import { type TensorProto, TensorProto_DataLocation, TensorProto_DataType as Type } from "onnx-buf";
import { type HalfType, widen } from "./half.ts";
import type { Refused } from "./onnx.ts";

/** Protobuf's own limit of one message, and of one dimension here. */
export const MODEL_BYTES_MAX = 2 ** 31 - 1;

export type TensorCode = "tensor-unreadable" | "external-data";

/** Gets at the bytes of a model's tensors. Refusals name the tensor; what a disk does after the checks is thrown. */
export interface WeightSource {
  /** How many bytes a tensor has. They are there, as many as its shape needs; none of them is read. */
  sizeOf(tensor: TensorProto): { ok: true; bytes: number } | Refused<TensorCode>;
  /** All bytes of a tensor, shared with the model where they lie in it. */
  bytesOf(tensor: TensorProto): { ok: true; bytes: Uint8Array } | Refused<TensorCode>;
  /** The same bytes a few megabytes at a time, each piece valid until the next. Throws what `bytesOf` refuses. */
  piecesOf(tensor: TensorProto): Iterable<Uint8Array>;
}

/** What is trained: types whose values float32 holds exactly. */
export type TrainableType = "float32" | HalfType;
export const TRAINABLE_TYPES: Readonly<Record<number, TrainableType>> = {
  [Type.FLOAT]: "float32",
  [Type.FLOAT16]: "float16",
  [Type.BFLOAT16]: "bfloat16",
};

const BITS: Readonly<Record<number, number>> = {
  ...Object.fromEntries([Type.UINT2, Type.INT2].map((type) => [type, 2])),
  ...Object.fromEntries([Type.UINT4, Type.INT4, Type.FLOAT4E2M1].map((type) => [type, 4])),
  ...Object.fromEntries([Type.UINT8, Type.INT8, Type.BOOL].map((type) => [type, 8])),
  ...Object.fromEntries(
    [Type.FLOAT8E4M3FN, Type.FLOAT8E4M3FNUZ, Type.FLOAT8E5M2, Type.FLOAT8E5M2FNUZ, Type.FLOAT8E8M0].map((type) => [type, 8]),
  ),
  ...Object.fromEntries([Type.UINT16, Type.INT16, Type.FLOAT16, Type.BFLOAT16].map((type) => [type, 16])),
  ...Object.fromEntries([Type.UINT32, Type.INT32, Type.FLOAT].map((type) => [type, 32])),
  ...Object.fromEntries([Type.UINT64, Type.INT64, Type.DOUBLE, Type.COMPLEX64].map((type) => [type, 64])),
  [Type.COMPLEX128]: 128,
};

/** The name of a tensor's type, as ONNX writes it: "float", "int64". */
export function typeNameOf(dataType: number): string {
  return (Type[dataType] ?? `type ${dataType}`).toLowerCase();
}

export function isExternal({ dataLocation, externalData }: TensorProto): boolean {
  return dataLocation === TensorProto_DataLocation.EXTERNAL || externalData?.length > 0;
}

export function refuseTensor<Code extends TensorCode>(code: Code, { name }: TensorProto, why: string): Refused<Code> {
  return { ok: false, code, message: `the tensor "${name}" ${why}` };
}

/** A tensor's shape, how many elements that is, and how many bytes they take. */
export function extentOf(
  tensor: TensorProto,
): { ok: true; shape: number[]; elements: number; bytes: number } | Refused<"tensor-unreadable"> {
  const refused = (why: string) => refuseTensor("tensor-unreadable", tensor, why);
  const bits = BITS[tensor.dataType];
  if (bits === undefined) return refused(`is of ${typeNameOf(tensor.dataType)}, which has no bytes to read; export the model again`);
  if (tensor.dims.some((size) => size < 0n || size > BigInt(MODEL_BYTES_MAX)))
    return refused(`has the impossible shape [${tensor.dims.join(", ")}]`);
  const shape = tensor.dims.map(Number);
  const elements = shape.reduce((product, size) => product * size, 1);
  return { ok: true, shape, elements, bytes: Math.ceil((elements * bits) / 8) };
}

/** Refuses data of another length than the shape has. */
export function refuseMisfit(tensor: TensorProto, stored: number): Refused<"tensor-unreadable"> | undefined {
  const extent = extentOf(tensor);
  if (!extent.ok) return extent;
  if (stored === extent.bytes) return undefined;
  const { shape, elements } = extent;
  const has = Math.floor((8 * stored) / (BITS[tensor.dataType] as number));
  const why = `has data for ${has} elements, but its shape [${shape.join(", ")}] has ${elements}; export the model again`;
  return refuseTensor("tensor-unreadable", tensor, why);
}

const asBytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/** The field that holds the values of a type, where they are not raw, and the bytes of one of its entries. */
function typedFieldOf({ dataType, floatData, int32Data, int64Data, doubleData, uint64Data }: TensorProto) {
  const bits = BITS[dataType] as number;
  if (dataType === Type.FLOAT || dataType === Type.COMPLEX64)
    return { bytes: 4 * (floatData?.length ?? 0), read: () => asBytes(Float32Array.from(floatData)) };
  if (dataType === Type.DOUBLE || dataType === Type.COMPLEX128)
    return { bytes: 8 * (doubleData?.length ?? 0), read: () => asBytes(Float64Array.from(doubleData)) };
  if (dataType === Type.INT64) return { bytes: 8 * (int64Data?.length ?? 0), read: () => asBytes(BigInt64Array.from(int64Data)) };
  if (dataType === Type.UINT64) return { bytes: 8 * (uint64Data?.length ?? 0), read: () => asBytes(BigUint64Array.from(uint64Data)) };
  if (dataType === Type.UINT32) return { bytes: 4 * (uint64Data?.length ?? 0), read: () => asBytes(Uint32Array.from(uint64Data, Number)) };
  // Narrow integers and floats lie in int32_data, the smallest packed into bytes first.
  const Fitting = bits === 32 ? Int32Array : bits === 16 ? Uint16Array : Uint8Array;
  return { bytes: Fitting.BYTES_PER_ELEMENT * (int32Data?.length ?? 0), read: () => asBytes(Fitting.from(int32Data)) };
}

/** A model that is one file, all of whose bytes are in memory. */
export const insideSource: WeightSource = {
  sizeOf(tensor) {
    if (isExternal(tensor))
      return refuseTensor("external-data", tensor, "keeps its data in another file; save the model with its weights inside, as one file");
    const extent = extentOf(tensor);
    if (!extent.ok) return extent;
    const stored = tensor.rawData?.byteLength > 0 ? tensor.rawData.byteLength : typedFieldOf(tensor).bytes;
    return refuseMisfit(tensor, stored) ?? { ok: true, bytes: stored };
  },
  bytesOf(tensor) {
    const size = insideSource.sizeOf(tensor);
    if (!size.ok) return size;
    return { ok: true, bytes: tensor.rawData?.byteLength > 0 ? tensor.rawData : typedFieldOf(tensor).read() };
  },
  piecesOf(tensor) {
    return [bytesFrom(insideSource, tensor)];
  },
};

/** A tensor's bytes where they were found to be sound before. Throws what is refused. */
export function bytesFrom(source: WeightSource, tensor: TensorProto): Uint8Array {
  const read = source.bytesOf(tensor);
  if (!read.ok) throw new Error(read.message);
  return read.bytes;
}

/** A tensor with its data inside, as raw bytes. */
export function withRaw(tensor: TensorProto, rawData: Uint8Array): TensorProto {
  return Object.assign(Object.create(Object.getPrototypeOf(tensor)), tensor, {
    rawData: rawData as Uint8Array<ArrayBuffer>,
    floatData: [],
    int32Data: [],
    externalData: [],
    ...(isExternal(tensor) && { dataLocation: TensorProto_DataLocation.DEFAULT }),
  });
}

/**
 * A tensor's values as float32, of a float32 without copying where its bytes are aligned.
 * Refuses a shape that is not one, data that is elsewhere or does not fill the shape, and other types; the tensor is named.
 */
export function floatsOf(
  tensor: TensorProto,
  source: WeightSource = insideSource,
): { ok: true; shape: number[]; values: Float32Array } | Refused<TensorCode> {
  const type = TRAINABLE_TYPES[tensor.dataType];
  if (type === undefined)
    return refuseTensor("tensor-unreadable", tensor, `is ${typeNameOf(tensor.dataType)}, not float32, float16 or bfloat16`);
  const read = source.bytesOf(tensor);
  if (!read.ok) return read;
  const shape = tensor.dims.map(Number);
  const width = type === "float32" ? 4 : 2;
  // A copy by constructor: the slice of a Buffer would share its memory, unaligned as it was.
  const { buffer, byteOffset, byteLength } = read.bytes.byteOffset % width === 0 ? read.bytes : new Uint8Array(read.bytes);
  if (type === "float32") return { ok: true, shape, values: new Float32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4) };
  return { ok: true, shape, values: widen(new Uint16Array(buffer, byteOffset, byteLength / 2), type) };
}
