/** Against the real runtime, in float64 computed here beside it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Fed, runGraph } from "../evaluate/run.testing.ts";
import { runs, scattered } from "../zo/sample.ts";
import { createGraph, type ElementType } from "./graph.ts";
import { type HalfType, narrow, widen } from "./half.ts";
import { type Form, modelOf } from "./objective.testing.ts";
import { addObjective, type GraphObjective } from "./objective.ts";
import { type Model, writeModel } from "./onnx.ts";

function added(model: Model, objective: GraphObjective, generates = false): Model {
  const result = addObjective(model, objective, { generates });
  if (!result.ok) throw new Error(result.message);
  return result.model;
}

const floats = (shape: readonly number[], values: Iterable<number>): Fed => ({ shape, values: Float32Array.from(values) });
const ints = (shape: readonly number[], values: Iterable<number>): Fed => ({ shape, values: BigInt64Array.from([...values].map(BigInt)) });
const numbers = (fed: Fed | undefined) => Array.from(fed?.values ?? [], Number);
const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
/** Reproducible float32 values within +-bound. */
const drawn = (shape: readonly number[], bound: number, salt = 0) =>
  floats(
    shape,
    [...scattered(sizeOf(shape), salt, 2 ** 20)].map((value) => (value / 2 ** 20) * bound),
  );

/** -log softmax(row)[label], or 0 for a label below 0. */
function crossEntropyOf(row: readonly number[], label: number): number {
  if (label < 0) return 0;
  const most = Math.max(...row);
  return most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0)) - (row[label] as number);
}

function rowsOf(values: readonly number[], width: number): number[][] {
  return Array.from({ length: values.length / width }, (_, i) => values.slice(i * width, (i + 1) * width));
}

const bestOf = (row: readonly number[]) => row.indexOf(Math.max(...row));

function expectClose(got: readonly number[], expected: readonly number[], scale: number): void {
  expect(got.length).toBe(expected.length);
  got.forEach((value, i) => {
    expect(Math.abs(value - (expected[i] as number)), `${value} for ${expected[i]} at ${i}`).toBeLessThanOrEqual(1e-6 * (1 + scale));
  });
}

const SCALES = [0, 1, 30, 1e4, 1e38];

describe("classes", () => {
  it("gives cross-entropies and scores for any form of the logits", async () => {
    for (const form of [(c: number) => [c], (c: number) => [1, c], (c: number) => [c, 1, 1]])
      for (const declared of [["batch", ...form(3)], null])
        for (const scale of SCALES) {
          const logits = drawn([4, ...form(3)], scale, scale);
          const model = added(modelOf(["batch", ...form(3)], { declared }), { kind: "classes", output: "out" });
          const out = await runGraph(writeModel(model), { x: logits, "zoswarm/labels": ints([4], [2, 0, 1, 1]) });
          expect(Object.keys(out)).toEqual(["zoswarm/loss", "zoswarm/scores"]);
          expect(out["zoswarm/scores"]).toEqual({ shape: [4, 3], values: logits.values });
          expect(out["zoswarm/loss"]?.shape).toEqual([4]);
          const expected = rowsOf(numbers(logits), 3).map((row, i) => crossEntropyOf(row, [2, 0, 1, 1][i] as number));
          expectClose(numbers(out["zoswarm/loss"]), expected, scale);
        }
  });

  it("takes one score for that of class 1, beside 0, and the logits before a sigmoid", async () => {
    for (const shape of [[3], [3, 1]])
      for (const [isSigmoid, isDeclared] of [
        [false, true],
        [true, true],
        [true, false],
      ]) {
        const graph = createGraph("binary");
        const x = graph.input("x", "float32", ["batch", 1]);
        const logits = graph.node("Identity", [x]);
        const score = isSigmoid ? graph.node("Sigmoid", [logits]) : logits;
        graph.node("Reshape", [score, graph.integers(shape.length === 1 ? [-1] : [-1, 1])], {}, "out");
        graph.output("out", "float32", ["batch", ...(isDeclared ? shape.slice(1) : shape.slice(1).map(() => "scores"))]);
        const model = added(graph.model({ irVersion: 8, opset: 17, producer: "test" }), { kind: "classes", output: "out" });
        const out = await runGraph(writeModel(model), { x: floats([3, 1], [-2, 0, 3]), "zoswarm/labels": ints([3], [0, 1, 1]) });
        expect(numbers(out["zoswarm/scores"])).toEqual([0, -2, 0, 0, 0, 3]);
        const expected = [-2, 0, 3].map((value, i) => crossEntropyOf([0, value], [0, 1, 1][i] as number));
        expectClose(numbers(out["zoswarm/loss"]), expected, 1);
      }
  });

  it("takes one example, does not count labels below 0, and fails for labels that are too large or too few", async () => {
    const graph = writeModel(added(modelOf(["batch", 3]), { kind: "classes", output: "out" }));
    const run = (labels: number[], rows = labels.length) =>
      runGraph(graph, { x: drawn([rows, 3], 2), "zoswarm/labels": ints([labels.length], labels) });
    expect(numbers((await run([1]))["zoswarm/loss"])[0]).toBeGreaterThan(0);
    const [first, second] = numbers((await run([-1, 1]))["zoswarm/loss"]);
    expect(Object.is(first, 0) && second).toBeGreaterThan(0);
    expect(numbers((await run([-1, -100]))["zoswarm/loss"])).toEqual([0, 0]);
    await expect(run([0, 3])).rejects.toThrow("Out of range");
    await expect(run([0], 2)).rejects.toThrow("reshape");
  });
});

describe("words", () => {
  it("scores the words at each example's position, and gives the next token of all", async () => {
    for (const type of ["float32", "float16"] as const) {
      const logits = drawn([3, 2, 5], 4);
      const model = added(modelOf(["batch", "sequence", 5], { type }), { kind: "words", output: "out", words: [4, 1] }, true);
      const feeds = { x: logits, "zoswarm/labels": ints([3], [0, 1, 1]), "zoswarm/positions": ints([3], [1, 0, 1]) };
      const out = await runGraph(writeModel(model), feeds);
      const exact = type === "float16" ? [...widen(narrow(logits.values as Float32Array, type), type)] : numbers(logits);
      const rows = [1, 0, 1].map((position, i) => rowsOf(exact, 5)[2 * i + position] as number[]);
      const scores = rows.map((row) => [row[4] as number, row[1] as number]);
      expect(out["zoswarm/scores"]).toEqual(floats([3, 2], scores.flat()));
      expectClose(
        numbers(out["zoswarm/loss"]),
        scores.map((row, i) => crossEntropyOf(row, [0, 1, 1][i] as number)),
        4,
      );
      expect(out["zoswarm/next"]).toEqual(ints([3], rows.map(bestOf)));
      // Beyond the sequence, but within the batch: no other example is read.
      await expect(runGraph(writeModel(model), { ...feeds, "zoswarm/positions": ints([3], [1, 2, 1]) })).rejects.toThrow("invalid index");
    }
  });
});

describe("tokens", () => {
  const run = async (type: ElementType, [b, s, v]: readonly [number, number, number], logits: Fed, labels: number[], form: Form = {}) => {
    const model = added(modelOf(["batch", "sequence", v], { ...form, type }), { kind: "tokens", output: "out" }, true);
    const positions = Array.from({ length: b }, (_, i) => i % s);
    const out = await runGraph(writeModel(model), {
      x: logits,
      "zoswarm/labels": ints([b, s], labels),
      "zoswarm/positions": ints([b], positions),
    });
    const half = type as HalfType;
    const exact = type === "float32" ? numbers(logits) : [...widen(narrow(logits.values as Float32Array, half), half)];
    const rows = rowsOf(exact, v);
    const losses = numbers(out["zoswarm/loss"]);
    expectClose(
      losses,
      rows.map((row, i) => crossEntropyOf(row, labels[i] as number)),
      Math.max(...exact.map(Math.abs)),
    );
    expect(losses.every((loss, i) => (labels[i] as number) >= 0 || Object.is(loss, 0))).toBe(true);
    expect(out["zoswarm/predicted"]).toEqual(ints([b, s], rows.map(bestOf)));
    expect(out["zoswarm/next"]).toEqual(
      ints(
        [b],
        positions.map((position, i) => bestOf(rows[i * s + position] as number[])),
      ),
    );
    expect(Object.keys(out)).toEqual(["zoswarm/loss", "zoswarm/predicted", "zoswarm/next"]);
  };

  it("gives each token's cross-entropy and the likeliest one, for all shapes and scales", async () => {
    const shape = fc.record({ b: fc.integer({ min: 1, max: 4 }), s: fc.integer({ min: 1, max: 12 }), v: fc.integer({ min: 2, max: 9 }) });
    const property = fc.asyncProperty(
      shape,
      fc.constantFrom(...SCALES),
      fc.nat(999),
      fc.constantFrom(0, 2, 9),
      async ({ b, s, v }, scale, salt, masked) => {
        const labels = [...scattered(b * s, salt, 10)].map((value, i) => (i % 10 < masked ? -1 : Math.abs(value) % v));
        await run("float32", [b, s, v], drawn([b, s, v], scale, salt), labels);
      },
    );
    await fc.assert(property, runs(60));
  });

  it("casts 16-bit logits first, and those of which no type is known", async () => {
    const labels = [...scattered(33, 5, 6)].map((value) => Math.max(value, -1));
    for (const type of ["float16", "bfloat16"] as const) await run(type, [3, 11, 7], drawn([3, 11, 7], 5), labels);
    await run("float32", [3, 11, 7], drawn([3, 11, 7], 5), labels, { declared: null });
  });

  it("is exactly 0 where nothing counts, even beside logits that are not finite", async () => {
    const logits = floats([1, 2, 2], [Number.NaN, 1, Number.POSITIVE_INFINITY, 1]);
    const out = await runGraph(writeModel(added(modelOf(["batch", "sequence", 2]), { kind: "tokens", output: "out" })), {
      x: logits,
      "zoswarm/labels": ints([1, 2], [-1, -100]),
    });
    expect(out["zoswarm/loss"]).toEqual(floats([2], [0, 0]));
  });

  it("is the same in every opset, and in graphs of fixed shapes", async () => {
    for (const opset of [11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23])
      for (const type of ["float32", "float16"] as const) await run(type, [2, 3, 4], drawn([2, 3, 4], 5), [0, 3, -1, 2, 1, -1], { opset });
    const model = added(modelOf([2, 3, 4]), { kind: "tokens", output: "out" });
    const out = await runGraph(writeModel(model), { x: drawn([2, 3, 4], 0), "zoswarm/labels": ints([2, 3], [0, 3, -1, 2, 1, -1]) });
    expectClose(
      numbers(out["zoswarm/loss"]),
      [1, 1, 0, 1, 1, 0].map((counts) => counts * Math.log(4)),
      1,
    );
  });
});

describe("values", () => {
  it("gives squares of differences, and the values as scores", async () => {
    for (const form of [[], [1]])
      for (const rows of [1, 3]) {
        const values = drawn([rows, ...form], 3);
        const model = added(modelOf(["batch", ...form], { type: "float16" }), { kind: "values", output: "out" });
        const targets = drawn([rows], 3, 1);
        const out = await runGraph(writeModel(model), { x: values, "zoswarm/targets": targets });
        const exact = widen(narrow(values.values as Float32Array, "float16"), "float16");
        expect(out["zoswarm/scores"]).toEqual(floats([rows], exact));
        expectClose(
          numbers(out["zoswarm/loss"]),
          [...exact].map((value, i) => (value - Number(targets.values[i])) ** 2),
          30,
        );
      }
    const unsaid = writeModel(added(modelOf(["batch", "values"]), { kind: "values", output: "out" }));
    await expect(runGraph(unsaid, { x: drawn([1, 2], 1), "zoswarm/targets": drawn([1], 1) })).rejects.toThrow("reshape");
  });
});

describe("none", () => {
  it("gives the output as float32, or only the next tokens where it generates", async () => {
    for (const type of ["float32", "float16"] as const)
      for (const declared of [["a", "b"], null]) {
        const model = added(modelOf(["a", "b"], { type, declared }), { kind: "none", output: "out" });
        expect(await runGraph(writeModel(model), { x: floats([1, 2], [1, 2]) })).toEqual({ "zoswarm/scores": floats([1, 2], [1, 2]) });
      }
    const model = added(modelOf(["batch", "sequence", 3]), { kind: "none", output: "out" }, true);
    const feeds = { x: floats([2, 1, 3], [1, 3, 3, 2, 1, 0]), "zoswarm/positions": ints([2], [0, 0]) };
    expect(await runGraph(writeModel(model), feeds)).toEqual({ "zoswarm/next": ints([2], [1, 0]) });
  });
});

describe("addObjective", () => {
  it("leaves the model that it is given as it was, and gives equal bytes for equal calls", () => {
    const model = modelOf(["batch", "sequence", 3]);
    const before = writeModel(model);
    const objective = { kind: "tokens", output: "out" } as const;
    expect(writeModel(added(model, objective, true))).toEqual(writeModel(added(model, objective, true)));
    expect(writeModel(model)).toEqual(before);
  });
});
