import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { openModel } from "./file.ts";
import { externalizeFrozen } from "./freeze.ts";
import { createGraph, tensorOf } from "./graph.ts";
import { narrow } from "./half.ts";
import { type Model, writeModel } from "./onnx.ts";
import { insideSource } from "./tensor.ts";

let dir: string;
const at = (name: string) => join(dir, name);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-freeze-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const wave = (length: number, from: number) => Float32Array.from({ length }, (_, i) => Math.sin(i + from));
const bytes = (length: number, from: number) => Uint8Array.from({ length }, (_, i) => (i * 37 + from) % 256);
const x = { shape: [2, 64], values: wave(128, 0) };

/** One large weight of every kind that models have: float32, float16, int8, blocks of 4 bits, a Constant; and small ones. */
function mixed(): Model {
  const graph = createGraph("mixed");
  const input = graph.input("x", "float32", [2, 64]);
  const first = graph.node("MatMul", [input, graph.parameter("float32", [64, 64], wave(4096, 1))]);
  const half = graph.node("Cast", [graph.parameter("float16", [64, 64], narrow(wave(4096, 2), "float16"), "float16")], { to: 1 });
  const second = graph.node("MatMul", [first, half]);
  const int8 = graph.node("DequantizeLinear", [
    graph.parameter("int8", [64, 64], new Int8Array(bytes(4096, 3).buffer), "int8"),
    graph.parameter("int8.scale", [], Float32Array.of(0.01)),
  ]);
  const third = graph.node("MatMul", [second, int8]);
  const blocks = [graph.parameter("int4", [64, 2, 16], bytes(2048, 4), "uint8"), graph.parameter("int4.scale", [128], wave(128, 5))];
  const fourth = graph.node("com.microsoft::MatMulNBits", [third, ...blocks], { K: 64, N: 64, bits: 4, block_size: 32 });
  const table = graph.node("Constant", [], { value: tensorOf("", [64, 64], wave(4096, 6)) }, "table");
  const small = graph.floats(wave(64, 7));
  graph.output(graph.node("Add", [graph.node("MatMul", [fourth, table]), small], {}, "y"), "float32", [2, 64]);
  return graph.model({ irVersion: 9, opset: 17, producer: "test", domains: { "com.microsoft": 1 } });
}

const written = async (model: Model) => {
  const frozen = externalizeFrozen(model, insideSource, "frozen.bin");
  writeFileSync(at("graph.onnx"), writeModel(frozen.model));
  await frozen.write(at("frozen.bin"));
  return frozen;
};

test("the runtime reads the small graph with the file beside it, and gives the same bits", async () => {
  const model = mixed();
  const frozen = await written(model);
  expect(statSync(at("frozen.bin")).size).toBe(frozen.bytes);
  expect(statSync(at("graph.onnx")).size).toBeLessThan(4096);
  expect(await runGraph(at("graph.onnx"), { x })).toEqual(await runGraph(writeModel(model), { x }));
  rmSync(at("frozen.bin"));
  await expect(runGraph(at("graph.onnx"), { x })).rejects.toThrow("frozen.bin");
});

test("every large tensor begins a page of the file, whatever its type; small ones stay", async () => {
  const { model, bytes: total } = await written(mixed());
  const places = model.graph.initializer.map(({ name, externalData }) => [name, ...externalData.map(({ value }) => value)]);
  expect(places).toEqual([
    ["float32", "frozen.bin", "0", "16384"],
    ["float16", "frozen.bin", "16384", "8192"],
    ["int8", "frozen.bin", "24576", "4096"],
    ["int8.scale"],
    ["int4", "frozen.bin", "28672", "2048"],
    ["int4.scale"],
    ["table", "frozen.bin", "32768", "16384"],
  ]);
  expect(total).toBe(32768 + 16384);
  expect(model.graph.node.filter(({ opType }) => opType === "Constant")).toHaveLength(1);
});

test("equal models give equal bytes, through a path or a handle, and out of one file or several", async () => {
  await written(mixed());
  const opened = openModel(at("graph.onnx"));
  if (!opened.ok) throw new Error(opened.message);
  const again = externalizeFrozen(opened.model, opened.source, "frozen.bin");
  expect(writeModel(again.model)).toEqual(writeModel(opened.model));
  const handle = await open(at("again.bin"), "w");
  await again.write(handle);
  await handle.close();
  expect(readFileSync(at("again.bin")).equals(readFileSync(at("frozen.bin")))).toBe(true);
});

test("a small tensor that was in another file comes into the graph; nothing large means no file", async () => {
  await written(mixed());
  const opened = openModel(at("graph.onnx"));
  if (!opened.ok) throw new Error(opened.message);
  const inside = externalizeFrozen(opened.model, opened.source, "none.bin", { leastBytes: 2 ** 20 });
  expect(inside.bytes).toBe(0);
  expect(await runGraph(writeModel(inside.model), { x })).toEqual(await runGraph(at("graph.onnx"), { x }));
});
