/** Against the real runtime. */
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, dimensionsOf } from "./graph.ts";
import { feedFloats } from "./inputs.ts";
import { writeModel } from "./onnx.ts";

function modelOf(type: "float16" | "float32") {
  const graph = createGraph("test");
  const past = graph.input("past", type, ["batch", 2]);
  graph.node("Cast", [past], { to: 1 }, "out");
  graph.output("out", "float32", ["batch", 2]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

describe("feedFloats", () => {
  it("takes float32 in place of float16, rounded to it, and leaves the model as it was", async () => {
    const model = modelOf("float16");
    const before = writeModel(model);
    const wide = feedFloats(model);
    expect(writeModel(model)).toEqual(before);
    expect(dimensionsOf(wide.graph.input[0]!)).toEqual({ type: 1, sizes: [null, 2] });
    const out = await runGraph(writeModel(wide), { past: { shape: [1, 2], values: Float32Array.of(0.5, 2049) } });
    expect(out.out?.values).toEqual(Float32Array.of(0.5, 2048));
  });

  it("returns a model as it is that takes float32", () => {
    const model = modelOf("float32");
    expect(feedFloats(model)).toBe(model);
  });
});
