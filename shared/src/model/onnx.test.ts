import { describe, expect, it } from "vitest";
import { createGraph } from "./graph.ts";
import { changed, type Model, readModel, writeModel } from "./onnx.ts";

function identity(opset = 17): Model {
  const graph = createGraph("identity");
  graph.output(graph.node("Identity", [graph.input("x", "float32", ["batch"])], {}, "y"), "float32", ["batch"]);
  return graph.model({ irVersion: 8, opset, producer: "test" });
}

describe("readModel", () => {
  it("reads what writeModel writes", () => {
    const read = readModel(writeModel(identity()));
    expect(read.ok && read.model.graph.node.map(({ opType, input, output }) => ({ opType, input, output }))).toEqual([
      { opType: "Identity", input: ["x"], output: ["y"] },
    ]);
  });

  it("says that bytes are no model", () => {
    for (const bytes of [new Uint8Array(), Uint8Array.of(1, 2, 3), new TextEncoder().encode("<html>not found</html>")])
      expect(readModel(bytes)).toMatchObject({ ok: false, code: "model-unreadable", message: expect.stringContaining("not an ONNX file") });
  });

  it("refuses a truncated file", () => {
    expect(readModel(writeModel(identity()).subarray(0, 40))).toMatchObject({ ok: false, code: "model-unreadable" });
  });

  it("names an opset that it does not know, and the remedy", () => {
    for (const opset of [10, 24])
      expect(readModel(writeModel(identity(opset)))).toMatchObject({
        message: expect.stringMatching(`opset is ${opset}; it must be 11 to 23: .*export it again`),
      });
  });
});

describe("changed", () => {
  it("copies a message, and keeps what stands for fields that were never set", () => {
    const { graph } = identity();
    const renamed = changed(graph, { name: "renamed" });
    expect([graph.name, renamed.name, renamed.docString]).toEqual(["identity", "renamed", ""]);
    expect(renamed.node).toBe(graph.node);
  });
});
