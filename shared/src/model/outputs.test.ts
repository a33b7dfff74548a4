import { expect, test } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, tensorOf, valueInfoOf } from "./graph.ts";
import { type Model, writeModel } from "./onnx.ts";
import { namesIn, withOutputs } from "./outputs.ts";

/** Two outputs: y by way of an If whose bodies capture `inside` and `weight`; z of values that y does not need. */
function branching(): Model {
  const graph = createGraph("branching");
  const x = graph.input("x", "float32", [2]);
  graph.input("idle", "float32", [2]);
  graph.input("spare", "float32", [2]);
  graph.node("Neg", [x], {}, "inside");
  graph.parameter("weight", [2], Float32Array.of(3, 4));
  graph.parameter("spare", [2], Float32Array.of(5, 6));
  const bodyOf = (opType: string) => {
    const body = createGraph(opType);
    body.node(opType, ["inside", "weight"], {}, `${opType}_out`);
    body.output(`${opType}_out`, "float32", [2]);
    return body.body();
  };
  const first = graph.node("Gather", [x, graph.integers([0], [])]);
  const [then_branch, else_branch] = [bodyOf("Add"), bodyOf("Mul")];
  graph.node("If", [graph.node("Less", [first, graph.floats([0])])], { then_branch, else_branch }, "y");
  graph.nodes("Split", [graph.node("Add", [x, "spare"], {}, "sum")], { axis: 0, num_outputs: 2 }, 2);
  graph.node("Neg", ["sum"], {}, "z");
  graph.output("y", "float32", [2]);
  graph.output("z", "float32", [2]);
  const model = graph.model({ irVersion: 8, opset: 18, producer: "test" });
  model.graph.valueInfo.push(valueInfoOf("sum", "float32", [2]), valueInfoOf("inside", "float32", [2]));
  return model;
}

test("what no output needs is dropped, and what only a body reads stays", async () => {
  const model = branching();
  const before = writeModel(model);
  const { graph } = withOutputs(model, [valueInfoOf("y", "float32", [2])]);
  expect(graph.node.map(({ opType }) => opType)).toEqual(["Neg", "Constant", "Gather", "Constant", "Less", "If"]);
  expect(graph.initializer.map(({ name }) => name)).toEqual(["weight"]);
  // An input stays though nothing reads it; one that lists an initializer goes with it.
  expect(graph.input.map(({ name }) => name)).toEqual(["x", "idle"]);
  expect(graph.valueInfo.map(({ name }) => name)).toEqual(["inside"]);
  expect(writeModel(model)).toEqual(before);
  const x = { shape: [2], values: Float32Array.of(1, 2) };
  const out = await runGraph(writeModel({ ...model, graph }), { x, idle: x });
  expect(out).toEqual({ y: { shape: [2], values: Float32Array.of(-3, -8) } });
});

test("an output that is an initializer or an input needs no node", () => {
  const model = branching();
  model.graph.initializer.push(tensorOf("alone", [1], Float32Array.of(1)));
  const { graph } = withOutputs(model, [valueInfoOf("alone", "float32", [1]), valueInfoOf("x", "float32", [2])]);
  expect([graph.node, graph.initializer.map(({ name }) => name)]).toEqual([[], ["alone"]]);
});

test("names in bodies are names in use", () => {
  expect(namesIn(branching())).toEqual(expect.arrayContaining(["x", "weight", "inside", "y", "Add_out", "Mul_out"]));
});
