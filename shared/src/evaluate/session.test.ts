/** Against the real runtime: it reads theta where the kernel writes it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exampleOf } from "../data/examples.ts";
import { feedsOf } from "../data/feeds.ts";
import { createGraph } from "../model/graph.ts";
import { addObjective } from "../model/objective.ts";
import { writeModel } from "../model/onnx.ts";
import { createParameters, type Parameters } from "../zo/kernel.ts";
import { KEY, sameBits, scattered, tensor } from "../zo/sample.ts";
import { openModelSession } from "./session.ts";

const WIDTH = 64;

const dir = mkdtempSync(join(tmpdir(), "zoswarm-session-"));
const graphFile = join(dir, "graph.onnx");
/** logits = mean of the tokens' embeddings x head; both weights are inputs of the graph, as after lifting. */
beforeAll(() => {
  const graph = createGraph("classifier");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const embedded = graph.node("Gather", [graph.input("embeddings", "float32", ["words", WIDTH]), ids]);
  const mean = graph.node("ReduceMean", [embedded], { axes: [1], keepdims: 0 });
  graph.node("MatMul", [mean, graph.input("head", "float32", [WIDTH, 2])], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
  const withLoss = addObjective(model, { kind: "classes", output: "logits" }, { generates: false });
  if (!withLoss.ok) throw new Error(withLoss.message);
  writeFileSync(graphFile, writeModel(withLoss.model));
});
afterAll(() => rmSync(dir, { recursive: true }));

function parametersOf(words: number): Parameters {
  return createParameters(
    [
      { ...tensor([words, WIDTH]), name: "embeddings" },
      { ...tensor([WIDTH, 2]), name: "head" },
    ],
    KEY,
  );
}

const batch = feedsOf(
  [{ name: "input_ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } }],
  { labels: "classes", positions: false, targets: false },
  [exampleOf([0, 1, 2], { label: 0 }), exampleOf([3, 2, 1], { label: 1 })],
);

test("a changed weight changes the loss of the next forward pass, and the same weights give the same loss", async () => {
  const parameters = parametersOf(4);
  parameters.load(0, scattered(4 * WIDTH, 1, 2 ** 22));
  const session = await openModelSession(graphFile, parameters, 1);
  // A head of zeros: both classes are as likely.
  const first = await session.forward(batch);
  expect(first.losses).toEqual(Float32Array.of(Math.LN2, Math.LN2));
  expect(first.scores).toEqual(new Float32Array(4));
  const head = scattered(2 * WIDTH, 2, 2 ** 22);
  parameters.load(1, head);
  const changed = await session.forward(batch);
  expect(changed.losses).not.toEqual(first.losses);
  expect((await session.forward(batch)).losses).toEqual(changed.losses);

  const standing = [parameters.read(0), parameters.read(1)];
  const at = { step: 3, group: 0, m: 2, epsilonLog2: -10 };
  parameters.perturb({ ...at, moves: [{ k: 1, n: 1 }] });
  expect((await session.forward(batch)).losses).not.toEqual(changed.losses);
  parameters.perturb({ ...at, moves: [{ k: 1, n: -1 }] });
  expect((await session.forward(batch)).losses).toEqual(changed.losses);
  expect(sameBits([parameters.read(0), parameters.read(1)], standing)).toBe(true);
  await session.release();
});

test("a forward pass copies no weights: the process's peak memory hardly moves", async () => {
  const megabytes = 512;
  const parameters = parametersOf((megabytes * 2 ** 20) / (4 * WIDTH));
  const session = await openModelSession(graphFile, parameters, 1);
  const before = process.resourceUsage().maxRSS;
  await session.forward(batch);
  const grownMegabytes = (process.resourceUsage().maxRSS - before) / 1024;
  await session.release();
  expect(grownMegabytes).toBeLessThan(megabytes / 4);
});
