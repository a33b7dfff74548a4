import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { externalizeFrozen } from "./freeze.ts";
import { createGraph, type GraphBuilder, nodeOf } from "./graph.ts";
import { narrow } from "./half.ts";
import { type InspectOptions, inspectModel } from "./inspect.ts";
import { type Model, writeModel } from "./onnx.ts";
import { insideSource } from "./tensor.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-inspect-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function modelWith(change: (graph: GraphBuilder) => void = () => {}): Model {
  const graph = createGraph("test");
  const x = graph.input("x", "float32", ["batch", 32]);
  const hidden = graph.node("MatMul", [x, graph.parameter("w", [32, 32], new Float32Array(1024).fill(0.5))]);
  const half = graph.node("Cast", [graph.parameter("half", [32], narrow(new Float32Array(32), "float16"), "float16")], { to: 1 });
  const kept = graph.node("Cast", [graph.parameter("bytes", [32, 64], new Int8Array(2048), "int8")], { to: 1 });
  graph.output(graph.node("MatMul", [graph.node("Add", [hidden, half]), kept], {}, "y"), "float32", ["batch", 64]);
  change(graph);
  return graph.model({ irVersion: 9, opset: 17, producer: "test" });
}

function inspected(model: Model, options: Partial<InspectOptions> = {}) {
  writeFileSync(join(dir, "model.onnx"), writeModel(model));
  const result = inspectModel(join(dir, "model.onnx"), { epsilonLog2: -10, ...options });
  if (!result.ok) throw new Error(result.message);
  return result.inspection;
}

test("tells inputs, outputs and every tensor, with its lattice or the reason why it is not trained", () => {
  const { tensors, ...about } = inspected(modelWith());
  expect(about).toMatchObject({
    opset: 17,
    irVersion: 9,
    producer: "test",
    inputs: [{ name: "x", type: "float", dimensions: ["batch", 32] }],
    outputs: [{ name: "y", type: "float", dimensions: ["batch", 64] }],
    totals: { tensors: 3, elements: 1024 + 32 + 2048, trainedTensors: 2, trainedElements: 1056 },
    switchedOff: [],
    refusals: [],
  });
  const q = 23;
  expect(tensors).toEqual([
    {
      ...{ name: "w", shape: [32, 32], type: "float", elements: 1024, isConstant: false, trainable: true },
      ...{ maxAbs: 0.5, q, resolution: 2 ** -q, relativeResolution: 2 ** -q / 0.5 },
    },
    expect.objectContaining({ name: "half", type: "float16", trainable: true, maxAbs: 0, relativeResolution: null }),
    {
      ...{ name: "bytes", shape: [32, 64], type: "int8", elements: 2048, isConstant: false, trainable: false },
      reason: "is int8; only float32, float16 and bfloat16 are trained",
    },
  ]);
});

test("tells what a worker holds and what a late joiner fetches", () => {
  const { memoryBytes, download } = inspected(modelWith());
  expect(download).toMatchObject({ initialBytes: 4 * 1056, frozenBytes: 2048 });
  expect(download.totalBytes).toBe(download.graphBytes + 4 * 1056 + 2048);
  expect(memoryBytes).toBe(Math.round(1.6 * 4 * 1056 + 2048 + 300e6));
  const { download: less } = inspected(modelWith(), { trained: ["half"] });
  expect(less).toMatchObject({ initialBytes: 4 * 32, frozenBytes: 4096 + 2048 });
});

test("knows of patterns, of values beyond a lattice and of what is switched off", () => {
  const model = modelWith((graph) => {
    graph.node("Add", ["x", graph.parameter("far", [32], new Float32Array(32).fill(1e6))]);
    graph.node("Dropout", ["x", "", graph.parameter("on", [], Uint8Array.of(1), "bool")], {}, "dropped");
  });
  const { tensors, switchedOff } = inspected(model, { trained: ["w", "far"] });
  expect(switchedOff).toEqual(["dropped"]);
  expect(tensors.map(({ name, trainable, reason = "" }) => [name, trainable, reason])).toEqual([
    ["w", true, ""],
    ["half", false, "is not asked for by a pattern"],
    ["bytes", false, expect.stringContaining("int8")],
    ["far", false, expect.stringContaining("reaches 1000000, too large")],
    ["on", false, expect.stringContaining("bool")],
  ]);
});

test("collects everything for which the model would be refused, and tells the rest all the same", () => {
  const model = modelWith((graph) => {
    graph.node("acme::Magic", ["x"], {}, "magic");
    graph.node("Add", ["x", graph.parameter("bad", [32], new Float32Array(32).fill(Number.NaN))]);
    graph.node("Add", ["x", graph.parameter("short", [32], new Float32Array(3))]);
  });
  const external = externalizeFrozen(modelWith(), insideSource, "gone.bin").model;
  const away = external.graph.initializer.filter(({ name }) => name === "bytes").map((tensor) => ({ ...tensor, name: "away" }));
  model.graph.initializer.push(...away);
  model.graph.node.push(...away.map((tensor) => nodeOf("Constant", [], ["away too"], { value: tensor })));
  const { refusals, totals } = inspected(model, { trained: ["w", "bad", "none"] });
  expect(refusals.map(({ code }) => code)).toEqual([
    "unsupported-node",
    "tensor-unreadable",
    "external-data",
    "external-data",
    "pattern-unused",
    "weights-not-finite",
  ]);
  expect(refusals.map(({ message }) => message)).toContainEqual(
    expect.stringContaining('"away" keeps its data in "gone.bin", which is missing'),
  );
  expect(totals.trainedTensors).toBe(2);
});

test("what is no model is refused", () => {
  expect(inspectModel(join(dir, "none.onnx"), { epsilonLog2: -10 })).toMatchObject({ ok: false, code: "model-unreadable" });
});
