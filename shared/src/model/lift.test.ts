import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, dimensionsOf, type GraphBuilder, tensorOf, valueInfoOf } from "./graph.ts";
import { narrow } from "./half.ts";
import { liftTrainable, type TrainableTensor, trainableOf } from "./lift.ts";
import { type Model, writeModel } from "./onnx.ts";

const ABOUT = { irVersion: 8, opset: 17, producer: "test" };

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
  graph.node("Add", [x, graph.parameter("epsilon", [1], Float32Array.of(1e-5))]);
  graph.parameter("idle", [2], Float32Array.of(1, 2));
  graph.node("DequantizeLinear", ["q", scale], {}, "dq");
  graph.node("Add", [graph.node("MatMul", [x, w]), b], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  graph.output("result", "float32", [2]);
  return graph.model(ABOUT);
}

function found(model: Model): { tensors: TrainableTensor[]; frozen: { name: string; reason: string }[] } {
  const result = trainableOf(model);
  if (!result.ok) throw new Error(result.message);
  return result;
}

describe("trainableOf", () => {
  it("takes initializers in order and says why each other one stays", () => {
    const { tensors, frozen } = found(linear());
    expect(tensors.map(({ name, shape, dataType, values }) => ({ name, shape, dataType, values }))).toEqual([
      { name: "w", shape: [3, 2], dataType: "float32", values: Float32Array.of(1, 2, 3, 4, 5, 6) },
      { name: "b", shape: [2], dataType: "float32", values: Float32Array.of(0, 0) },
    ]);
    expect(frozen).toEqual([
      { name: "none", reason: "has no elements" },
      { name: "axes", reason: "is int64; only float32, float16 and bfloat16 are trained" },
      { name: "result", reason: "is itself an output of the graph" },
      { name: "scale", reason: "is a scale of quantized weights, read by DequantizeLinear" },
      { name: "epsilon", reason: "is a single number, as formulas have them" },
      { name: "idle", reason: "is read by no node" },
    ]);
  });

  it("takes 16-bit floats, and Constants that are large enough to be weights", () => {
    const graph = createGraph("constants");
    const values = Float32Array.from({ length: 16 }, (_, i) => i / 8);
    const x = graph.input("x", "float32", [16]);
    const small = graph.node("Constant", [], { value: tensorOf("", [15], values.slice(0, 15)) }, "small");
    const one = graph.floats([1]);
    const table = graph.node("Constant", [], { value: tensorOf("ignored", [16], narrow(values, "float16"), "float16") }, "table");
    graph.integers([1, 2, 3]);
    const indices = graph.integers([...values.keys()]);
    for (const name of [small, one, table, indices]) graph.node("Add", [x, name]);
    graph.node("Add", [x, graph.parameter("half", [16], narrow(values, "bfloat16"), "bfloat16")]);
    const { tensors, frozen } = found(graph.model(ABOUT));
    expect(tensors.map(({ name, dataType, values }) => ({ name, dataType, values }))).toEqual([
      { name: "half", dataType: "bfloat16", values },
      { name: "table", dataType: "float16", values },
    ]);
    expect(frozen).toEqual([
      { name: "small", reason: "is a Constant of 15 elements; from 16 on it counts as a weight" },
      { name: one, reason: "is a Constant of one element; from 16 on it counts as a weight" },
      { name: indices, reason: "is int64; only float32, float16 and bfloat16 are trained" },
    ]);
  });

  it("takes no statistic, scale or table that an operator reads beside weights", () => {
    const graph = createGraph("others");
    const weight = (name: string) => graph.parameter(name, [4], Float32Array.of(1, 2, 3, 4));
    graph.node("BatchNormalization", ["x", ...["gamma", "beta", "mean", "var"].map(weight)]);
    graph.node("Resize", [weight("pixels"), weight("roi"), weight("scales")]);
    graph.node("com.microsoft::RotaryEmbedding", ["x", "ids", weight("cos"), weight("sin")]);
    graph.node("com.microsoft::QLinearAdd", ["a", weight("a_scale")]);
    const start = graph.node("Slice", [weight("start"), graph.integers([0]), graph.integers([4])]);
    graph.node("GRU", ["x", weight("W"), weight("R"), "", "", start]);
    const { tensors, frozen } = found(graph.model(ABOUT));
    expect(tensors.map(({ name }) => name)).toEqual(["gamma", "beta", "pixels", "W", "R"]);
    expect(frozen.map(({ name, reason }) => `${name} ${reason}`)).toEqual([
      "mean is a running statistic, read by BatchNormalization",
      "var is a running statistic, read by BatchNormalization",
      "roi is a scale of picture sizes, read by Resize",
      "scales is a scale of picture sizes, read by Resize",
      "cos is a table of positions' angles, read by RotaryEmbedding",
      "sin is a table of positions' angles, read by RotaryEmbedding",
      "a_scale is a scale of quantized weights, read by QLinearAdd",
      "start is an initial state, read by GRU",
    ]);
  });

  it("takes a single number where it is a bias or a slope, and nowhere else", () => {
    const graph = createGraph("numbers");
    const number = (name: string, shape = [1]) => graph.parameter(name, shape, Float32Array.of(1e-5));
    graph.node("Add", [graph.node("ReduceMean", ["x"]), number("epsilon")]);
    graph.node("Mul", ["x", number("factor", [1, 1])]);
    graph.node("Add", [graph.node("MatMul", ["x", "w"]), number("bias")]);
    graph.node("Gemm", ["x", "w", number("gemm.bias")]);
    graph.node("PRelu", ["x", number("slope")]);
    expect(found(graph.model(ABOUT)).tensors.map(({ name }) => name)).toEqual(["bias", "gemm.bias", "slope"]);
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
    model.graph.input.push(valueInfoOf("b", "float32", [2]), valueInfoOf("result", "float32", [2]));
    const lifted = liftTrainable(model, found(model).tensors);
    expect(lifted.graph.input.map(({ name }) => name)).toEqual(["x", "w", "b"]);
    expect(dimensionsOf(lifted.graph.input[1]!)).toEqual({ type: 1, sizes: [3, 2] });
    expect(lifted.graph.initializer.map(({ name }) => name)).toEqual(["none", "axes", "result", "scale", "epsilon", "idle"]);
    expect(model.graph.initializer).toHaveLength(8);
  });

  /** A model over x [1, 4], run as it is, and lifted with its weights fed: the outputs must be the same bits. */
  async function expectSame(build: (graph: GraphBuilder, x: string) => void, names: string[]): Promise<Model> {
    const graph = createGraph("test");
    const x = graph.input("x", "float32", [1, 4]);
    build(graph, x);
    const model = graph.model(ABOUT);
    const { tensors } = found(model);
    expect(tensors.map(({ name }) => name)).toEqual(names);
    const lifted = liftTrainable(model, tensors);
    const feeds = { x: { shape: [1, 4], values: Float32Array.of(0.5, -1, 2, 3) } };
    const weights = Object.fromEntries(tensors.map(({ name, shape, values }) => [name, { shape, values }]));
    expect(await runGraph(writeModel(lifted), { ...feeds, ...weights })).toEqual(await runGraph(writeModel(model), feeds));
    return lifted;
  }
  // Sums of these are exact, in whatever order a kernel takes them.
  const sixteen = Float32Array.from({ length: 16 }, (_, i) => i / 8 - 1);

  it("keeps tied weights tied: one input for all who read it", async () => {
    const lifted = await expectSame(
      (graph, x) => {
        const w = graph.parameter("w", [4, 4], sixteen);
        graph.node("Gemm", [graph.node("MatMul", [x, w]), w], { transB: 1 }, "y");
        graph.output("y", "float32", [1, 4]);
      },
      ["w"],
    );
    expect(lifted.graph.node.filter(({ input }) => input.includes("w"))).toHaveLength(2);
  });

  it("makes an input of a Constant, and rounds 16-bit weights as the file has them, for bodies too", async () => {
    const lifted = await expectSame(
      (graph, x) => {
        const table = graph.node("Constant", [], { value: tensorOf("", [4, 4], sixteen) }, "table");
        const half = graph.parameter("half", [4, 4], narrow(sixteen, "float16"), "float16");
        graph.body().valueInfo.push(valueInfoOf("half", "float16", [4, 4]));
        const first = graph.node("MatMul", [graph.node("MatMul", [x, table]), graph.node("Cast", [half], { to: 1 })]);
        const body = createGraph("body");
        body.output(body.node("MatMul", [body.node("Cast", [first], { to: 10 }), half], {}, "inner"), "float16", [1, 4]);
        const on = graph.parameter("on", [], Uint8Array.of(1), "bool");
        const chosen = graph.node("If", [on], { then_branch: body.body(), else_branch: body.body() });
        graph.output(graph.node("Cast", [chosen], { to: 1 }, "y"), "float32", [1, 4]);
      },
      ["half", "table"],
    );
    expect(lifted.graph.node.filter(({ input }) => input.includes("half")).map(({ opType, output }) => [opType, ...output])).toEqual([
      ["Cast", "zoswarm/lift/half"],
    ]);
  });

  it("leaves a body's own value alone that has the name of a weight", () => {
    const graph = createGraph("shadow");
    const x = graph.input("x", "float32", [1]);
    graph.node("Add", [x, graph.parameter("h", [1], Uint16Array.of(0), "float16")]);
    const body = createGraph("body");
    body.node("Relu", [body.input("h", "float16", [1])]);
    graph.node("Loop", [], { body: body.body() });
    const lifted = liftTrainable(graph.model(ABOUT), [{ name: "h", shape: [1] }]);
    expect(lifted.graph.node.find(({ opType }) => opType === "Loop")?.attribute[0]?.g?.node[0]?.input).toEqual(["h"]);
  });
});
