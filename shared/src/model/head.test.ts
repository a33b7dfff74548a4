/** Against the real runtime. */
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph, type Dimension, dimensionsOf, type ElementType } from "./graph.ts";
import { addHead, type HeadOptions } from "./head.ts";
import { liftTrainable, trainableOf } from "./lift.ts";
import { addObjective } from "./objective.ts";
import { changed, type Model, writeModel } from "./onnx.ts";

/** pooled = x, of a type. */
function encoder(dimensions: readonly Dimension[] = ["batch", 3], type: ElementType = "float32"): Model {
  const graph = createGraph("encoder");
  graph.node("Cast", [graph.input("x", "float32", dimensions)], { to: type === "float16" ? 10 : 1 }, "pooled");
  graph.output("pooled", type, dimensions);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

const head = (options: Partial<HeadOptions> = {}, model = encoder()) => addHead(model, { output: "pooled", classes: 2, ...options });

function added(options: Partial<HeadOptions> = {}, model = encoder()): Model {
  const result = head(options, model);
  if (!result.ok) throw new Error(result.message);
  return result.model;
}

describe("addHead", () => {
  it("adds zeros of the right shapes after what the model has, and leaves the model as it was", () => {
    const model = encoder();
    const before = writeModel(model);
    const { graph } = added({}, model);
    expect(writeModel(model)).toEqual(before);
    expect(graph.output.map(({ name }) => name)).toEqual(["pooled", "logits"]);
    expect(dimensionsOf(graph.output[1]!)).toEqual({ type: 1, sizes: [null, 2] });
    const found = trainableOf(changed(model, { graph }));
    if (!found.ok) throw new Error(found.message);
    expect(found.tensors.map(({ name, shape, values }) => ({ name, shape, values }))).toEqual([
      { name: "head.weight", shape: [3, 2], values: new Float32Array(6) },
      { name: "head.bias", shape: [2], values: new Float32Array(2) },
    ]);
  });

  it("is a linear layer once it is trained, on 16 bits too and where the width is only given", async () => {
    for (const type of ["float32", "float16"] as const)
      for (const [width, dimensions] of [
        [undefined, ["batch", 3]],
        [3, ["batch", 3]],
        [3, ["batch", "width"]],
      ] as const) {
        const model = added({ name: "verdict", ...(width && { width }) }, encoder(dimensions, type));
        const objective = addObjective(model, { kind: "classes", output: "verdict" }, { generates: false });
        if (!objective.ok) throw new Error(objective.message);
        const graph = writeModel(
          liftTrainable(objective.model, [
            { name: "head.weight", shape: [3, 2] },
            { name: "head.bias", shape: [2] },
          ]),
        );
        const feeds = {
          x: { shape: [1, 3], values: Float32Array.of(1, 2, 3) },
          "zoswarm/labels": { shape: [1], values: BigInt64Array.of(1n) },
          "head.weight": { shape: [3, 2], values: new Float32Array(6) },
          "head.bias": { shape: [2], values: new Float32Array(2) },
        };
        const zeros = await runGraph(graph, feeds);
        expect(zeros["zoswarm/loss"]?.values).toEqual(Float32Array.of(Math.LN2));
        const trained = { ...feeds, "head.weight": { shape: [3, 2], values: Float32Array.of(1, 0, 0, 10, 100, 0) } };
        trained["head.bias"] = { shape: [2], values: Float32Array.of(0.5, -0.5) };
        expect((await runGraph(graph, trained))["zoswarm/scores"]?.values).toEqual(Float32Array.of(301.5, 19.5));
      }
  });

  it("makes one vector of a sequence's: the mean, of what the mask counts where there is one, or the first", async () => {
    const states = { shape: [2, 3, 2], values: Float32Array.of(1, 2, 3, 4, 50, 60, 7, 8, 9, 10, 11, 12) };
    const read = async (options: Partial<HeadOptions>, type: ElementType = "float32") => {
      const graph = createGraph("encoder");
      graph.node("Cast", [graph.input("x", "float32", ["batch", "sequence", 2])], { to: type === "float16" ? 10 : 1 }, "pooled");
      graph.output("pooled", type, ["batch", "sequence", 2]);
      const mask = options.mask && graph.input(options.mask, "int64", ["batch", "sequence"]);
      const model = added(options, graph.model({ irVersion: 8, opset: 11, producer: "test" }));
      const weights = [
        { name: "head.weight", shape: [2, 2] },
        { name: "head.bias", shape: [2] },
      ];
      const out = await runGraph(writeModel(liftTrainable(model, weights)), {
        x: states,
        ...(mask && { [mask]: { shape: [2, 3], values: BigInt64Array.of(1n, 1n, 0n, 1n, 1n, 1n) } }),
        "head.weight": { shape: [2, 2], values: Float32Array.of(1, 0, 0, 1) },
        "head.bias": { shape: [2], values: new Float32Array(2) },
      });
      return Array.from(out.logits?.values ?? [], Number);
    };
    for (const type of ["float32", "float16"] as const) {
      expect(await read({}, type)).toEqual([18, 22, 9, 10]);
      const masked = await read({ mask: "attention_mask" }, type);
      [2, 3, 9, 10].forEach((mean, i) => {
        expect(masked[i]).toBeCloseTo(mean, 5);
      });
      expect(await read({ pool: "first", mask: "attention_mask" }, type)).toEqual([1, 2, 7, 8]);
    }
  });

  it("can give one value to regress on", () => {
    const model = added({ classes: 1 });
    expect(addObjective(model, { kind: "values", output: "logits" }, { generates: false })).toMatchObject({ ok: true });
  });

  it("refuses a name that is taken, and says what to do", () => {
    expect(head({ name: "x" })).toMatchObject({ code: "name-taken", message: expect.stringMatching(/"x".*another name/) });
    expect(head({ name: "other" }, added())).toMatchObject({ code: "name-taken", message: expect.stringContaining('"head.') });
  });

  it("refuses an output that is missing, of another rank or of unknown width", () => {
    expect(head({ output: "hidden" })).toMatchObject({ code: "no-such-output", message: expect.stringContaining('"pooled"') });
    expect(head({}, encoder(["batch", 2, "sequence", 3]))).toMatchObject({
      code: "unsupported-output",
      message: expect.stringContaining('"pooled" has the shape [?, 2, ?, 3]; a head needs [batch, width]'),
    });
    expect(head({}, encoder(["batch", "width"]))).toMatchObject({
      code: "unsupported-head",
      message: expect.stringContaining("say it in the head: width"),
    });
  });

  it("refuses sizes that contradict the model or are none", () => {
    expect(head({ width: 4 })).toMatchObject({ code: "unsupported-head", message: expect.stringContaining("is 4, but") });
    for (const classes of [0, 1.5, 2 ** 31])
      expect(head({ classes })).toMatchObject({ code: "unsupported-head", message: expect.stringContaining(`${classes} classes`) });
    for (const name of ["head.weight", "head.bias"]) expect(head({ name })).toMatchObject({ code: "name-taken" });
  });
});
