import { create } from "@bufbuild/protobuf";
import { FunctionProtoSchema, OperatorSetIdProtoSchema } from "onnx-buf";
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, type GraphBuilder, nodeOf } from "./graph.ts";
import { type Model, writeModel } from "./onnx.ts";
import { nodeRefusals, switchOffTraining } from "./operators.ts";

function modelOf(build: (graph: GraphBuilder, x: string) => string): Model {
  const graph = createGraph("test");
  graph.output(build(graph, graph.input("x", "float32", ["batch", 2])), "float32", ["batch", 2]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test", domains: { "com.microsoft": 1 } });
}

const on = (graph: GraphBuilder) => graph.parameter("on", [], Uint8Array.of(1), "bool");
const mean = (graph: GraphBuilder) =>
  ["scale", "bias", "mean", "var"].map((name, at) => graph.parameter(name, [2], Float32Array.of(at, at)));

describe("nodeRefusals", () => {
  it("finds every node that the runtime lacks or that draws random numbers, in bodies and functions too", () => {
    const body = createGraph("body");
    body.output(body.node("RandomUniform", [], { shape: [1, 2] }, "noise"), "float32", [1, 2]);
    const model = modelOf((graph, x) => {
      graph.node("acme::Magic", [x], {}, "magic");
      return graph.node("If", [on(graph)], { then_branch: body.body(), else_branch: body.body() }, "y");
    });
    model.functions.push(
      create(FunctionProtoSchema, {
        name: "f",
        domain: "local",
        node: [nodeOf("Bernoulli", ["p"], ["drawn"])],
        opsetImport: [create(OperatorSetIdProtoSchema)],
      }),
    );
    expect(nodeRefusals(model).map(({ message }) => message)).toEqual([
      'the node "magic" (Magic) is of the operators "acme", which the runtime does not have; export the model with standard operators',
      expect.stringContaining('the node "noise" (RandomUniform) draws random numbers'),
      expect.stringContaining('the node "noise" (RandomUniform) draws random numbers'),
      expect.stringContaining('the node "drawn" (Bernoulli) draws random numbers'),
    ]);
  });

  it("takes the runtime's own operators and those that the model defines", () => {
    const model = modelOf((graph, x) => graph.node("local::f", [graph.node("com.microsoft::Gelu", [x])]));
    model.functions.push(create(FunctionProtoSchema, { name: "f", domain: "local" }));
    expect(nodeRefusals(model)).toEqual([]);
  });

  it("refuses a mode that a run may choose, and statistics of the batch that are used", () => {
    const chosen = modelOf((graph, x) => graph.node("Dropout", [x, "", graph.input("training", "bool", [])], {}, "y"));
    expect(nodeRefusals(chosen)).toMatchObject([
      { code: "unsupported-node", message: expect.stringMatching(/"y" \(Dropout\) takes from "training" .*; export/) },
    ]);
    const used = modelOf((graph, x) => {
      const [y = "", running = ""] = graph.nodes("BatchNormalization", [x, ...mean(graph)], { training_mode: 1 }, 3);
      return graph.node("Add", [y, running]);
    });
    expect(nodeRefusals(used)).toMatchObject([
      { message: expect.stringMatching(/\(BatchNormalization\) is in training mode and what it makes of the batch, ".+", is used/) },
    ]);
  });
});

describe("switchOffTraining", () => {
  const x = { shape: [2, 2], values: Float32Array.of(1, 2, 3, 4) };
  const run = (model: Model) => runGraph(writeModel(model), { x });
  const outputOf = async (model: Model) => Object.values(await run(model))[0]?.values;

  it("makes a Dropout that is on pass its input on, and says so", async () => {
    const model = modelOf((graph, x) => graph.node("Dropout", [x, graph.floats([0.5]), on(graph)], { seed: 1 }, "dropped"));
    expect(nodeRefusals(model)).toEqual([]);
    const { model: inUse, off } = switchOffTraining(model);
    expect(off).toEqual(["dropped"]);
    expect(await outputOf(inUse)).toEqual(x.values);
    expect(await outputOf(model)).not.toEqual(x.values);
  });

  it("leaves a mask that is used, and a Dropout that does nothing anyway", async () => {
    const masked = modelOf((graph, x) => {
      const [y = "", mask = ""] = graph.nodes("Dropout", [x, graph.floats([0.5]), on(graph)], {}, 2);
      return graph.node("Mul", [y, graph.node("Cast", [mask], { to: 1 })]);
    });
    expect(await outputOf(switchOffTraining(masked).model)).toEqual(x.values);
    const idle = modelOf((graph, x) => graph.node("Dropout", [x]));
    expect(switchOffTraining(idle)).toEqual({ model: idle, off: [] });
  });

  it("makes BatchNormalization use its running statistics", async () => {
    const build = (attributes: Record<string, number>, outputs: number) =>
      modelOf((graph, x) => graph.nodes("BatchNormalization", [x, ...mean(graph)], attributes, outputs)[0] as string);
    const { model, off } = switchOffTraining(build({ training_mode: 1 }, 3));
    expect(off).toEqual(["BatchNormalization_0"]);
    expect(await outputOf(model)).toEqual(await outputOf(build({}, 1)));
  });

  it("reaches into bodies", () => {
    const body = createGraph("body");
    body.output(body.node("Dropout", ["x", "", "on"], {}, "y"), "float32", [2, 2]);
    const model = modelOf((graph) => graph.node("If", [on(graph)], { then_branch: body.body(), else_branch: body.body() }));
    expect(switchOffTraining(model).off).toEqual(["y", "y"]);
  });
});
