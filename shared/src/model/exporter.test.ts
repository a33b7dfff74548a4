import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { fromLattice, type TensorSpec } from "../zo/lattice.ts";
import { type ExportOptions, exportValues } from "./exporter.ts";
import { openModel } from "./file.ts";
import { externalizeFrozen } from "./freeze.ts";
import { createGraph, nodeOf, tensorOf } from "./graph.ts";
import { narrow, widen } from "./half.ts";
import { prepareModel } from "./importer.ts";
import { liftTrainable } from "./lift.ts";
import { type Model, writeModel } from "./onnx.ts";
import { floatsOf, insideSource } from "./tensor.ts";
import { tensorsOf } from "./walk.ts";

let dir: string;
const at = (name: string) => join(dir, name);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-export-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** The model at `path` with tensors at theta = X * 2^-q. */
function exportModel(
  path: string,
  tensors: readonly TensorSpec[],
  xOf: (t: number) => Int32Array,
  outFile: string,
  options?: ExportOptions,
) {
  const values = tensors.map(({ name, shape, q }, t) => [name, { shape, values: () => fromLattice(xOf(t), q) }] as const);
  return exportValues(path, new Map(values), outFile, options);
}

const wave = (length: number, from: number) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i + from)));
const x = { shape: [2, 40], values: wave(80, 0) };

/** Weights of every type and in every place; float32 ones large and small, and one that is frozen. */
function mixed(): Model {
  const graph = createGraph("mixed");
  let hidden = graph.input("x", "float32", [2, 40]);
  const multiply = (weight: string) => {
    hidden = graph.node("MatMul", [hidden, weight]);
  };
  multiply(graph.parameter("w32", [40, 40], wave(1600, 1)));
  multiply(graph.node("Cast", [graph.parameter("w16", [40, 40], narrow(wave(1600, 2), "float16"), "float16")], { to: 1 }));
  multiply(graph.node("Cast", [graph.parameter("wb16", [40, 40], narrow(wave(1600, 3), "bfloat16"), "bfloat16")], { to: 1 }));
  multiply(graph.node("Constant", [], { value: tensorOf("kept", [40, 40], wave(1600, 4)) }, "constant"));
  const list = nodeOf("Constant", [], ["list"], { value_floats: 0 });
  Object.assign(list.attribute[0]!, { type: 6, floats: [...wave(40, 5)] });
  graph.body().node.push(list);
  const bias = graph.parameter("bias", [40], new Float32Array());
  Object.assign(graph.body().initializer.at(-1)!, { floatData: [...wave(40, 6)] });
  const frozen = graph.node("Cast", [graph.parameter("frozen", [40], new Int8Array(40).fill(3), "int8")], { to: 1 });
  for (const each of [list.output[0] as string, bias, frozen]) hidden = graph.node("Add", [hidden, each]);
  graph.output(graph.node("Identity", [hidden], {}, "y"), "float32", [2, 40]);
  return graph.model({ irVersion: 9, opset: 17, producer: "test", metadata: { author: "somebody" } });
}

/** The model's tensors on lattices, and another state of them. */
function moved(model: Model) {
  const prepared = prepareModel(model, insideSource, { epsilonLog2: -10, gains: [] });
  if (!prepared.ok) throw new Error(prepared.message);
  const { tensors } = prepared;
  const initial = [...prepared.initial()];
  const x = initial.map((each, t) => each.map((value, i) => value + (((i * 31 + t * 7) % 9) - 4) * 2 ** ((tensors[t]?.q ?? 0) - 9)));
  return { tensors, initial, x, theta: x.map((each, t) => Float32Array.from(each, (value) => value * 2 ** -(tensors[t]?.q ?? 0))) };
}

function weightsIn(path: string): Record<string, Float32Array> {
  const opened = openModel(path);
  if (!opened.ok) throw new Error(opened.message);
  return Object.fromEntries(
    tensorsOf(opened.model).flatMap(({ tensor }) => {
      const floats = floatsOf(tensor, opened.source);
      return floats.ok ? [[tensor.name, floats.values]] : [];
    }),
  );
}

describe("exportValues", () => {
  it("gives the very file where nothing was trained", async () => {
    writeFileSync(at("model.onnx"), writeModel(mixed()));
    expect(await exportModel(at("model.onnx"), [], () => new Int32Array(), at("out.onnx"))).toEqual({ ok: true, files: [at("out.onnx")] });
    expect(readFileSync(at("out.onnx")).equals(readFileSync(at("model.onnx")))).toBe(true);
  });

  it.each([
    ["one file", {}, ["out.onnx"]],
    ["two where one would be too large", { oneFileBytesMax: 10_000 }, ["out.onnx.data", "out.onnx"]],
  ])("puts theta in its place, bit for bit, as %s", async (_, options, files) => {
    const model = mixed();
    const { tensors, x: state, theta } = moved(model);
    expect(tensors.map(({ name }) => name)).toEqual(["w32", "w16", "wb16", "bias", "constant", "list"]);
    writeFileSync(at("model.onnx"), writeModel(model));
    const exported = await exportModel(at("model.onnx"), tensors, (t) => state[t] as Int32Array, at("out.onnx"), options);
    expect(exported).toEqual({ ok: true, files: files.map(at) });
    const [w32, w16, wb16, bias, constant, list] = theta as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const nearest = { w16: widen(narrow(w16, "float16"), "float16"), wb16: widen(narrow(wb16, "bfloat16"), "bfloat16") };
    expect(weightsIn(at("out.onnx"))).toEqual({ w32, ...nearest, bias, constant, list });
  });

  it("keeps names, types, inputs, outputs and everything frozen, and the runtime gives what the lifted graph gives", async () => {
    const model = mixed();
    const { tensors, x: state, theta } = moved(model);
    writeFileSync(at("model.onnx"), writeModel(model));
    await exportModel(at("model.onnx"), tensors, (t) => state[t] as Int32Array, at("out.onnx"));
    const opened = openModel(at("out.onnx"));
    if (!opened.ok) throw new Error(opened.message);
    const about = ({ graph, metadataProps, opsetImport, irVersion }: Model) => ({
      ...{ metadataProps, opsetImport, irVersion, inputs: graph.input, outputs: graph.output },
      nodes: graph.node.map(({ name, opType, input, output }) => ({ name, opType, input, output })),
      tensors: tensorsOf({ graph } as Model).map(({ tensor: { name, dataType, dims } }) => ({ name, dataType, dims })),
      frozen: graph.initializer.find(({ name }) => name === "frozen"),
    });
    expect(about(opened.model)).toEqual(about(model));
    const weights = tensors.map(({ name, shape }, t) => [name, { shape, values: theta[t] as Float32Array }] as const);
    const lifted = await runGraph(writeModel(liftTrainable(model, tensors)), { x, ...Object.fromEntries(weights) });
    const exported = await runGraph(at("out.onnx"), { x });
    const [ours, theirs] = [exported, lifted].map(({ y }) => [...((y?.values ?? []) as Float32Array)]) as [number[], number[]];
    expect(Math.max(...ours.map((value, i) => Math.abs(value - (theirs[i] as number))))).toBeLessThan(1e-5 * Math.max(...theirs));
  });

  it("takes a model in several files, and makes one of it that needs no other", async () => {
    const model = mixed();
    const { model: graph, write } = externalizeFrozen(model, insideSource, "weights.bin", { leastBytes: 16 });
    writeFileSync(at("model.onnx"), writeModel(graph));
    await write(at("weights.bin"));
    const { tensors, x: state } = moved(model);
    await exportModel(at("model.onnx"), tensors, (t) => state[t] as Int32Array, at("out.onnx"));
    rmSync(at("weights.bin"));
    writeFileSync(at("whole.onnx"), writeModel(model));
    await exportModel(at("whole.onnx"), tensors, (t) => state[t] as Int32Array, at("expected.onnx"));
    expect(weightsIn(at("out.onnx"))).toEqual(weightsIn(at("expected.onnx")));
    expect(await runGraph(at("out.onnx"), { x })).toEqual(await runGraph(at("expected.onnx"), { x }));
    expect(await exportModel(at("model.onnx"), tensors.slice(0, 1), () => state[0] as Int32Array, at("again.onnx"))).toMatchObject({
      ok: false,
      code: "external-data",
      message: expect.stringContaining('"weights.bin", which is missing'),
    });
  });

  it("holds any lattice point", async () => {
    const graph = createGraph("one");
    graph.output(
      graph.node("Add", [graph.input("x", "float32", [8]), graph.parameter("w", [8], new Float32Array(8))], {}, "y"),
      "float32",
      [8],
    );
    writeFileSync(at("model.onnx"), writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" })));
    const LIM = 2 ** 24 - 2 ** 22;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: -LIM, max: LIM }), { minLength: 8, maxLength: 8 }), async (x) => {
        await exportModel(at("model.onnx"), [{ name: "w", shape: [8], q: 21, gain: 0 }], () => Int32Array.from(x), at("out.onnx"));
        expect([...(weightsIn(at("out.onnx")).w as Float32Array)].map((value) => value * 2 ** 21 + 0)).toEqual(x.map((value) => value + 0));
      }),
      { numRuns: 30, seed: 1 },
    );
  });

  it("takes no other model for the one that was trained", async () => {
    writeFileSync(at("model.onnx"), writeModel(mixed()));
    const to = (name: string, shape: number[]) =>
      exportModel(at("model.onnx"), [{ name, shape, q: 20, gain: 0 }], () => new Int32Array(1600), at("out.onnx"));
    expect(await to("old", [4])).toMatchObject({
      ok: false,
      code: "other-model",
      message: 'the tensor "old" is not in this file; take the job\'s own model',
    });
    expect(await to("w32", [1600])).toMatchObject({
      message: expect.stringContaining('"w32" has the shape [40,40] in this file and [1600] in the job'),
    });
    expect(await to("frozen", [40])).toMatchObject({
      message: expect.stringContaining('"frozen" is of a type in this file that is not trained'),
    });
    expect(readdirSync(dir)).toEqual(["model.onnx"]);
  });

  it("leaves nothing half-written, and what was there before", async () => {
    writeFileSync(at("model.onnx"), writeModel(mixed()));
    expect(await exportModel(at("model.onnx"), [], () => new Int32Array(), at("none/out.onnx"))).toMatchObject({
      ok: false,
      code: "model-unwritable",
      message: expect.stringMatching(/none\/out\.onnx: cannot be written \(.*; name another file$/),
    });
    const crash = exportModel(
      at("model.onnx"),
      [{ name: "w32", shape: [40, 40], q: 20, gain: 0 }],
      () => new Int32Array(3),
      at("model.onnx"),
    );
    expect(await crash).toMatchObject({ ok: false, message: expect.stringContaining("was given 3 values") });
    expect(readdirSync(dir)).toEqual(["model.onnx"]);
    expect(openModel(at("model.onnx"))).toMatchObject({ ok: true });
  });
});
