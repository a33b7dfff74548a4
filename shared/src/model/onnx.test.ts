import { describe, expect, it } from "vitest";
import { createGraph, tensorOf } from "./graph.ts";
import { floatsOf, type Model, readModel, writeModel } from "./onnx.ts";

function identity(opset = 17): Model {
  const graph = createGraph("identity");
  graph.output(graph.node("Identity", [graph.input("x", "float32", ["batch"])], {}, "y"), "float32", ["batch"]);
  return graph.model({ irVersion: 8, opset, producer: "test" });
}

describe("readModel", () => {
  it("reads what writeModel writes", () => {
    const read = readModel(writeModel(identity()));
    expect(read.ok && read.model.graph.node.map(({ opType, input, output }) => ({ opType, input, output }))).toEqual([
      { opType: "Identity", input: ["x"], output: ["y"] },
    ]);
  });

  it("says that bytes are no model", () => {
    for (const bytes of [new Uint8Array(), Uint8Array.of(1, 2, 3), new TextEncoder().encode("<html>not found</html>")])
      expect(readModel(bytes)).toMatchObject({ ok: false, code: "model-unreadable", message: expect.stringContaining("not an ONNX file") });
  });

  it("refuses a truncated file", () => {
    expect(readModel(writeModel(identity()).subarray(0, 40))).toMatchObject({ ok: false, code: "model-unreadable" });
  });

  it("names an opset that it does not know, and the remedy", () => {
    for (const opset of [9, 99])
      expect(readModel(writeModel(identity(opset)))).toMatchObject({
        message: expect.stringMatching(`opset is ${opset}; it must be .*export it again`),
      });
  });
});

describe("floatsOf", () => {
  const values = Float32Array.of(1.5, -2, 3, 4, 5, 6);

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

  it("names the tensor whose data does not fill its shape, or is elsewhere", () => {
    const message = 'the tensor "w" has data for 6 elements, but its shape [7] has 7; export the model again';
    expect(floatsOf(tensorOf("w", [7], values))).toEqual({ ok: false, code: "tensor-unreadable", message });
    expect(floatsOf({ ...tensorOf("w", [1], values), dims: [-6n] })).toMatchObject({
      message: expect.stringContaining("impossible shape [-6]"),
    });
    expect(floatsOf({ ...tensorOf("w", [6], values), dataLocation: 1 })).toMatchObject({ message: expect.stringContaining("as one file") });
  });
});
