import { create } from "@bufbuild/protobuf";
import { TensorProto_DataType, TensorProtoSchema } from "onnx-buf";
import { describe, expect, it } from "vitest";
import { createGraph, dimensionsOf, tensorOf, valueInfoOf } from "./graph.ts";
import { liftTrainable, trainableOf } from "./lift.ts";
import { addLoss } from "./loss.ts";
import type { Model } from "./onnx.ts";

/** logits = x w + b, with one initializer of each kind besides. */
function linear(): Model {
  const graph = createGraph("linear");
  const x = graph.input("x", "float32", ["batch", 3]);
  const w = graph.parameter("w", [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
  const b = graph.parameter("b", [2], Float32Array.of(0, 0));
  graph.parameter("none", [0], new Float32Array());
  graph.parameter("axes", [1], BigInt64Array.of(1n));
  graph.parameter("result", [2], Float32Array.of(7, 8));
  const scale = graph.parameter("scale", [], Float32Array.of(0.5));
  graph.node("DequantizeLinear", ["q", scale], {}, "dq");
  graph.node("Add", [graph.node("MatMul", [x, w]), b], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  graph.output("result", "float32", [2]);
  const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
  model.graph.initializer.push(
    create(TensorProtoSchema, { name: "half", dataType: TensorProto_DataType.FLOAT16, dims: [1n], rawData: new Uint8Array(2) }),
  );
  return model;
}

describe("trainableOf", () => {
  it("takes float32 initializers in order and says why each other one stays", () => {
    const found = trainableOf(linear());
    if (!found.ok) throw new Error(found.message);
    expect(found.tensors.map(({ name, shape }) => ({ name, shape }))).toEqual([
      { name: "w", shape: [3, 2] },
      { name: "b", shape: [2] },
    ]);
    expect(found.frozen).toEqual([
      { name: "none", reason: "has no elements" },
      { name: "axes", reason: "is int64; only float32 is trained" },
      { name: "result", reason: "is itself an output of the graph" },
      { name: "scale", reason: "is a scale of quantized weights, read by DequantizeLinear" },
      { name: "half", reason: "is float16; only float32 is trained" },
    ]);
  });

  it("passes on what is wrong with a tensor", () => {
    const model = linear();
    model.graph.initializer[0] = tensorOf("w", [4, 2], Float32Array.of(1));
    expect(trainableOf(model)).toMatchObject({ ok: false, code: "tensor-unreadable", message: expect.stringContaining('"w"') });
  });
});

describe("liftTrainable", () => {
  it("makes inputs of the tensors, once each, and leaves the model that it was given as it was", () => {
    const model = linear();
    model.graph.input.push(valueInfoOf("b", "float32", [2]));
    const found = trainableOf(model);
    if (!found.ok) throw new Error(found.message);
    const lifted = liftTrainable(model, found.tensors);
    expect(lifted.graph.input.map(({ name }) => name)).toEqual(["x", "w", "b"]);
    expect(dimensionsOf(lifted.graph.input[1]!)).toEqual({ type: TensorProto_DataType.FLOAT, sizes: [3, 2] });
    expect(lifted.graph.initializer.map(({ name }) => name)).toEqual(["none", "axes", "result", "scale", "half"]);
    expect(model.graph.initializer).toHaveLength(7);
  });
});

describe("addLoss", () => {
  it("adds labels and loss beside the logits", () => {
    const lossy = addLoss(linear(), "logits");
    if (!lossy.ok) throw new Error(lossy.message);
    expect(lossy.model.graph.input.map(({ name }) => name)).toEqual(["x", "labels"]);
    expect(lossy.model.graph.output.map(({ name }) => name)).toEqual(["logits", "result", "loss"]);
  });

  it("refuses a model that has such a value already, and says which", () => {
    const once = addLoss(linear(), "logits");
    expect(once.ok && addLoss(once.model, "logits")).toMatchObject({
      ok: false,
      code: "name-taken",
      message: expect.stringContaining('"labels"'),
    });
  });
});
