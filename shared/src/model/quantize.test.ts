/** Against the real runtime: it reads the packed weights as they were meant, and the error is that of the rounding. */
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { createGraph } from "./graph.ts";
import { noise } from "./lora.testing.ts";
import { type Model, writeModel } from "./onnx.ts";
import { type QuantizeOptions, quantizeModel } from "./quantize.ts";

const [ROWS, OUTPUTS] = [5, 48];

function linear(inputs: number, weight = noise(inputs * OUTPUTS, 1)): Model {
  const graph = createGraph("linear");
  graph.node("MatMul", [graph.input("x", "float32", ["rows", inputs]), graph.parameter("w", [inputs, OUTPUTS], weight)], {}, "y");
  graph.output("y", "float32", ["rows", OUTPUTS]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

function quantised(model: Model, options: QuantizeOptions): Model {
  const made = quantizeModel(model, options);
  if (!made.ok) throw new Error(made.message);
  return made.model;
}

async function outputOf(model: Model, x: Float32Array): Promise<number[]> {
  const { y } = await runGraph(writeModel(model), { x: { shape: [ROWS, x.length / ROWS], values: x } });
  return Array.from(y?.values ?? [], Number);
}

/** The error's share of the outputs' size. */
function relativeError(values: readonly number[], exact: readonly number[]): number {
  const square = (all: readonly number[]) => all.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(square(values.map((value, i) => value - (exact[i] as number))) / square(exact));
}

describe("quantizeModel", () => {
  // 100 does not fill its last block of 32.
  for (const inputs of [128, 100])
    it(`makes bases whose outputs are those of the float32 model but for the rounding, ${inputs} inputs`, async () => {
      const model = linear(inputs);
      const x = noise(ROWS * inputs, 2);
      const exact = await outputOf(model, x);
      // A step of 1/8 of a block's largest value is uniformly wrong by 1/sqrt(12) of it, against values of 1/sqrt(3): 0.0625 of them.
      const fourBits = relativeError(await outputOf(quantised(model, { kind: "4-bit" }), x), exact);
      expect(fourBits).toBeGreaterThan(0.03);
      expect(fourBits).toBeLessThan(0.08);
      const coarser = relativeError(await outputOf(quantised(model, { kind: "4-bit", block: 128 }), x), exact);
      expect(coarser).toBeGreaterThan(0.03);
      expect(coarser).toBeLessThan(0.1);
      expect(relativeError(await outputOf(quantised(model, { kind: "int8" }), x), exact)).toBeLessThan(0.01);
      const original = writeModel(linear(inputs));
      expect(writeModel(model)).toEqual(original);
    });

  it("packs 4 bits as the runtime reads them: values that are steps of their block's scale come back exactly", async () => {
    const inputs = 64;
    // In each block of each column -8 steps occur, so that a step is the scale; the scale differs from block to block.
    const weight = Float32Array.from({ length: inputs * OUTPUTS }, (_, at) => {
      const [row, column] = [Math.floor(at / OUTPUTS), at % OUTPUTS];
      return (((row * 5 + column) % 16) - 8) * (1 + column) * 2 ** (row < 32 ? -6 : -3);
    });
    const model = linear(inputs, weight);
    const x = noise(ROWS * inputs, 2);
    expect(relativeError(await outputOf(quantised(model, { kind: "4-bit" }), x), await outputOf(model, x))).toBeLessThan(1e-6);
  });

  it("quantises what is wanted, keeps names, and leaves a weight to whatever else reads it", async () => {
    const graph = createGraph("tied");
    const table = graph.parameter("table", [48, 48], noise(48 * 48, 1));
    const other = graph.parameter("other", [48, 48], noise(48 * 48, 2));
    const embedded = graph.node("Gather", [table, graph.input("ids", "int64", ["rows"])]);
    graph.node("MatMul", [graph.node("MatMul", [embedded, table]), other], {}, "y");
    graph.output("y", "float32", ["rows", 48]);
    const model = graph.model({ irVersion: 8, opset: 17, producer: "test" });
    const tied = quantised(model, { kind: "4-bit", wants: (weight) => weight === "table" });
    expect(tied.graph.initializer.map(({ name }) => name)).toEqual(["table", "table/4-bit", "table/4-bit/scales", "other"]);
    expect(tied.graph.node.map(({ opType }) => opType)).toEqual(["Gather", "MatMulNBits", "MatMul"]);
    const ids = { shape: [2], values: BigInt64Array.of(3n, 7n) };
    await runGraph(writeModel(tied), { ids });
    expect(quantised(model, { kind: "int8" }).graph.initializer.map(({ name }) => name)).toContain("other");
  });

  it("refuses where nothing can be quantised, and weights that are not finite", () => {
    expect(quantizeModel(linear(32), { kind: "int8", wants: () => false })).toMatchObject({ ok: false, code: "nothing-to-quantise" });
    const weight = noise(32 * OUTPUTS, 1);
    weight[7] = Number.NaN;
    expect(quantizeModel(linear(32, weight), { kind: "4-bit" })).toMatchObject({
      ok: false,
      code: "weights-not-finite",
      message: expect.stringContaining('"w" has NaN at element 7'),
    });
  });
});
