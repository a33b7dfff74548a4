import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, type GraphBuilder, tensorOf } from "./graph.ts";
import { narrow, widen } from "./half.ts";
import { liftTrainable } from "./lift.ts";
import { type Model, writeModel } from "./onnx.ts";
import { widenBfloat16 } from "./widen.ts";

const ABOUT = { irVersion: 9, opset: 17, producer: "test" };
const BFLOAT16 = 16;
const values = Float32Array.from({ length: 16 }, (_, i) => 0.37 * i - 2);
/** As bfloat16 has them. */
const rounded = widen(narrow(values, "bfloat16"), "bfloat16");
const x = { shape: [1, 4], values: Float32Array.of(0.5, -1, 2, 3) };

/** y = relu(x) w + c + f + body, in bfloat16 or in float32 with the same weights: an initializer that is trained and one that is not, a Constant, types in attributes and a body. */
function modelIn(type: "bfloat16" | "float32"): Model {
  const isNarrow = type === "bfloat16";
  const graph = createGraph("test");
  const tensor = (shape: number[], from: Float32Array) =>
    isNarrow ? tensorOf("", shape, narrow(from, "bfloat16"), "bfloat16") : tensorOf("", shape, widen(narrow(from, "bfloat16"), "bfloat16"));
  const weight = (name: string, shape: number[], from: Float32Array) => {
    graph.body().initializer.push(Object.assign(tensor(shape, from), { name }));
    return name;
  };
  const to = isNarrow ? BFLOAT16 : 1;
  const hidden = graph.node("Relu", [graph.node("Cast", [graph.input("x", "float32", [1, 4])], { to })]);
  const product = graph.node("MatMul", [hidden, weight("w", [4, 4], values)]);
  const shifted = graph.node("Add", [product, graph.node("Constant", [], { value: tensor([4], values.subarray(4, 8)) })]);
  const filled = graph.node("ConstantOfShape", [graph.integers([4])], { value: tensor([1], values.subarray(1, 2)) });
  const sum = graph.node("Add", [graph.node("Add", [shifted, filled]), weight("frozen", [4], values.subarray(8, 12))]);
  const body = createGraph("body");
  body.body().initializer.push(Object.assign(tensor([], values.subarray(3, 4)), { name: "inner" }));
  const scaled = body.node("Mul", [
    body.node("Mul", [sum, "inner"]),
    body.node("Constant", [], { value: tensor([4], values.subarray(0, 4)) }),
  ]);
  body.output(scaled, type, [1, 4]);
  const on = graph.parameter("on", [], Uint8Array.of(1), "bool");
  graph.output(graph.node("If", [on], { then_branch: body.body(), else_branch: body.body() }, "y"), type, [1, 4]);
  return graph.model(ABOUT);
}

const lifted = (model: Model) => liftTrainable(model, [{ name: "w", shape: [4, 4] }]);
const run = (model: Model, w: Float32Array) => runGraph(writeModel(model), { x, w: { shape: [4, 4], values: w } });

describe("widenBfloat16", () => {
  it("gives what the same model in float32 gives, the weights rounded", async () => {
    const wide = widenBfloat16(lifted(modelIn("bfloat16")));
    await expect(run(lifted(modelIn("bfloat16")), values)).rejects.toThrow("Could not find an implementation");
    expect(await run(wide, values)).toEqual(await run(lifted(modelIn("float32")), rounded));
  });

  it("leaves a model without bfloat16 as it is, and one that only stores it", async () => {
    const plain = lifted(modelIn("float32"));
    expect(widenBfloat16(plain)).toBe(plain);
    const stored = (build: (graph: GraphBuilder, w: string) => string) => {
      const graph = createGraph("stored");
      const product = build(graph, graph.parameter("w", [4, 4], narrow(values, "bfloat16"), "bfloat16"));
      graph.output(product, "float32", [1, 4]);
      return lifted(graph.model(ABOUT));
    };
    const model = stored((graph, w) => graph.node("MatMul", [graph.input("x", "float32", [1, 4]), graph.node("Cast", [w], { to: 1 })]));
    expect(widenBfloat16(model)).toBe(model);
    const outputOf = async (w: Float32Array) => Object.values(await run(model, w))[0];
    expect(await outputOf(values)).toEqual(await outputOf(rounded));
  });
});
