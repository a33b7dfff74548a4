/** Against the real runtime: what a forward pass is worth, by every kind of objective and every measure. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Example, exampleOf } from "../data/examples.ts";
import { createGraph } from "../model/graph.ts";
import { addObjective, type GraphObjective } from "../model/objective.ts";
import { writeModel } from "../model/onnx.ts";
import type { Objective } from "../protocol/manifest.ts";
import { createParameters } from "../zo/kernel.ts";
import { KEY } from "../zo/sample.ts";
import { createJudge, firstLargest, type Judge } from "./judge.ts";
import { loadReward } from "./reward.ts";
import { type ModelSession, openModelSession } from "./session.ts";

const Q = 20;
const dir = mkdtempSync(join(tmpdir(), "zoswarm-judge-"));
const sessions: ModelSession[] = [];
afterAll(async () => {
  for (const session of sessions) await session.release();
  rmSync(dir, { recursive: true });
});

interface Net {
  /** The row of a token is what the model says behind it: a score of each class, or of each next token. */
  table: readonly (readonly number[])[];
  words?: readonly number[];
  /** The output times this, twice: 1e38 makes it infinite. */
  times?: number;
  reward?: string;
}

/** A judge over output = table[input_ids], of one row an example for classes and values, and of one row a token else. */
async function judgeOf(over: Partial<Objective>, { table, words = [], times = 1, reward }: Net): Promise<Judge & { passes(): number }> {
  const objective: Objective = {
    ...{ kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null },
    ...over,
  };
  const { kind } = objective;
  const shape = [table.length, table[0]?.length ?? 0];
  const graph = createGraph("table");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const rows = graph.node("Gather", [graph.input("table", "float32", shape), ids]);
  const pooled = kind === "classes" || kind === "values" ? graph.node("ReduceMean", [rows], { axes: [1], keepdims: 0 }) : rows;
  const factor = graph.floats([times]);
  graph.node("Mul", [graph.node("Mul", [pooled, factor]), factor], {}, "out");
  graph.output("out", "float32", [...(pooled === rows ? ["batch", "sequence"] : ["batch"]), shape[1] as number]);
  const asked = (kind === "words" ? { kind, output: "out", words } : { kind, output: "out" }) as GraphObjective;
  const lossy = addObjective(graph.model({ irVersion: 8, opset: 17, producer: "test" }), asked, { generates: objective.generate > 0 });
  if (!lossy.ok) throw new Error(lossy.message);
  const file = join(dir, `${sessions.length}.onnx`);
  writeFileSync(file, writeModel(lossy.model));
  const parameters = createParameters([{ name: "table", shape, q: Q, gain: 0 }], KEY);
  parameters.load(
    0,
    Int32Array.from(table.flat(), (value) => value * 2 ** Q),
  );
  const session = await openModelSession(file, parameters, 1);
  sessions.push(session);
  const loaded = reward === undefined ? null : await loadReward(reward);
  if (loaded?.ok === false) throw new Error(loaded.message);
  let passes = 0;
  const judge = createJudge({
    session,
    inputs: [{ name: "input_ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } }],
    objective,
    decode: (tokens) => tokens.map((token) => "abcdefgh"[token]).join(""),
    reward: loaded?.reward ?? null,
    async pause() {
      passes++;
    },
  });
  return { ...judge, passes: () => passes };
}

/** Tokens 1, 2, 3, 0 follow each other; 4 follows itself. */
const CHAIN = [1, 2, 3, 0, 4].map((next) => Array.from({ length: 5 }, (_, i) => (i === next ? 2 : 0)));
const zeros = (rows: number, columns: number) => Array.from({ length: rows }, () => new Array<number>(columns).fill(0));
const labelled = (...pairs: [token: number, label: number][]) => pairs.map(([token, label]) => exampleOf([token], { label }));

describe("classes", () => {
  const table = [
    [2, 0, 0],
    [0, 2, 0],
    [0, 0, 2],
  ];
  const batch = labelled([0, 0], [1, 1], [2, 1], [2, 2]);

  it("are worth their cross-entropy, summed in float64 over all batches, and scored by what is largest", async () => {
    const judge = await judgeOf({ classes: 3 }, { table });
    const right = Math.log(Math.exp(2) + 2) - 2;
    const observed = [await judge.observe(batch.slice(0, 1)), await judge.observe(batch.slice(1))];
    expect(judge.lossOf(observed)).toBeCloseTo((4 * right + 2) / 4, 6);
    expect(judge.scoreOf(observed)).toBe(0.75);
    expect(observed.flatMap(({ scores }) => scores)).toEqual([table[0], table[1], table[2], table[2]]);
    expect([observed.map(({ forwards }) => forwards), judge.passes()]).toEqual([[1, 1], 2]);
  });

  it("are measured by accuracy and F1 too, less being better", async () => {
    const accuracy = await judgeOf({ classes: 3, measure: "accuracy" }, { table });
    expect(accuracy.lossOf([await accuracy.observe(batch)])).toBe(0.25);
    const f1 = await judgeOf({ classes: 3, measure: "f1", metric: "f1" }, { table });
    const observed = [await f1.observe(batch)];
    expect(f1.scoreOf(observed)).toBeCloseTo((1 + 2 / 3 + 2 / 3) / 3, 12);
    expect(f1.lossOf(observed)).toBeCloseTo(1 - f1.scoreOf(observed), 12);
  });

  it("that tie are the lowest one, so that directions which tie are worth the same", async () => {
    const judge = await judgeOf({ measure: "accuracy" }, { table: zeros(2, 2) });
    const losses = [
      judge.lossOf([await judge.observe(labelled([0, 0], [1, 1]))]),
      judge.lossOf([await judge.observe(labelled([1, 0], [0, 1]))]),
    ];
    expect(losses).toEqual([0.5, 0.5]);
    expect([firstLargest([1, 3, 3]), firstLargest([0, 0]), firstLargest([Number.NaN, Number.NaN])]).toEqual([1, 0, 0]);
  });

  it("give no loss, and never NaN, where the model has overflowed", async () => {
    const blown = { table, times: 1e38 };
    const judge = await judgeOf({ classes: 3 }, blown);
    expect(judge.lossOf([await judge.observe(batch)])).toBeNull();
    for (const measure of ["accuracy", "f1"] as const) {
      const other = await judgeOf({ classes: 3, measure, metric: measure }, blown);
      expect(other.lossOf([await other.observe(batch)])).toBeGreaterThanOrEqual(0);
    }
  });
});

describe("words", () => {
  it("are scored at each example's position, in rows of different lengths", async () => {
    const judge = await judgeOf({ kind: "words" }, { table: CHAIN, words: [3, 4] });
    const batch = [exampleOf([0, 1, 2], { label: 0 }), exampleOf([4], { label: 1 }), exampleOf([0, 4, 1], { label: 1, position: 1 })];
    const observed = [await judge.observe(batch)];
    expect(observed[0]?.scores).toEqual([
      [2, 0],
      [0, 2],
      [0, 2],
    ]);
    expect(judge.lossOf(observed)).toBeCloseTo(Math.log(Math.exp(2) + 1) - 2, 6);
    expect(judge.scoreOf(observed)).toBe(1);
  });
});

describe("tokens", () => {
  const batch = [exampleOf([1, 2, 3, 1]), exampleOf([4, 4], { from: 1 }), exampleOf([0, 0, 2, 3], { from: 3 })];

  it("count from where an example says, padding never", async () => {
    const judge = await judgeOf({ kind: "tokens", metric: "perplexity", classes: 0 }, { table: zeros(5, 5) });
    const observed = [await judge.observe(batch)];
    expect(observed[0]?.lossCount).toBe(3 + 1 + 1);
    expect(judge.lossOf(observed)).toBeCloseTo(Math.log(5), 6);
    expect(judge.scoreOf(observed)).toBeCloseTo(5, 5);
  });

  it("are right where the likeliest one follows", async () => {
    const judge = await judgeOf({ kind: "tokens", classes: 0 }, { table: CHAIN });
    const observed = await judge.observe(batch);
    expect(observed.truth).toEqual([2, 3, 1, 4, 3]);
    expect(observed.predicted).toEqual([2, 3, 0, 4, 3]);
    expect(judge.scoreOf([observed])).toBe(0.8);
  });

  it("give no loss, and a perplexity that is no number, where the model has overflowed", async () => {
    const judge = await judgeOf({ kind: "tokens", metric: "perplexity", classes: 0 }, { table: CHAIN, times: 1e38 });
    const observed = [await judge.observe(batch)];
    expect(judge.lossOf(observed)).toBeNull();
    expect(judge.scoreOf(observed)).toBeNaN();
  });
});

describe("values", () => {
  const batch = [exampleOf([0], { value: 2 }), exampleOf([1], { value: -0.5 })];

  it("are worth their squared distance", async () => {
    const judge = await judgeOf({ kind: "values", metric: "mean-squared-error", classes: 0 }, { table: [[1.5], [0.5]] });
    const observed = [await judge.observe(batch)];
    expect(observed[0]?.scores).toEqual([[1.5], [0.5]]);
    expect([judge.lossOf(observed), judge.scoreOf(observed)]).toEqual([0.625, 0.625]);
  });

  it("that overflow give no loss", async () => {
    const judge = await judgeOf({ kind: "values", metric: "mean-squared-error", classes: 0 }, { table: [[1.5], [0.5]], times: 1e38 });
    expect(judge.lossOf([await judge.observe(batch)])).toBeNull();
  });
});

describe("generated text", () => {
  const none = { kind: "none", measure: "exact-match", metric: "exact-match", classes: 0, generate: 4, stop: 0 } as const;
  const batch = [exampleOf([1]), exampleOf([4, 4, 2]), exampleOf([0, 4]), exampleOf([1, 3])];

  it("ends at the stop token, which is left out, or at the limit; rows of different lengths go on by themselves", async () => {
    const judge = await judgeOf(none, { table: CHAIN });
    expect(await judge.generate(batch)).toEqual([[2, 3], [3], [4, 4, 4, 4], []]);
    expect(await judge.generate(batch.slice(2, 3))).toEqual([[4, 4, 4, 4]]);
    const endless = await judgeOf({ ...none, stop: null, generate: 5 }, { table: CHAIN });
    expect(await endless.generate(batch.slice(0, 1))).toEqual([[2, 3, 0, 1, 2]]);
  });

  it("needs no more passes than its longest row", async () => {
    const judge = await judgeOf(none, { table: CHAIN });
    await judge.generate(batch.slice(0, 2));
    expect(judge.passes()).toBe(3);
  });

  it("begins behind the prompt, whatever answer follows it", async () => {
    const both = { ...none, kind: "tokens", measure: "loss" } as const;
    const judge = await judgeOf(both, { table: CHAIN });
    const answered = exampleOf([4, 1, 4, 4], { position: 1, from: 2, extra: '{"target":"cd"}' });
    expect(await judge.generate([answered])).toEqual([[2, 3]]);
    const observed = [await judge.observe([answered])];
    expect(observed[0]).toMatchObject({ lossCount: 2, generated: ["cd"], targets: ["cd"] });
    expect(judge.scoreOf(observed)).toBe(1);
  });

  it("is compared with the target, up to white space", async () => {
    const judge = await judgeOf(none, { table: CHAIN });
    const targets: Example[] = ["cd", " d\n", "eee", ""].map((target, i) => ({
      ...(batch[i] as Example),
      extra: JSON.stringify({ target }),
    }));
    const observed = [await judge.observe(targets)];
    expect(observed[0]?.generated).toEqual(["cd", "d", "eeee", ""]);
    expect([judge.scoreOf(observed), judge.lossOf(observed)]).toEqual([0.75, 0.25]);
  });
});

describe("rewards", () => {
  const asked = { measure: "reward", metric: "reward", reward: "given" } as const;

  it("see the generated text and the row; their mean is raised", async () => {
    const reward = "function reward({ generated, text, row }) { return generated.length * row.weight + (text === 'b' ? 1 : 0) }";
    const judge = await judgeOf({ ...asked, kind: "none", classes: 0, generate: 4, stop: 0 }, { table: CHAIN, reward });
    const extra = (text: string, weight: number) => JSON.stringify({ text, row: { weight } });
    const observed = [await judge.observe([exampleOf([1], { extra: extra("b", 2) }), exampleOf([4], { extra: extra("e", 0.5) })])];
    expect([judge.scoreOf(observed), judge.lossOf(observed)]).toEqual([(5 + 2) / 2, -3.5]);
  });

  it("see scores, label and value of a classifier", async () => {
    const reward = "function reward({ scores, label, value }) { return label === undefined ? -1 : scores[label] + value }";
    const judge = await judgeOf({ ...asked }, { table: [[3, 1]], reward });
    const observed = [await judge.observe([exampleOf([0], { label: 0, value: 0.5 }), exampleOf([0], { label: 1 }), exampleOf([0])])];
    expect(judge.scoreOf(observed)).toBeCloseTo((3.5 + 1 - 1) / 3, 12);
  });

  it("that are no number end the measurement with the reason", async () => {
    const judge = await judgeOf({ ...asked }, { table: [[3, 1]], reward: "function reward() { return NaN }" });
    await expect(judge.observe([exampleOf([0])])).rejects.toThrow("the reward: reward(example) returned NaN");
  });
});
