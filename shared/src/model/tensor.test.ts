import { create } from "@bufbuild/protobuf";
import { type TensorProto, TensorProtoSchema, TensorProto_DataType as Type } from "onnx-buf";
import { describe, expect, it } from "vitest";
import { type BitValues, type ElementType, tensorOf } from "./graph.ts";
import { narrow } from "./half.ts";
import { floatsOf, insideSource } from "./tensor.ts";

const values = Float32Array.of(1.5, -2, 3, 4, 5, 6);

describe("floatsOf", () => {
  it("reads raw bytes at any offset, and without copying where they are aligned", () => {
    const tensor = tensorOf("w", [2, 3], values);
    const aligned = floatsOf(tensor);
    expect(aligned.ok && aligned.values.buffer).toBe(values.buffer);
    const moved = Buffer.alloc(25).subarray(1);
    moved.set(tensor.rawData);
    expect(floatsOf({ ...tensor, rawData: moved })).toEqual({ ok: true, shape: [2, 3], values });
  });

  it("reads float_data, scalars and empty tensors", () => {
    expect(floatsOf({ ...tensorOf("w", [2, 3], new Float32Array()), floatData: [...values] })).toMatchObject({ ok: true, values });
    expect(floatsOf(tensorOf("s", [], Float32Array.of(7)))).toMatchObject({ shape: [], values: Float32Array.of(7) });
    expect(floatsOf(tensorOf("e", [0, 3], new Float32Array()))).toMatchObject({ ok: true, values: new Float32Array() });
  });

  it("reads 16-bit floats, raw or as integers, at any offset", () => {
    for (const type of ["float16", "bfloat16"] as const) {
      const tensor = tensorOf("h", [6], narrow(values, type), type);
      expect(floatsOf(tensor)).toEqual({ ok: true, shape: [6], values });
      const moved = Buffer.alloc(13).subarray(1);
      moved.set(tensor.rawData);
      expect(floatsOf({ ...tensor, rawData: moved })).toMatchObject({ values });
      expect(floatsOf({ ...tensor, rawData: new Uint8Array(), int32Data: [...narrow(values, type)] })).toMatchObject({ values });
    }
  });

  it("names the tensor whose data does not fill its shape, is elsewhere or of another type", () => {
    const message = 'the tensor "w" has data for 6 elements, but its shape [7] has 7; export the model again';
    expect(floatsOf(tensorOf("w", [7], values))).toEqual({ ok: false, code: "tensor-unreadable", message });
    expect(floatsOf({ ...tensorOf("w", [1], values), dims: [-6n] })).toMatchObject({
      message: expect.stringContaining("impossible shape [-6]"),
    });
    expect(floatsOf({ ...tensorOf("w", [6], values), dataLocation: 1 })).toMatchObject({ message: expect.stringContaining("as one file") });
    expect(floatsOf(tensorOf("axes", [1], BigInt64Array.of(1n)))).toMatchObject({ message: expect.stringContaining('"axes" is int64') });
  });
});

describe("insideSource", () => {
  const bytesOf = (tensor: TensorProto) => insideSource.bytesOf(tensor);

  it("gives the same bytes of typed fields as of raw ones", () => {
    const typed = (dataType: Type, dims: bigint[], fields: Partial<TensorProto>) =>
      bytesOf(Object.assign(create(TensorProtoSchema, { name: "t", dataType, dims }), fields));
    const raw = (view: ArrayBufferView) => ({ ok: true, bytes: new Uint8Array(view.buffer as ArrayBuffer) });
    expect(typed(Type.INT32, [2n], { int32Data: [1, -2] })).toEqual(raw(Int32Array.of(1, -2)));
    expect(typed(Type.INT8, [2n], { int32Data: [1, -2] })).toEqual(raw(Int8Array.of(1, -2)));
    expect(typed(Type.BOOL, [2n], { int32Data: [1, 0] })).toEqual(raw(Uint8Array.of(1, 0)));
    expect(typed(Type.INT16, [1n], { int32Data: [-2] })).toEqual(raw(Int16Array.of(-2)));
    expect(typed(Type.INT64, [1n], { int64Data: [-2n] })).toEqual(raw(BigInt64Array.of(-2n)));
    expect(typed(Type.UINT32, [1n], { uint64Data: [2n ** 32n - 1n] })).toEqual(raw(Uint32Array.of(2 ** 32 - 1)));
    expect(typed(Type.UINT64, [1n], { uint64Data: [2n ** 64n - 1n] })).toEqual(raw(BigUint64Array.of(2n ** 64n - 1n)));
    expect(typed(Type.DOUBLE, [1n], { doubleData: [0.1] })).toEqual(raw(Float64Array.of(0.1)));
    expect(typed(Type.UINT4, [3n], { int32Data: [0x21, 0x03] })).toEqual(raw(Uint8Array.of(0x21, 0x03)));
  });

  it("knows how many bytes the elements of every size take", () => {
    const sizeOf = (type: ElementType, elements: number, data: BitValues) => insideSource.sizeOf(tensorOf("t", [elements], data, type));
    expect(sizeOf("int4", 5, new Uint8Array(3))).toEqual({ ok: true, bytes: 3 });
    expect(sizeOf("bfloat16", 5, new Uint16Array(5))).toEqual({ ok: true, bytes: 10 });
    expect(sizeOf("uint4", 5, new Uint8Array(5))).toMatchObject({ ok: false, code: "tensor-unreadable" });
    expect(insideSource.sizeOf(create(TensorProtoSchema, { name: "t", dataType: 99 }))).toMatchObject({
      message: 'the tensor "t" is of type 99, which has no bytes to read; export the model again',
    });
  });
});
