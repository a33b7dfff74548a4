/** The launcher's commands around a run: inspect, check, export at any step, classify; what comes out is what the replicas hold. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runGraph } from "@zoswarm/shared/evaluate/run.testing";
import { floatsOf, readModel } from "@zoswarm/shared/model/onnx";
import { commitPlain, splitTensors } from "@zoswarm/shared/zo/apply";
import type { Commit } from "@zoswarm/shared/zo/commit";
import { fromLattice } from "@zoswarm/shared/zo/lattice";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusalOf } from "./badinput.ts";
import { coordinatorArgs, createProcesses, joinAddress, workerArgs } from "./processes.ts";
import { type TinyJob, writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-commands-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(processes.tails());
  await processes.killAll();
  rmSync(dir, { recursive: true, force: true });
});

/** The output of a command that succeeds. */
async function said(...args: string[]): Promise<string[]> {
  const one = processes.start("coordinator", args);
  expect(await one.ended, one.lines.join("\n")).toEqual({ code: 0, signal: null });
  return one.lines;
}

/** Trains the job for real; returns its data folder. */
async function trained(job: TinyJob): Promise<string> {
  const data = join(dir, "data");
  const coordinator = processes.start("coordinator", coordinatorArgs(job.job, data));
  const worker = processes.start("worker", workerArgs(await joinAddress(coordinator), join(dir, "worker")));
  for (const one of [coordinator, worker]) expect(await one.ended).toEqual({ code: 0, signal: null });
  return data;
}

function weightsOf(file: string): Map<string, Float32Array> {
  const read = readModel(Uint8Array.from(readFileSync(file)));
  if (!read.ok) throw new Error(read.message);
  return new Map(
    read.model.graph.initializer.map((tensor) => {
      const floats = floatsOf(tensor);
      if (!floats.ok) throw new Error(floats.message);
      return [tensor.name, floats.values];
    }),
  );
}

describe("inspect", () => {
  it("says what a model takes and gives, what is trained, and what it costs", async () => {
    const { model } = await writeTinyJob(dir);
    const lines = await said("inspect", model);
    expect(lines[0]).toMatch(/model\.onnx: opset 17, IR 8/);
    expect(lines).toEqual(
      expect.arrayContaining(["  input_ids  int64 [batch, sequence]", "  logits  float [batch, 2]", "a job can train it"]),
    );
    expect(lines.join("\n")).toMatch(/\+ embeddings\.weight +float \[225, 16\] {2}q 22, step 2\^-22/);
    expect(lines.join("\n")).toMatch(/memory of a worker +about [\d.]+ MB\na late joiner fetches +[\d.]+ kB/);
    const some = JSON.parse((await said("inspect", model, "--train", "classifier.*", "--json")).join("\n"));
    expect(some.totals).toMatchObject({ tensors: 4, trainedTensors: 2 });
  });

  it("of a model that no job could train says every reason, and exits with 1", async () => {
    const { model } = await writeTinyJob(dir, {
      change: (graph, hidden) => graph.node("Add", [hidden, graph.node("RandomNormal", [], { shape: [1] }, "noise")]),
    });
    const one = processes.start("coordinator", ["inspect", model]);
    expect(await one.ended).toEqual({ code: 1, signal: null });
    expect(one.lines.join("\n")).toMatch(/a job would be refused:\n {2}unsupported-node: .+"noise"/);
    expect(await refusalOf(processes.start("coordinator", ["inspect", join(dir, "none.onnx")]))).toMatch(/none\.onnx cannot be read/);
  });
});

describe("check", () => {
  it("tries a job and keeps nothing of it", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { heldoutRows: 10, trainRows: 12 });
    const before = readdirSync(join(dir, "job")).sort();
    const lines = (await said("check", job)).join("\n");
    expect(lines).toMatch(/trains {5}3,890 parameters in 4 tensors on 12 examples, 10 held out/);
    expect(lines).toMatch(/before {5}loss 0\.6931, score 0\.5000/);
    expect(lines).toMatch(/a step {5}every worker receives \d+ bytes/);
    expect(lines).toMatch(/warning {4}only 10 rows are held out/);
    expect(lines).toMatch(/warning {4}a batch is 16 examples and there are 12/);
    expect(readdirSync(join(dir, "job")).sort()).toEqual(before);
    const checked = JSON.parse((await said("check", job, "--json")).join("\n"));
    expect(checked).toMatchObject({ ok: true, parameters: 3890, trainRows: 12 });
  });

  it("says when all directions tie, and when an output holds probabilities", async () => {
    // Behind a head of zeros nothing that is trained makes a difference.
    const { job } = await writeTinyJob(join(dir, "tie"), {
      job: { measure: "accuracy", trained: { patterns: ["embeddings.*"] }, gains: [] },
    });
    expect((await said("check", job)).join("\n")).toMatch(/all directions gave the same accuracy/);
    const soft = await writeTinyJob(join(dir, "soft"), {
      change(graph, hidden) {
        graph.node("Exp", [graph.node("MatMul", [hidden, graph.parameter("other", [16, 2], new Float32Array(32))])], {}, "raised");
        graph.node("Div", ["raised", graph.node("ReduceSum", ["raised", graph.integers([1])])], {}, "shares");
        graph.output("shares", "float32", ["batch", 2]);
        return hidden;
      },
      job: { output: "shares", gains: [] },
    });
    expect((await said("check", soft.job)).join("\n")).toMatch(/the output holds probabilities, not logits/);
  });
});

describe("export", () => {
  it("gives the model back under its own names, with the replica's weights bit for bit and its answers", async () => {
    const job = await writeTinyJob(join(dir, "job"), { job: { steps: 8 } });
    const data = await trained(job);
    const [last, first] = [join(dir, "last.onnx"), join(dir, "first.onnx")];
    expect((await said("export", data, "--model", last)).join("\n")).toMatch(
      /^the model after 8 steps, state hash [0-9a-f]{64}: .+last\.onnx$/,
    );
    await said("export", data, "--model", first, "--at", "0");
    const bundle = join(dir, "bundle");
    await said("export", data, bundle);
    const manifest = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));
    const x = splitTensors(Uint8Array.from(readFileSync(join(bundle, "initial.bin"))), manifest.tensors).map((part) => part.slice());
    const initial = weightsOf(first);
    for (const [t, { name, q }] of manifest.tensors.entries()) expect(initial.get(name)).toEqual(fromLattice(x[t] as Int32Array, q));
    const lines = readFileSync(join(bundle, "ledger.jsonl"), "utf8").trim().split("\n");
    for (const line of lines.map((each) => JSON.parse(each)))
      if (line.groups !== undefined) commitPlain(x, manifest.tensors, manifest.key, line as Commit);
    const weights = weightsOf(last);
    for (const [t, { name, q }] of manifest.tensors.entries()) expect(weights.get(name)).toEqual(fromLattice(x[t] as Int32Array, q));

    // "weather3 kitchen1" as the tokenizer has it: [UNK] is 0, then 12 words of each class.
    const feeds = { input_ids: BigInt64Array.of(4n, 14n), attention_mask: BigInt64Array.of(1n, 1n) };
    const fed = Object.fromEntries(Object.entries(feeds).map(([name, values]) => [name, { shape: [1, 2], values }]));
    const { logits } = await runGraph(last, fed);
    const [weather, kitchen] = [...(logits?.values ?? [])].map(Number) as [number, number];
    const answer = JSON.parse((await said("classify", data, "weather3 kitchen1", "--json")).join("\n"));
    const probability = answer.classes.find(({ label }: { label: string }) => label === "weather").probability;
    expect(probability).toBeCloseTo(1 / (1 + Math.exp(kitchen - weather)), 6);
  });

  it("of the best state, or of one that never was, is what it says", async () => {
    const data = await trained(await writeTinyJob(join(dir, "job"), { job: { steps: 8, evaluateEvery: 2 } }));
    expect((await said("export", data, "--model", join(dir, "best.onnx"), "--at", "best")).join("\n")).toMatch(
      /^the model after [02468] steps/,
    );
    const refused = await refusalOf(processes.start("coordinator", ["export", data, "--model", join(dir, "x.onnx"), "--at", "9"]));
    expect(refused).toMatch(/--at 9: the ledger has 8 steps/);
    expect(existsSync(join(dir, "x.onnx"))).toBe(false);
    expect(await refusalOf(processes.start("coordinator", ["export", data, "--adapter", join(dir, "a")]))).toMatch(/trains no adapter/);
  });
});

describe("a worker", () => {
  it("does not run a launcher's program unless it is allowed", async () => {
    const program = join(dir, "reward.js");
    writeFileSync(program, "function reward({ scores, label }) { return scores[label]; }");
    const job = await writeTinyJob(join(dir, "job"), {
      job: { measure: "reward", reward: program, steps: 4, evaluateEvery: 2, epsilonLog2: -6 },
    });
    const coordinator = processes.start("coordinator", coordinatorArgs(job.job, join(dir, "data")));
    const address = await joinAddress(coordinator);
    expect(await refusalOf(processes.start("worker", workerArgs(address, join(dir, "one"))))).toMatch(
      /JavaScript of its launcher.+--allow-rewards/,
    );
    const willing = processes.start("worker", workerArgs(address, join(dir, "two"), ["--allow-rewards"]));
    for (const one of [willing, coordinator]) expect(await one.ended, one.lines.join("\n")).toEqual({ code: 0, signal: null });
    expect(coordinator.lines.join("\n")).toMatch(/held out after step 4: loss -[\d.]+, reward [\d.]+/);
  });
});
