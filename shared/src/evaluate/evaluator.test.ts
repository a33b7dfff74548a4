/** The evaluator's thread over the real runtime: how much a loss bends, which a job's course is steered by. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { encodeShard, exampleOf } from "../data/examples.ts";
import { createGraph } from "../model/graph.ts";
import { addObjective } from "../model/objective.ts";
import { writeModel } from "../model/onnx.ts";
import { type Evaluator, startEvaluator } from "./client.ts";

const dir = mkdtempSync(join(tmpdir(), "zoswarm-evaluator-"));
const WEIGHTS = 256;
const Q = 20;
let evaluator: Evaluator;

/** Each token has a weight of its own, whose squared distance from 1 is the loss: it bends by 2 along each weight, wherever they are. */
beforeAll(async () => {
  const graph = createGraph("distances");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const rows = graph.node("Gather", [graph.input("weights", "float32", [WEIGHTS, 1]), ids]);
  graph.node("ReduceMean", [rows], { axes: [1], keepdims: 0 }, "out");
  graph.output("out", "float32", ["batch", 1]);
  const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
  const lossy = addObjective(model, { kind: "values", output: "out" }, { generates: false });
  if (!lossy.ok) throw new Error(lossy.message);
  const [graphFile, initialFile] = [join(dir, "graph.onnx"), join(dir, "initial.bin")];
  writeFileSync(graphFile, writeModel(lossy.model));
  writeFileSync(
    initialFile,
    Int32Array.from({ length: WEIGHTS }, (_, i) => i * 2 ** 12),
  );
  evaluator = startEvaluator({ threads: 1 });
  await evaluator.call("load", {
    ...{ graphFile, initialFile, key: [1, 2, 3, 4], tokenizerFile: null },
    tensors: [{ name: "weights", shape: [WEIGHTS, 1], q: Q, gain: 0 }],
    inputs: [{ name: "input_ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } }],
    objective: { kind: "values", measure: "loss", metric: "mean-squared-error", classes: 0, generate: 0, stop: null, reward: null },
  });
});
afterAll(async () => {
  await evaluator.close();
  rmSync(dir, { recursive: true });
});

/** Examples of so many neighbouring tokens each: of one the loss bends by 2, of two by 2 or not at all, as their signs are. */
const heldOut = (tokens: number) => {
  const examples = Array.from({ length: WEIGHTS }, (_, i) =>
    exampleOf(
      Array.from({ length: tokens }, (_, j) => (i + j) % WEIGHTS),
      { value: 1 },
    ),
  );
  return evaluator.call("setHeldout", { shards: [encodeShard(examples)] });
};

it("takes the second derivative along random directions, whatever epsilon is, and leaves the state and what training has cost as they were", async () => {
  await heldOut(1);
  const before = await evaluator.call("stateHash", null);
  const at = { step: 3, directions: 4, examplesMax: WEIGHTS };
  for (const epsilonLog2 of [-8, -2]) {
    const { curvature, forwards } = await evaluator.call("curvature", { ...at, epsilonLog2 });
    expect(curvature).toBeCloseTo(2, 2);
    expect(forwards).toBe(1 + 2 * at.directions);
  }
  expect(await evaluator.call("stateHash", null)).toEqual(before);
  expect(await evaluator.call("stats", null)).toEqual({ forwards: 0, evalForwards: 18, forwardSeconds: 0, busySeconds: 0 });
});

it("is of as many of the held-out examples as are asked for, and along other directions at another step", async () => {
  await heldOut(2);
  const at = { epsilonLog2: -4, directions: 4 };
  const whole = await evaluator.call("curvature", { ...at, step: 3, examplesMax: WEIGHTS });
  const few = await evaluator.call("curvature", { ...at, step: 3, examplesMax: 3 });
  const later = await evaluator.call("curvature", { ...at, step: 4, examplesMax: WEIGHTS });
  for (const { curvature } of [whole, later]) expect(curvature).toBeCloseTo(1, 0);
  // 3 examples along 4 directions: a multiple of 2 / 12.
  expect(6 * few.curvature).toBeCloseTo(Math.round(6 * few.curvature), 2);
  expect(later.curvature).not.toBeCloseTo(whole.curvature, 3);
});
