/** Against the real runtime: what the branches add, and that they add nothing before training. */
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph } from "./graph.ts";
import { narrow, widen } from "./half.ts";
import { liftTrainable } from "./lift.ts";
import { chain, FORMS, INPUTS, noise, OPTIONS, OUTPUTS, product, ROWS, square, valuesIn, withLora } from "./lora.testing.ts";
import { addLora, mergeLora } from "./lora.ts";
import { writeModel } from "./onnx.ts";
import { widenBfloat16 } from "./widen.ts";

function maxDifference(one: ArrayLike<number>, other: ArrayLike<number>): number {
  expect(one.length).toBe(other.length);
  return Array.from(one).reduce((most, value, i) => Math.max(most, Math.abs(value - (other[i] as number))), 0);
}

describe("addLora, beside", () => {
  for (const [form, make] of Object.entries(FORMS))
    it(`${form}: adds nothing before training, then alpha / rank * (x A) B`, async () => {
      const { model, factor = 1, transposedX = false } = make();
      const x = { shape: transposedX ? [INPUTS, ROWS] : [ROWS, INPUTS], values: noise(ROWS * INPUTS, 7) };
      const before = (await runGraph(writeModel(model), { x })).y;
      const lora = withLora(model, { targets: ["layer.*"] });
      expect(lora.adapters).toMatchObject([{ target: "layer.weight", a: "layer.weight.lora_A", inputs: INPUTS, outputs: OUTPUTS }]);
      expect((await runGraph(writeModel(lora.model), { x })).y).toEqual(before);

      const [a, b] = [noise(INPUTS * 4, 8), noise(4 * OUTPUTS, 9)];
      const shapes = [
        { name: "layer.weight.lora_A", shape: [INPUTS, 4], values: a },
        { name: "layer.weight.lora_B", shape: [4, OUTPUTS], values: b },
      ];
      const fed = Object.fromEntries(shapes.map(({ name, ...tensor }) => [name, tensor]));
      const after = (await runGraph(writeModel(liftTrainable(lora.model, shapes)), { x, ...fed })).y;
      const rows = transposedX
        ? Float32Array.from(x.values, (_, i) => x.values[(i % INPUTS) * ROWS + Math.floor(i / INPUTS)] as number)
        : x.values;
      const added = product(product(rows, a, INPUTS), b, 4).map((value) => 1.5 * factor * value);
      const expected = added.map((value, i) => value + Number(before?.values[i]));
      expect(maxDifference(expected, after?.values as Float32Array)).toBeLessThan(1e-3);
      expect(Math.max(...added)).toBeGreaterThan(1);
    });

  it("a product in the middle of a float16 graph", async () => {
    const weight = narrow(noise(64, 1), "float16");
    const model = chain((graph, x) => {
      const half = graph.node("Tanh", [graph.node("Cast", [x], { to: 10 })], {}, "half");
      const product = graph.node("MatMul", [half, graph.parameter("w", [8, 8], weight, "float16")]);
      graph.node("Cast", [graph.node("Neg", [product])], { to: 1 }, "y");
    });
    const x = { shape: [2, 8], values: noise(16, 2) };
    const before = (await runGraph(writeModel(model), { x })).y;
    const lora = withLora(model);
    expect(lora.adapters).toMatchObject([{ kind: "float16" }]);
    expect((await runGraph(writeModel(lora.model), { x })).y).toEqual(before);
    const lifted = liftTrainable(lora.model, [{ name: "w.lora_B", shape: [4, 8] }]);
    const y = (await runGraph(writeModel(lifted), { x, "w.lora_B": { shape: [4, 8], values: noise(32, 3) } })).y;
    const merged = mergeLora(lora.adapters[0]!, valuesIn(lora.model, "w.lora_A"), noise(32, 3), widen(weight, "float16"));
    const expected = product(x.values.map(Math.tanh), merged.ok ? merged.values : [], 8).map((value) => -value);
    expect(maxDifference(y?.values as Float32Array, expected)).toBeLessThan(1e-2);
    expect(maxDifference(y?.values as Float32Array, before?.values as Float32Array)).toBeGreaterThan(0.1);
  });

  it("a product of bfloat16, which is widened for the runtime", async () => {
    const model = chain((graph, x) => {
      const weight = graph.parameter("w", [8, 8], narrow(noise(64, 1), "bfloat16"), "bfloat16");
      graph.node("Cast", [graph.node("MatMul", [graph.node("Cast", [x], { to: 16 }), weight])], { to: 1 }, "y");
    });
    const x = { shape: [2, 8], values: noise(16, 2) };
    const before = (await runGraph(writeModel(widenBfloat16(model)), { x })).y;
    const lora = widenBfloat16(liftTrainable(withLora(model).model, [{ name: "w.lora_B", shape: [4, 8] }]));
    const run = async (b: Float32Array) => (await runGraph(writeModel(lora), { x, "w.lora_B": { shape: [4, 8], values: b } })).y;
    expect(await run(new Float32Array(32))).toEqual(before);
    expect(await run(noise(32, 3))).not.toEqual(before);
  });
});

describe("addLora", () => {
  it("gives a shared weight one A and one B, chosen by the name of either node, and leaves the model as it was", async () => {
    const model = chain((graph, x) => {
      const w = square(graph, "onnx::MatMul_7", 1);
      graph.node("MatMul", [graph.node("MatMul", [x, w], {}, "first"), w], {}, "second");
      graph.node("Identity", ["second"], {}, "y");
    });
    const original = writeModel(model);
    const lora = withLora(model, { targets: ["fir*"] });
    expect(writeModel(model)).toEqual(original);
    expect(lora.adapters.map(({ target }) => target)).toEqual(["onnx::MatMul_7"]);
    const [a, b, w] = [valuesIn(lora.model, "onnx::MatMul_7.lora_A"), noise(32, 5), valuesIn(model, "onnx::MatMul_7")];
    const merged = mergeLora(lora.adapters[0]!, a, b, w);
    if (!merged.ok) throw new Error(merged.message);
    const x = { shape: [1, 8], values: noise(8, 2) };
    const fed = { "onnx::MatMul_7.lora_A": { shape: [8, 4], values: a }, "onnx::MatMul_7.lora_B": { shape: [4, 8], values: b } };
    const lifted = liftTrainable(
      lora.model,
      Object.entries(fed).map(([name, { shape }]) => ({ name, shape })),
    );
    const y = (await runGraph(writeModel(lifted), { x, ...fed })).y;
    expect(maxDifference(product(product(x.values, merged.values, 8), merged.values, 8), y?.values as Float32Array)).toBeLessThan(1e-3);
  });

  it("lays no branch beside a product by the same weight the other way round, and does not merge then", async () => {
    const model = chain((graph, x) => {
      const w = square(graph, "w", 1);
      graph.node("MatMul", [graph.node("MatMul", [x, w]), graph.node("Transpose", [w])], {}, "y");
    });
    const { model: lora, adapters } = withLora(model);
    expect(adapters).toMatchObject([{ target: "w", isTransposed: false, readElsewhere: 'the node "y" (MatMul), the other way round' }]);
    const [x, w, b] = [noise(8, 2), valuesIn(model, "w"), noise(32, 3)];
    const fed = { x: { shape: [1, 8], values: x }, "w.lora_B": { shape: [4, 8], values: b } };
    const { y } = await runGraph(writeModel(liftTrainable(lora, [{ name: "w.lora_B", shape: [4, 8] }])), fed);
    const added = product(product(x, valuesIn(lora, "w.lora_A"), 8), b, 4);
    const inner = product(x, w, 8).map((value, i) => value + 1.5 * (added[i] as number));
    const turned = w.map((_, at) => w[(at % 8) * 8 + Math.floor(at / 8)] as number);
    expect(maxDifference(product(inner, turned, 8), y?.values as Float32Array)).toBeLessThan(1e-4);
  });

  it("keeps a graph's output, and what bodies read, under their names", async () => {
    const model = chain((graph, x) => {
      graph.node("MatMul", [x, square(graph, "w", 1)], {}, "y");
      const body = (name: string) => {
        const inner = createGraph(name);
        inner.node("Neg", ["y"], {}, name);
        inner.output(name, "float32", ["rows", 8]);
        return inner.body();
      };
      graph.node(
        "If",
        [graph.parameter("condition", [], Uint8Array.of(1), "bool")],
        { then_branch: body("then"), else_branch: body("else") },
        "z",
      );
      graph.output("z", "float32", ["rows", 8]);
    });
    const { model: lora } = withLora(model);
    const fed = { x: { shape: [1, 8], values: noise(8, 2) }, "w.lora_B": { shape: [4, 8], values: noise(32, 3) } };
    const outputs = await runGraph(writeModel(liftTrainable(lora, [{ name: "w.lora_B", shape: [4, 8] }])), fed);
    const [y, z] = [outputs.y, outputs.z].map((output) => Array.from(output?.values ?? [], Number));
    expect(z).toEqual(y?.map((value) => -value));
    expect(y).not.toEqual(Array.from((await runGraph(writeModel(model), { x: fed.x })).y?.values ?? [], Number));
  });

  it("draws A from the seed within 1/sqrt(inputs), another for each target, and B as zero", () => {
    const model = chain((graph, x) => {
      graph.node("MatMul", [graph.node("MatMul", [x, square(graph, "v", 1)]), square(graph, "w", 2)], {}, "y");
    });
    const { model: lora } = withLora(model, { rank: 8 });
    const a = valuesIn(lora, "v.lora_A");
    expect(valuesIn(withLora(model, { rank: 8 }).model, "v.lora_A")).toEqual(a);
    expect(valuesIn(lora, "w.lora_A")).not.toEqual(a);
    expect(valuesIn(withLora(model, { rank: 8, seed: [1, 2, 3, 5] }).model, "v.lora_A")).not.toEqual(a);
    expect(valuesIn(lora, "v.lora_B")).toEqual(new Float32Array(64));
    const bound = 1 / Math.sqrt(8);
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
    // 64 uniform values: their mean and mean square are this near to what is expected in all but one of thousands of seeds.
    expect(Math.abs(a.reduce((sum, value) => sum + value, 0) / 64)).toBeLessThan(bound / 3);
    expect(a.reduce((sum, value) => sum + value ** 2, 0) / 64).toBeGreaterThan(bound ** 2 / 6);
  });

  it("says what can be a target where a pattern is like none, and why the one that is meant cannot", () => {
    const model = chain((graph, x) => {
      const cube = graph.parameter("cube", [1, 8, 8], noise(64, 1));
      const sum = Array.from({ length: 22 }, (_, i) => graph.node("MatMul", [x, square(graph, `w${i}`, i)]));
      graph.node("Squeeze", [graph.node("Add", [graph.node("Sum", sum), graph.node("MatMul", [x, cube])])], {}, "y");
    });
    const refused = (targets: string[]) => addLora(model, { ...OPTIONS, targets });
    expect(refused(["w0", "q_proj"])).toMatchObject({
      ok: false,
      code: "lora-no-target",
      message: expect.stringMatching(/name like "q_proj"; targets can be "w0", .*"w19" and 2 more$/),
    });
    expect(refused(["cube"])).toMatchObject({
      code: "lora-no-target",
      message: expect.stringContaining('"cube" cannot be one, as the node "MatMul_23" (MatMul) has a weight of the shape [1, 8, 8]'),
    });
    expect(refused([])).toMatchObject({ code: "lora-no-target", message: expect.stringContaining("has no targets") });
    expect(refused(["*"])).toMatchObject({ ok: true });
  });

  it("refuses ranks that the weight cannot have, other alphas than positive ones, and names that are taken", () => {
    const { model } = FORMS.MatMul!();
    for (const rank of [0, 1.5, OUTPUTS + 1])
      expect(addLora(model, { ...OPTIONS, rank })).toMatchObject({
        code: "lora-rank",
        message: expect.stringContaining(
          `rank is ${rank}; for "layer.weight", ${INPUTS} x ${OUTPUTS}, it must be an integer from 1 to ${OUTPUTS}`,
        ),
      });
    for (const alpha of [0, -1, Number.NaN]) expect(addLora(model, { ...OPTIONS, alpha })).toMatchObject({ code: "lora-alpha" });
    expect(addLora(withLora(model).model, OPTIONS)).toMatchObject({
      code: "name-taken",
      message: expect.stringContaining('"layer.weight.lora_A"'),
    });
  });
});
