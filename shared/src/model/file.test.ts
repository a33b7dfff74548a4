import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { StringStringEntryProtoSchema, type TensorProto, TensorProto_DataLocation } from "onnx-buf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openModel } from "./file.ts";
import { createGraph, tensorOf } from "./graph.ts";
import { changed, writeModel } from "./onnx.ts";
import { floatsOf } from "./tensor.ts";

let dir: string;
const at = (...names: string[]) => join(dir, "model", ...names);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-file-"));
  mkdirSync(at());
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** y = x + w, with the weight w [elements] where `place` says. */
function writeExternal(place: Record<string, string>, elements = 3): string {
  const graph = createGraph("add");
  graph.output(graph.node("Add", [graph.input("x", "float32", [elements]), "w"], {}, "y"), "float32", [elements]);
  const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
  model.graph.initializer.push(
    changed(tensorOf("w", [elements], new Float32Array()), {
      dataLocation: TensorProto_DataLocation.EXTERNAL,
      externalData: Object.entries(place).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
    }),
  );
  writeFileSync(at("model.onnx"), writeModel(model));
  return at("model.onnx");
}

function opened(path: string) {
  const open = openModel(path);
  if (!open.ok) throw new Error(open.message);
  const tensor = open.model.graph.initializer[0] as TensorProto;
  return { ...open, tensor, floats: () => floatsOf(tensor, open.source) };
}

const DATA = new Uint8Array(Float32Array.of(9, 1, 2, 3).buffer);

test("external data is read where the model says, whole and in pieces", () => {
  writeFileSync(at("weights.bin"), DATA);
  const { source, tensor, floats } = opened(writeExternal({ location: "weights.bin", offset: "4", length: "12" }));
  expect(source.sizeOf(tensor)).toMatchObject({ ok: true, bytes: 12 });
  expect(floats()).toEqual({ ok: true, shape: [3], values: Float32Array.of(1, 2, 3) });
  expect(Buffer.concat([...source.piecesOf(tensor)].map((piece) => Buffer.from(piece)))).toEqual(Buffer.from(DATA.subarray(4)));
  expect(opened(writeExternal({ location: "./weights.bin" }, 4)).floats()).toMatchObject({ values: Float32Array.of(9, 1, 2, 3) });
});

test("a large file is neither read nor allocated for before its bytes are asked for", () => {
  writeFileSync(at("weights.bin"), "");
  truncateSync(at("weights.bin"), 2 ** 33);
  const { source, tensor } = opened(writeExternal({ location: "weights.bin", offset: String(2 ** 32), length: String(2 ** 32) }, 2 ** 30));
  const before = process.memoryUsage().arrayBuffers;
  expect(source.sizeOf(tensor)).toMatchObject({ ok: true, bytes: 2 ** 32 });
  const [first] = source.piecesOf(tensor);
  expect(first?.byteLength).toBe(4 * 2 ** 20);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  expect(source.sizeOf(changed(tensor, { dims: [2n ** 31n - 1n, 2n ** 31n - 1n] }))).toMatchObject({
    ok: false,
    code: "tensor-unreadable",
  });
});

test("a file that is missing or too short is named with the remedy", () => {
  expect(opened(writeExternal({ location: "weights.bin" })).floats()).toEqual({
    ok: false,
    code: "external-data",
    message: 'the tensor "w" keeps its data in "weights.bin", which is missing; copy that file beside the model',
  });
  writeFileSync(at("weights.bin"), DATA);
  const short = opened(writeExternal({ location: "weights.bin", offset: "8" }));
  expect(short.source.sizeOf(short.tensor)).toMatchObject({
    message: expect.stringContaining('needs bytes 8 to 20 of "weights.bin", which has 16'),
  });
  expect(() => [...short.source.piecesOf(short.tensor)]).toThrow("needs bytes 8 to 20");
});

test("an offset or length that is none, or that misfits the shape, is refused before anything is read", () => {
  writeFileSync(at("weights.bin"), DATA);
  for (const place of [{ offset: "-4" }, { offset: "1e1" }, { length: "99999999999999999999" }])
    expect(opened(writeExternal({ location: "weights.bin", ...place })).floats()).toMatchObject({
      ok: false,
      code: "external-data",
      message: expect.stringContaining("save the model again"),
    });
  expect(opened(writeExternal({ location: "weights.bin", length: "16" })).floats()).toMatchObject({
    code: "tensor-unreadable",
    message: expect.stringContaining("has data for 4 elements, but its shape [3] has 3"),
  });
  expect(opened(writeExternal({})).floats()).toMatchObject({ code: "external-data", message: expect.stringContaining("is not named") });
});

test("nothing outside of the model's folder is opened, however it is written or linked", () => {
  writeFileSync(join(dir, "secret.bin"), DATA);
  symlinkSync(join(dir, "secret.bin"), at("linked.bin"));
  symlinkSync(dir, at("up"));
  for (const location of ["../secret.bin", join(dir, "secret.bin"), "linked.bin", "up/secret.bin", "up/../../secret.bin", "..", "."])
    expect(opened(writeExternal({ location }, 4)).floats(), location).toMatchObject({
      ok: false,
      code: "external-data",
      message: expect.stringMatching(/^the tensor "w" keeps its data in ".+", which is (outside of the model's folder|not a file); /),
    });
});

test("a link to another file of the folder is followed, and so are those of a cache where the model is a link too", () => {
  mkdirSync(at("parts"));
  writeFileSync(at("parts", "real.bin"), DATA);
  symlinkSync(at("parts", "real.bin"), at("weights.bin"));
  expect(opened(writeExternal({ location: "weights.bin" }, 4)).floats()).toMatchObject({ ok: true });

  mkdirSync(join(dir, "snapshot"));
  renameSync(at("parts", "real.bin"), at("0123"));
  symlinkSync(at("model.onnx"), join(dir, "snapshot", "model.onnx"));
  symlinkSync(at("0123"), join(dir, "snapshot", "weights.bin"));
  expect(opened(join(dir, "snapshot", "model.onnx")).floats()).toMatchObject({ ok: true, values: Float32Array.of(9, 1, 2, 3) });
});

test("what is no model is refused by its path", () => {
  expect(openModel(at("none.onnx"))).toMatchObject({
    ok: false,
    code: "model-unreadable",
    message: expect.stringMatching(/none\.onnx cannot be read .*check the path/),
  });
  expect(openModel(at())).toMatchObject({ message: expect.stringContaining("is not a file; name the .onnx file itself") });
  writeFileSync(at("huge.onnx"), "");
  truncateSync(at("huge.onnx"), 2 ** 32);
  expect(openModel(at("huge.onnx"))).toMatchObject({ message: expect.stringContaining("save its weights as external data") });
});
