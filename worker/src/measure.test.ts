import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Example, encodeShard, exampleOf } from "@zoswarm/shared/data/examples";
import { type Evaluator, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { createGraph } from "@zoswarm/shared/model/graph";
import { joinInitial, prepareModel } from "@zoswarm/shared/model/importer";
import { addObjective } from "@zoswarm/shared/model/objective";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { insideSource } from "@zoswarm/shared/model/tensor";
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { InputSpec, Manifest, Objective } from "@zoswarm/shared/protocol/manifest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Measuring, measureSlots } from "./measure.ts";

const JOB_ID = "cd".repeat(32);
const dir = mkdtempSync(join(tmpdir(), "zoswarm-measure-"));
let evaluator: Evaluator;
const EXAMPLES = Array.from({ length: 8 }, (_, i) => exampleOf([i % 4, (i * 3) % 4], { label: i % 2 }));
const OBJECTIVE: Objective = { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null };

beforeAll(async () => {
  const graph = createGraph("test");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  graph.input("attention_mask", "int64", ["batch", "sequence"]);
  const table = graph.parameter("embeddings", [4, 2], Float32Array.of(1, 0, 0, 1, 0.5, -1, -0.5, 0.25));
  const mean = graph.node("ReduceMean", [graph.node("Gather", [table, ids])], { axes: [1], keepdims: 0 });
  graph.node("MatMul", [mean, graph.parameter("classifier", [2, 2], Float32Array.of(1, -1, 0.5, 2))], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  const lossy = addObjective(
    graph.model({ irVersion: 8, opset: 17, producer: "test" }),
    { kind: "classes", output: "logits" },
    { generates: false },
  );
  if (!lossy.ok) throw new Error(lossy.message);
  const model = prepareModel(lossy.model, insideSource, { epsilonLog2: -6, gains: [] });
  if (!model.ok) throw new Error(model.message);
  const [graphFile, initialFile] = [join(dir, "graph"), join(dir, "initial")];
  writeFileSync(graphFile, writeModel(model.model));
  writeFileSync(initialFile, joinInitial(model.tensors, model.initial()));
  evaluator = startEvaluator({ threads: 1 });
  const input = (name: string, source: InputSpec["source"]): InputSpec => ({ name, type: "int64", dims: ["batch", "sequence"], source });
  await evaluator.call("load", {
    ...{ graphFile, initialFile, tensors: model.tensors, key: [1, 2, 3, 4], tokenizerFile: null },
    inputs: [input("input_ids", { from: "tokens", pad: 0 }), input("attention_mask", { from: "mask" })],
    objective: OBJECTIVE,
  });
});
afterAll(async () => {
  await evaluator.close();
  rmSync(dir, { recursive: true });
});

const task = (estimator: Task["estimator"]): Task => ({
  step: 5,
  groups: [
    { g: 0, m: 2, batch: 0 },
    { g: 1, m: 3, batch: 1 },
  ],
  epsilonLog2: -6,
  estimator,
});

const measuring = (): Measuring => ({
  manifest: { job: { batch: 2 }, objective: OBJECTIVE } as Manifest,
  jobId: JOB_ID,
  evaluator,
  labels: Int32Array.from({ length: 8 }, (_, i) => i % 2),
  shards: { examples: async (indices) => indices.map((i) => EXAMPLES[i] as Example) },
});

const measure = async (estimator: Task["estimator"], slots: number[], known: number[] = [], signal = new AbortController().signal) =>
  (await measureSlots({ task: task(estimator), slots, known }, measuring(), signal)).losses;

describe("measureSlots", () => {
  it("gives each slot the loss of its own group and direction, whichever other slots are asked for", async () => {
    const all = await measure("two-sided", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(all.map(({ slot }) => slot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for (const slots of [[3, 4], [11], [1, 6, 9]]) expect(await measure("two-sided", slots)).toEqual(slots.map((slot) => all[slot]));
    // Every direction moves theta elsewhere: equal losses would be one direction measured again and again.
    expect(new Set(all.map(({ plus }) => plus)).size).toBe(12);
  });

  it("measures one side where a group can be centred, with the slots that are known already, and both sides below that", async () => {
    const sides = (losses: { minus: number | null }[]) => losses.map(({ minus }) => (minus === null ? 1 : 2));
    expect(sides(await measure("one-sided", [4, 5, 6, 7]))).toEqual([1, 1, 1, 1]);
    expect(sides(await measure("one-sided", [4, 5, 6]))).toEqual([2, 2, 2]);
    expect(sides(await measure("one-sided", [4, 5, 6], [9]))).toEqual([1, 1, 1]);
    // What is known of another group does not help this one.
    expect(sides(await measure("one-sided", [4, 5, 6], [0, 1, 2, 3]))).toEqual([2, 2, 2]);
    const both = await measure("two-sided", [4, 5, 6, 7]);
    expect((await measure("one-sided", [4, 5, 6, 7])).map(({ plus }) => plus)).toEqual(both.map(({ plus }) => plus));
  });

  it("stops where it is told to, and leaves theta where it was", async () => {
    const before = await evaluator.call("stateHash", null);
    const stop = new AbortController();
    stop.abort();
    // The thread is busy until the abort, which is sent along with the call, has long arrived.
    await evaluator.call("setHeldout", { shards: [encodeShard(new Array<Example>(2000).fill(EXAMPLES[0] as Example))] });
    const busy = evaluator.call("evaluate", { batch: 1 });
    const measured = measure("two-sided", [0, 5, 11], [], stop.signal);
    expect((await busy).forwards).toBe(2000);
    expect(await measured).toEqual([]);
    expect(await evaluator.call("stateHash", null)).toEqual(before);
    expect(await measure("two-sided", [0])).toHaveLength(1);
  });
});
