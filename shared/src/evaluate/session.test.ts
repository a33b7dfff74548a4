/** Against the real runtime: it reads theta where the kernel writes it. */
import { expect, test } from "vitest";
import { createGraph } from "../model/graph.ts";
import { addLoss } from "../model/loss.ts";
import { writeModel } from "../model/onnx.ts";
import { createParameters, type Parameters } from "../zo/kernel.ts";
import { KEY, sameBits, scattered, tensor } from "../zo/sample.ts";
import { meanOf, openModelSession, predictionsOf } from "./session.ts";

const WIDTH = 64;

/** logits = mean of the tokens' embeddings x head; both weights are inputs of the graph, as after lifting. */
function classifier(): Uint8Array {
  const graph = createGraph("classifier");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  graph.input("attention_mask", "int64", ["batch", "sequence"]);
  const embedded = graph.node("Gather", [graph.input("embeddings", "float32", ["words", WIDTH]), ids]);
  const mean = graph.node("ReduceMean", [embedded], { axes: [1], keepdims: 0 });
  graph.node("MatMul", [mean, graph.input("head", "float32", [WIDTH, 2])], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  const withLoss = addLoss(graph.model({ irVersion: 8, opset: 17, producer: "test" }), "logits");
  if (!withLoss.ok) throw new Error(withLoss.message);
  return writeModel(withLoss.model);
}

function parametersOf(words: number): Parameters {
  return createParameters(
    [
      { ...tensor([words, WIDTH]), name: "embeddings" },
      { ...tensor([WIDTH, 2]), name: "head" },
    ],
    KEY,
  );
}

const batch = {
  rows: 2,
  columns: 3,
  inputIds: BigInt64Array.of(0n, 1n, 2n, 3n, 2n, 1n),
  attentionMask: new BigInt64Array(6).fill(1n),
  labels: BigInt64Array.of(0n, 1n),
};

test("a changed weight changes the loss of the next forward pass, and the same weights give the same loss", async () => {
  const parameters = parametersOf(4);
  parameters.load(0, scattered(4 * WIDTH, 1, 2 ** 22));
  const session = await openModelSession(classifier(), parameters, 1);
  // A head of zeros: both classes are as likely, and the lower one wins the tie.
  const first = await session.forward(batch);
  expect(first.losses).toEqual(Float32Array.of(Math.LN2, Math.LN2));
  expect(predictionsOf(first)).toEqual([0, 0]);
  const head = scattered(2 * WIDTH, 2, 2 ** 22);
  parameters.load(1, head);
  const changed = await session.forward(batch);
  expect(meanOf(changed.losses)).not.toBe(meanOf(first.losses));
  expect((await session.forward(batch)).losses).toEqual(changed.losses);

  const standing = [parameters.read(0), parameters.read(1)];
  const at = { step: 3, group: 0, m: 2, epsilonLog2: -10 };
  parameters.perturb({ ...at, moves: [{ k: 1, n: 1 }] });
  expect(meanOf((await session.forward(batch)).losses)).not.toBe(meanOf(changed.losses));
  parameters.perturb({ ...at, moves: [{ k: 1, n: -1 }] });
  expect((await session.forward(batch)).losses).toEqual(changed.losses);
  expect(sameBits([parameters.read(0), parameters.read(1)], standing)).toBe(true);
  await session.release();
});

test("a forward pass copies no weights: the process's peak memory hardly moves", async () => {
  const megabytes = 512;
  const parameters = parametersOf((megabytes * 2 ** 20) / (4 * WIDTH));
  const session = await openModelSession(classifier(), parameters, 1);
  const before = process.resourceUsage().maxRSS;
  await session.forward(batch);
  const grownMegabytes = (process.resourceUsage().maxRSS - before) / 1024;
  await session.release();
  expect(grownMegabytes).toBeLessThan(megabytes / 4);
});

test("a loss that is not finite has no mean", () => {
  expect(meanOf(Float32Array.of(1, 2, 6))).toBe(3);
  expect(meanOf(Float32Array.of(1, Number.NaN))).toBeNull();
  expect(meanOf(Float32Array.of(1, Number.POSITIVE_INFINITY))).toBeNull();
});
