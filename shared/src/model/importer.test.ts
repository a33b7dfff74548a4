import { describe, expect, it } from "vitest";
import { createGraph, type GraphBuilder } from "./graph.ts";
import { type ImportOptions, joinInitial, prepareModel } from "./importer.ts";
import { addObjective } from "./objective.ts";
import { readModel, writeModel } from "./onnx.ts";
import { refusalsOf } from "./refuse.ts";
import { insideSource } from "./tensor.ts";

const OPTIONS = { epsilonLog2: -10, gains: [] };

/** A classifier of the mean embedding: what the convention asks for, in its smallest form. */
function classifier(change: (graph: GraphBuilder) => void = () => {}, weights = Float32Array.of(0.5, -0.25, 1, 0.125)): Uint8Array {
  const graph = createGraph("classifier");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  graph.input("attention_mask", "int64", ["batch", "sequence"]);
  const embedded = graph.node("Gather", [graph.parameter("embeddings", [2, 2], weights), ids]);
  const mean = graph.node("ReduceMean", [embedded], { axes: [1], keepdims: 0 });
  graph.node("MatMul", [mean, graph.parameter("classifier.weight", [2, 2], new Float32Array(4))], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  change(graph);
  return writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" }));
}

/** The steps that a job takes. */
function imported(bytes: Uint8Array, options: Partial<ImportOptions> = {}) {
  const read = readModel(bytes);
  if (!read.ok) throw new Error(read.message);
  const [refusal] = refusalsOf(read.model);
  if (refusal !== undefined) return refusal;
  const lossy = addObjective(read.model, { kind: "classes", output: "logits" }, { generates: false });
  return lossy.ok ? prepareModel(lossy.model, insideSource, { ...OPTIONS, ...options }) : lossy;
}

describe("prepareModel", () => {
  it("gives the lifted graph, the tensors on their lattices and the initial state", () => {
    const prepared = imported(classifier(), { gains: [{ pattern: "classifier.*", gain: 5 }] });
    if (!prepared.ok) throw new Error(prepared.message);
    expect(prepared.tensors.map(({ name, shape, gain }) => ({ name, shape, gain }))).toEqual([
      { name: "embeddings", shape: [2, 2], gain: 0 },
      { name: "classifier.weight", shape: [2, 2], gain: 5 },
    ]);
    const x = new Int32Array(joinInitial(prepared.tensors, prepared.initial()).buffer);
    const unit = 2 ** (prepared.tensors[0]?.q ?? 0);
    expect([...x]).toEqual([0.5 * unit, -0.25 * unit, unit, 0.125 * unit, 0, 0, 0, 0]);
    const { input, output } = prepared.model.graph;
    expect(input.map(({ name }) => name)).toEqual(["input_ids", "attention_mask", "zoswarm/labels", "embeddings", "classifier.weight"]);
    expect(output.map(({ name }) => name)).toEqual(["zoswarm/loss", "zoswarm/scores"]);
  });

  it("freezes a tensor that is too large for a lattice, and says so", () => {
    const prepared = imported(classifier(undefined, Float32Array.of(1e9, 0, 0, 0)));
    expect(prepared).toMatchObject({ ok: true, tensors: [{ name: "classifier.weight" }] });
    expect(prepared.ok && prepared.frozen).toEqual([
      { name: "embeddings", reason: expect.stringContaining("reaches 1000000000, too large") },
    ]);
  });

  it("names the tensor and the element that is not finite", () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(imported(classifier(undefined, Float32Array.of(0, 0, value, 0)))).toMatchObject({
        ok: false,
        code: "weights-not-finite",
        message: expect.stringContaining(`"embeddings" has ${value} at element 2`),
      });
  });

  it("names the node that would make the loss random, inside bodies too", () => {
    const random = classifier((graph) => graph.node("RandomNormal", [], { shape: [2] }, "noise"));
    expect(imported(random)).toMatchObject({
      ok: false,
      code: "unsupported-node",
      message: expect.stringContaining('"noise" (RandomNormal)'),
    });
    const dropout = classifier((graph) => graph.node("Dropout", ["logits", "", "mode"], {}, "dropped"));
    expect(imported(dropout)).toMatchObject({ message: expect.stringContaining('"dropped" (Dropout) takes from "mode"') });
  });

  it("switches off what is only for training", () => {
    const dropout = classifier((graph) => {
      const mode = graph.parameter("mode", [], Uint8Array.of(1), "bool");
      graph.node("Dropout", ["logits", "", mode], {}, "dropped");
    });
    const prepared = imported(dropout);
    expect(prepared.ok && prepared.model.graph.node.map(({ opType }) => opType)).not.toContain("Dropout");
  });

  it("trains what the patterns name, and nothing else", () => {
    const prepared = imported(classifier(), { trained: ["classifier.*"] });
    expect(prepared).toMatchObject({
      ok: true,
      tensors: [{ name: "classifier.weight" }],
      frozen: [{ name: "embeddings", reason: "is not asked for by a pattern" }],
    });
    expect(prepared.ok && prepared.model.graph.initializer.map(({ name }) => name)).toEqual(["embeddings"]);
  });

  it("refuses gains that are out of range or that match nothing", () => {
    const withGain = (pattern: string, gain: number) => imported(classifier(), { gains: [{ pattern, gain }] });
    expect(withGain("*", 9)).toMatchObject({ ok: false, code: "gain-out-of-range", message: expect.stringContaining("is 9; it must be") });
    expect(withGain("clasifier.*", 5)).toMatchObject({
      ok: false,
      code: "gain-unused",
      message: expect.stringContaining('"embeddings", "classifier.weight"'),
    });
    expect(withGain("classifier?weight", 5)).toMatchObject({ ok: false, code: "gain-unused" });
  });

  it("refuses a model without float32 weights, with what it has instead", () => {
    const none = classifier(undefined, new Float32Array(4)).slice();
    expect(imported(none)).toMatchObject({ ok: true });
    const graph = createGraph("empty");
    for (const name of ["input_ids", "attention_mask"]) graph.input(name, "int64", ["batch", "sequence"]);
    graph.parameter("axes", [1], BigInt64Array.of(1n));
    const sum = graph.node("ReduceSum", [graph.node("Cast", ["input_ids"], { to: 1 }), "axes"]);
    graph.node("Concat", [sum, sum], { axis: 1 }, "logits");
    graph.output("logits", "float32", ["batch", 2]);
    expect(imported(writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" })))).toMatchObject({
      ok: false,
      code: "nothing-to-train",
      message: expect.stringContaining('"axes" is int64'),
    });
  });
});
