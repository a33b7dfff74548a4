/** What epsilon a base bears, and, against the real runtime, that the least epsilon for int8 is where the measurement found it. */
import { describe, expect, it } from "vitest";
import { runGraph } from "../evaluate/run.testing.ts";
import { INT8_EPSILON_LOG2_MIN, refuseEpsilon, roundsActivations } from "./base.ts";
import { createGraph } from "./graph.ts";
import { liftTrainable } from "./lift.ts";
import { FORMS, noise } from "./lora.testing.ts";
import { addLora } from "./lora.ts";
import { changed, type Model, writeModel } from "./onnx.ts";
import { quantizeModel } from "./quantize.ts";

const modelOf = (form: string) => FORMS[form]?.().model as Model;

function quantised(model: Model, kind: "4-bit" | "int8"): Model {
  const made = quantizeModel(model, { kind });
  if (!made.ok) throw new Error(made.message);
  return made.model;
}

/** MatMulNBits with an attribute set otherwise. */
function withAttribute(model: Model, named: string, i: bigint): Model {
  const node = model.graph.node.map((each) => {
    const other = each.attribute.filter(({ name }) => name !== named);
    return each.opType === "MatMulNBits" ? changed(each, { attribute: [...other, changed(each.attribute[0]!, { name: named, i })] }) : each;
  });
  return changed(model, { graph: changed(model.graph, { node }) });
}

describe("refuseEpsilon", () => {
  it("names the node that rounds activations, the value and the limit", () => {
    expect(refuseEpsilon(modelOf("DynamicQuantizeMatMul"), -10)).toEqual({
      ok: false,
      code: "epsilon-too-small",
      message: expect.stringMatching(
        /epsilon is 2\^-10, but the node "y" \(DynamicQuantizeMatMul\) rounds activations.*take 2\^-6 or more/,
      ),
    });
    for (const form of ["MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"])
      expect(refuseEpsilon(modelOf(form), INT8_EPSILON_LOG2_MIN - 1), form).toMatchObject({ code: "epsilon-too-small" });
  });

  it("lets larger epsilons pass, and any where activations stay floats, whatever the weights are", () => {
    expect(refuseEpsilon(modelOf("DynamicQuantizeMatMul"), INT8_EPSILON_LOG2_MIN)).toBeUndefined();
    for (const form of ["MatMul", "MatMulNBits", "DequantizeLinear and MatMul"])
      expect(roundsActivations(modelOf(form)), form).toBeUndefined();
    expect(refuseEpsilon(withAttribute(modelOf("MatMulNBits"), "accuracy_level", 4n), -10)).toMatchObject({ code: "epsilon-too-small" });
    expect(refuseEpsilon(quantised(modelOf("MatMul"), "4-bit"), -14)).toBeUndefined();
  });
});

const [ROWS, WIDTH, RANK] = [16, 64, 4];

/** Three residual layers with LoRA on them. */
function residual(): Model {
  const graph = createGraph("residual");
  let x = graph.input("x", "float32", [ROWS, WIDTH]);
  for (let layer = 0; layer < 3; layer++) {
    const weight = graph.parameter(`w${layer}`, [WIDTH, WIDTH], noise(WIDTH * WIDTH, layer, 2 / Math.sqrt(WIDTH)));
    x = graph.node("Add", [x, graph.node("Tanh", [graph.node("MatMul", [x, weight])])]);
  }
  graph.output(graph.node("ReduceMean", [graph.node("Mul", [x, x])], { keepdims: 0 }, "loss"), "float32", []);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

/** Two-sided differences of the loss over directions of signs. */
async function differences(model: Model, epsilon: number): Promise<number[]> {
  const lora = addLora(model, { rank: RANK, alpha: 8, targets: ["w*"], seed: [1, 2, 3, 4] });
  if (!lora.ok) throw new Error(lora.message);
  const shapes = lora.adapters.flatMap(({ a, b }) => [
    { name: a, shape: [WIDTH, RANK] },
    { name: b, shape: [RANK, WIDTH] },
  ]);
  const bytes = writeModel(liftTrainable(lora.model, shapes));
  const lossAt = async (direction: number, distance: number) => {
    const fed = shapes.map(({ name, shape }, t) => {
      const start = noise(WIDTH * RANK, 20 + t, name.endsWith("_A") ? 1 / Math.sqrt(WIDTH) : 0.1);
      const signs = noise(WIDTH * RANK, 100 + 8 * direction + t);
      return [name, { shape, values: start.map((value, i) => value + distance * Math.sign(signs[i] as number)) }] as const;
    });
    const x = { shape: [ROWS, WIDTH], values: noise(ROWS * WIDTH, 10) };
    return Number((await runGraph(bytes, { x, ...Object.fromEntries(fed) })).loss?.values[0]);
  };
  const found: number[] = [];
  for (let direction = 0; direction < 32; direction++) found.push((await lossAt(direction, epsilon)) - (await lossAt(direction, -epsilon)));
  return found;
}

function correlation(one: readonly number[], other: readonly number[]): number {
  const centred = (all: readonly number[]) => all.map((value) => value - all.reduce((sum, each) => sum + each, 0) / all.length);
  const dot = (left: readonly number[], right: readonly number[]) => left.reduce((sum, value, i) => sum + value * (right[i] as number), 0);
  const [a, b] = [centred(one), centred(other)];
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

describe("INT8_EPSILON_LOG2_MIN", () => {
  it("is where an int8 base's differences are still those of the float32 base; far below it they are noise, but not those of 4 bits", async () => {
    const model = residual();
    const at = async (kind: "int8" | "4-bit", epsilonLog2: number) =>
      correlation(await differences(model, 2 ** epsilonLog2), await differences(quantised(model, kind), 2 ** epsilonLog2));
    expect(await at("int8", INT8_EPSILON_LOG2_MIN)).toBeGreaterThan(0.9);
    expect(await at("int8", -13)).toBeLessThan(0.7);
    expect(await at("4-bit", -13)).toBeGreaterThan(0.9);
  });
});
