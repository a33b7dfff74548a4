import { describe, expect, it } from "vitest";
import { chain, FORMS, square, withLora } from "./lora.testing.ts";
import { mergeLora } from "./lora.ts";
import { quantizeModel } from "./quantize.ts";

describe("mergeLora", () => {
  it("rounds once, whichever way the weight lies", () => {
    const adapter = withLora(FORMS.MatMul!().model).adapters[0]!;
    const small = { ...adapter, inputs: 2, outputs: 3, rank: 1, alpha: 2 };
    const [a, b] = [Float32Array.of(1, -2), Float32Array.of(0.1, 1, 2 ** -30)];
    const base = Float32Array.of(1, 2, 3, 4, 5, 6);
    const expected = [1 + 2 * Math.fround(0.1), 4, 3 + 2 ** -29, 4 - 4 * Math.fround(0.1), 1, 6 - 2 ** -28].map(Math.fround);
    expect(mergeLora(small, a, b, base)).toEqual({ ok: true, values: Float32Array.from(expected) });
    const turned = (values: ArrayLike<number>) => Float32Array.from([0, 3, 1, 4, 2, 5], (at) => values[at] as number);
    expect(mergeLora({ ...small, isTransposed: true }, a, b, turned(base))).toEqual({ ok: true, values: turned(expected) });
    expect(mergeLora(small, Float32Array.of(3e38, 0), Float32Array.of(3e38, 0, 0), base)).toMatchObject({
      ok: false,
      code: "lora-not-finite",
    });
    expect(() => mergeLora(small, a, b, base.subarray(1))).toThrow("W, A and B have 5, 2 and 3 elements");
  });

  it("refuses a quantised weight, and one that something else reads", () => {
    const quantised = quantizeModel(FORMS.MatMul!().model, { kind: "4-bit" });
    if (!quantised.ok) throw new Error(quantised.message);
    const none = new Float32Array();
    expect(mergeLora(withLora(quantised.model).adapters[0]!, none, none, none)).toMatchObject({
      ok: false,
      code: "lora-quantised-base",
      message: expect.stringMatching(/"layer.weight" is a weight of 4 bits.*export the adapter/),
    });
    const tied = chain((graph, x) => {
      const ids = graph.node("Cast", [x], { to: 7 });
      const embedded = graph.node("Gather", [square(graph, "embeddings", 1), ids], {}, "embedded");
      graph.node(
        "MatMul",
        [graph.node("ReduceMean", [embedded], { axes: [2], keepdims: 0 }), graph.node("Transpose", ["embeddings"])],
        {},
        "y",
      );
    });
    const [adapter] = withLora(tied).adapters;
    expect(adapter).toMatchObject({ target: "embeddings", isTransposed: true, readElsewhere: 'the node "embedded" (Gather)' });
    expect(mergeLora(adapter!, none, none, none)).toMatchObject({ code: "lora-shared-weight", message: expect.stringContaining("Gather") });
  });
});
