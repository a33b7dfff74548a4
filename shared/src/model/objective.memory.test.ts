/**
 * What the tokens' loss costs in memory beside the logits, in processes of its own: the highest resident size is Linux's to tell.
 * The plain graph makes the same logits and gives out one row of them, so that it does not copy them either.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createGraph, type Dimension } from "./graph.ts";
import { addObjective } from "./objective.ts";
import { type Model, writeModel } from "./onnx.ts";

const [BATCH, LENGTH, VOCABULARY] = [4, 256, 32_768];
const LOGITS_MIB = (BATCH * LENGTH * VOCABULARY * 4) / 2 ** 20;

const folder = mkdtempSync(join(tmpdir(), "zoswarm-peak-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** logits = rows of a table, of a graph whose batch and sequence vary or are fixed. */
function modelOf(type: "float32" | "float16", [b, s]: readonly [Dimension, Dimension], isPlain: boolean): Model {
  const graph = createGraph("model");
  const to = type === "float32" ? 1 : 10;
  const table = graph.node("Cast", [graph.parameter("table", [8, VOCABULARY], new Float32Array(8 * VOCABULARY).fill(0.5))], { to });
  graph.node("Gather", [table, graph.input("ids", "int64", [b, s])], {}, "logits");
  if (isPlain) graph.node("Cast", [graph.node("GatherND", ["logits", graph.integers([0, 0])])], { to: 1 }, "row");
  graph.output(isPlain ? "row" : "logits", isPlain ? "float32" : type, isPlain ? [VOCABULARY] : [b, s, VOCABULARY]);
  const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
  if (isPlain) return model;
  const result = addObjective(model, { kind: "tokens", output: "logits" }, { generates: true });
  if (!result.ok) throw new Error(result.message);
  return result.model;
}

const CHILD = `
import { readFileSync } from "node:fs";
import { runGraph } from ${JSON.stringify(new URL("../evaluate/run.testing.ts", import.meta.url).href)};
const [path, isPlain, times] = JSON.parse(process.argv[1]);
const int64 = (shape, of) => ({ shape, values: BigInt64Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => BigInt(of(i))) });
const shape = [${BATCH}, ${LENGTH}];
const labels = { "zoswarm/labels": int64(shape, (i) => i), "zoswarm/positions": int64([${BATCH}], (i) => i) };
await runGraph(readFileSync(path), { ids: int64(shape, (i) => i % 8), ...(isPlain ? {} : labels) }, times);
console.log(/VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
`;

/** MiB that a process which runs the model has been resident with at most. */
function peakOf(model: Model, isPlain: boolean, times: number): number {
  const path = join(folder, "model.onnx");
  writeFileSync(path, writeModel(model));
  const args = ["--input-type=module", "-e", CHILD, JSON.stringify([path, isPlain, times])];
  return Number(execFileSync(process.execPath, args, { encoding: "utf8" })) / 1024;
}

const isLinux = process.platform === "linux";
const skipped = isLinux ? "" : " (skipped: only Linux tells a process's highest resident size)";

test.skipIf(!isLinux).for([
  ["float32", ["batch", "sequence"], 1],
  ["float32", ["batch", "sequence"], 3],
  ["float32", [BATCH, LENGTH], 1],
  ["float16", ["batch", "sequence"], 1],
] as const)(`the tokens' loss takes at most half as much memory as the logits: %s %j, run %d times${skipped}`, ([type, sizes, times]) => {
  const [plain, whole] = [true, false].map((isPlain) => peakOf(modelOf(type, sizes, isPlain), isPlain, times)) as [number, number];
  const logits = type === "float32" ? LOGITS_MIB : LOGITS_MIB / 2;
  // The process did hold the logits, so it is their peak that is compared.
  expect(plain).toBeGreaterThan(logits);
  expect((whole - plain) / logits).toBeLessThanOrEqual(0.5);
});
