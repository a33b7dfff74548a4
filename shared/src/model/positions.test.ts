import { expect, test } from "vitest";
import { createGraph, type GraphBuilder } from "./graph.ts";
import { positionTables } from "./positions.ts";

/** Which of the parameters are tables of positions; `positions` is Range(Shape(ids)). */
function tablesOf(names: string[], build: (graph: GraphBuilder, positions: string) => void): string[] {
  const graph = createGraph("test");
  const length = graph.node("Gather", [graph.node("Shape", [graph.input("ids", "int64", ["batch", "sequence"])]), graph.integers([1], [])]);
  const range = graph.node("Range", [graph.integers([0], []), length, graph.integers([1], [])]);
  for (const name of names) graph.parameter(name, [4], new Float32Array(4));
  build(graph, graph.node("Cast", [range], { to: 1 }));
  return [...positionTables(graph.model({ irVersion: 8, opset: 17, producer: "test" }), new Set(names))];
}

test("frequencies that positions are multiplied by are a table, also in another shape", () => {
  const tables = tablesOf(["sines", "rotary"], (graph, positions) => {
    graph.node("Sin", [graph.node("Mul", [graph.node("Unsqueeze", [positions, graph.integers([1])]), "sines"])]);
    const column = graph.node("Expand", [graph.node("Unsqueeze", ["rotary", graph.integers([1])]), graph.integers([1, 4, 1])]);
    graph.node("Cos", [graph.node("MatMul", [column, positions])]);
  });
  expect(tables).toEqual(["sines", "rotary"]);
});

test("a weight is none: not one that meets inputs, other weights or plain numbers, and not one with another reader", () => {
  const tables = tablesOf(["input", "learned", "normed", "scaled", "both", "token"], (graph, positions) => {
    graph.node("Mul", [graph.node("Cast", ["ids"], { to: 1 }), "input"]);
    graph.node("Add", [graph.node("Gather", ["learned", positions]), positions]);
    graph.node("Div", ["normed", graph.node("ReduceL2", ["normed"])]);
    graph.node("Mul", ["scaled", graph.floats([2])]);
    graph.node("Mul", ["both", positions]);
    graph.node("Relu", ["both"]);
    graph.node("Concat", [graph.node("Expand", ["token", positions]), positions], { axis: 0 });
  });
  expect(tables).toEqual([]);
});

test("what a body reads may be anything", () => {
  const tables = tablesOf(["w"], (graph, positions) => {
    graph.node("Mul", [positions, "w"]);
    const body = createGraph("body");
    body.node("Relu", ["w"]);
    graph.node("If", ["on"], { then_branch: body.body() });
  });
  expect(tables).toEqual([]);
});
