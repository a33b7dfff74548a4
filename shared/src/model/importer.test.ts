import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exportModel } from "./exporter.ts";
import { createGraph, type GraphBuilder } from "./graph.ts";
import { importModel } from "./importer.ts";
import { floatsOf, readModel, writeModel } from "./onnx.ts";

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

describe("importModel", () => {
  it("gives the lifted graph, the tensors on their lattices and the initial state", () => {
    const imported = importModel(classifier(), { epsilonLog2: -10, gains: [{ pattern: "classifier.*", gain: 5 }] });
    if (!imported.ok) throw new Error(imported.message);
    expect(imported.tensors.map(({ name, shape, gain }) => ({ name, shape, gain }))).toEqual([
      { name: "embeddings", shape: [2, 2], gain: 0 },
      { name: "classifier.weight", shape: [2, 2], gain: 5 },
    ]);
    expect(imported.classes).toBe(2);
    const x = new Int32Array(imported.initial.buffer);
    const unit = 2 ** (imported.tensors[0]?.q ?? 0);
    expect([...x]).toEqual([0.5 * unit, -0.25 * unit, unit, 0.125 * unit, 0, 0, 0, 0]);
    const graph = readModel(imported.graph);
    expect(graph.ok && graph.model.graph.input.map(({ name }) => name)).toEqual([
      "input_ids",
      "attention_mask",
      "embeddings",
      "classifier.weight",
      "labels",
    ]);
    expect(graph.ok && graph.model.graph.output.map(({ name }) => name)).toEqual(["logits", "loss"]);
  });

  it("freezes a tensor that is too large for a lattice, and says so", () => {
    const imported = importModel(classifier(undefined, Float32Array.of(1e9, 0, 0, 0)), OPTIONS);
    expect(imported).toMatchObject({ ok: true, tensors: [{ name: "classifier.weight" }] });
    expect(imported.ok && imported.frozen).toEqual([
      { name: "embeddings", reason: expect.stringContaining("reaches 1000000000, too large") },
    ]);
  });

  it("names the tensor and the element that is not finite", () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(importModel(classifier(undefined, Float32Array.of(0, 0, value, 0)), OPTIONS)).toMatchObject({
        ok: false,
        code: "weights-not-finite",
        message: expect.stringContaining(`"embeddings" has ${value} at element 2`),
      });
  });

  it("names the node that would make the loss random, inside bodies too", () => {
    const random = classifier((graph) => graph.node("RandomNormal", [], { shape: [2] }, "noise"));
    expect(importModel(random, OPTIONS)).toMatchObject({
      ok: false,
      code: "unsupported-node",
      message: expect.stringContaining('"noise" (RandomNormal)'),
    });
    const dropout = classifier((graph) => graph.node("Dropout", ["logits", "", "mode"], {}, "dropped"));
    expect(importModel(dropout, OPTIONS)).toMatchObject({ message: expect.stringContaining('"dropped" (Dropout) may drop values') });
    const idle = classifier((graph) => graph.node("Dropout", ["logits"], {}, "dropped"));
    expect(importModel(idle, OPTIONS)).toMatchObject({ ok: true });
  });

  it("shows a wrong signature beside the right one", () => {
    const extra = classifier((graph) => graph.input("token_type_ids", "int64", ["batch", "sequence"]));
    expect(importModel(extra, OPTIONS)).toMatchObject({
      ok: false,
      code: "unsupported-signature",
      message: expect.stringMatching(/"token_type_ids".*needs exactly the inputs "input_ids", "attention_mask"/),
    });
  });

  it("refuses gains that are out of range or that match nothing", () => {
    const withGain = (pattern: string, gain: number) => importModel(classifier(), { epsilonLog2: -10, gains: [{ pattern, gain }] });
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
    expect(importModel(none, OPTIONS)).toMatchObject({ ok: true });
    const graph = createGraph("empty");
    for (const name of ["input_ids", "attention_mask"]) graph.input(name, "int64", ["batch", "sequence"]);
    graph.parameter("axes", [1], BigInt64Array.of(1n));
    graph.node("Cast", ["input_ids"], { to: 1 }, "logits");
    graph.output("logits", "float32", ["batch", 2]);
    expect(importModel(writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" })), OPTIONS)).toMatchObject({
      ok: false,
      code: "nothing-to-train",
      message: expect.stringContaining('"axes" is int64'),
    });
  });
});

describe("exportModel", () => {
  it("returns the original where nothing was trained, and theta bit for bit where it was", () => {
    const original = classifier();
    const imported = importModel(original, OPTIONS);
    if (!imported.ok) throw new Error(imported.message);
    const { tensors, initial } = imported;
    const start = new Int32Array(initial.buffer);
    expect(exportModel(original, tensors, [start.slice(0, 4), start.slice(4)])).toEqual(original);
    const LIM = 2 ** 24 - 2 ** 22;
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -LIM, max: LIM }), { minLength: 8, maxLength: 8 }), (x) => {
        const exported = readModel(exportModel(original, tensors, [Int32Array.from(x.slice(0, 4)), Int32Array.from(x.slice(4))]));
        if (!exported.ok) throw new Error(exported.message);
        const weights = exported.model.graph.initializer.flatMap((tensor, t) => {
          const floats = floatsOf(tensor);
          return floats.ok ? [...floats.values].map((value) => value * 2 ** (tensors[t]?.q ?? 0)) : [];
        });
        expect(weights.map((value) => value + 0)).toEqual(x.map((value) => value + 0));
      }),
    );
  });

  it("takes no other model for the one that was trained", () => {
    const imported = importModel(classifier(), OPTIONS);
    if (!imported.ok) throw new Error(imported.message);
    const renamed = imported.tensors.map((tensor) => ({ ...tensor, name: `${tensor.name}.old` }));
    const x = [new Int32Array(4), new Int32Array(4)];
    expect(() => exportModel(classifier(), renamed, x)).toThrow('"embeddings.old" is not in this file');
    const reshaped = imported.tensors.map((tensor) => ({ ...tensor, shape: [4] }));
    expect(() => exportModel(classifier(), reshaped, x)).toThrow("has the shape [2,2] in this file and [4] in the job");
  });
});
