/** Small graphs with one product each, in every form that LoRA can be laid beside, for tests. */
import { threefry } from "../zo/threefry.ts";
import { createGraph, type GraphBuilder, tensorOf } from "./graph.ts";
import { type Adapter, addLora, type LoraOptions } from "./lora.ts";
import { floatsOf, type Model } from "./onnx.ts";

export const [ROWS, INPUTS, OUTPUTS] = [5, 384, 48];

/** Uniform numbers from -scale to scale, the same every time. */
export function noise(n: number, salt: number, scale = 1): Float32Array<ArrayBuffer> {
  const values = new Float32Array(n);
  for (let i = 0; i < n; i += 4)
    threefry([salt, 0, 0, 0], i >>> 2, 0, 0, 0).forEach((word, j) => {
      if (i + j < n) values[i + j] = scale * ((word + 0.5) * 2 ** -31 - 1);
    });
  return values;
}

const bytes = (n: number, salt: number) => Uint8Array.from(noise(n, salt), (value) => 128 + 127 * value);

/** y = x W of a graph with the input x, by the name of the weight, "layer.weight"; `make` adds what gives "y". */
function productModel(make: (graph: GraphBuilder, x: string) => void, transposedX = false): Model {
  const graph = createGraph("product");
  const x = graph.input("x", "float32", transposedX ? [INPUTS, ROWS] : [ROWS, INPUTS]);
  make(graph, x);
  graph.output("y", "float32", [ROWS, OUTPUTS]);
  return graph.model({ irVersion: 10, opset: 21, producer: "test", domains: { "com.microsoft": 1 } });
}

const floatWeight = (graph: GraphBuilder, transposed = false) =>
  graph.parameter("layer.weight", transposed ? [OUTPUTS, INPUTS] : [INPUTS, OUTPUTS], noise(INPUTS * OUTPUTS, 1, 0.1));
const byteWeight = (graph: GraphBuilder) => graph.parameter("layer.weight", [INPUTS, OUTPUTS], bytes(INPUTS * OUTPUTS, 1), "uint8");
const bias = (graph: GraphBuilder, y: string) =>
  graph.node("Add", [graph.parameter("layer.bias", [OUTPUTS], noise(OUTPUTS, 2)), y], {}, "y");
const byteOf = (graph: GraphBuilder, name: string, value: number) => graph.parameter(name, [], Uint8Array.of(value), "uint8");

export interface Form {
  model: Model;
  /** What multiplies the branch besides alpha / rank. */
  factor?: number;
  transposedX?: boolean;
}

export const FORMS: Readonly<Record<string, () => Form>> = {
  MatMul: () => ({ model: productModel((graph, x) => graph.node("MatMul", [x, floatWeight(graph)], {}, "y")) }),
  "MatMul of a Constant": () => ({
    model: productModel((graph, x) => {
      const value = tensorOf("", [INPUTS, OUTPUTS], noise(INPUTS * OUTPUTS, 1, 0.1));
      graph.node("MatMul", [x, graph.node("Constant", [], { value }, "layer.weight")], {}, "y");
    }),
  }),
  "MatMul and a bias": () => ({ model: productModel((graph, x) => bias(graph, graph.node("MatMul", [x, floatWeight(graph)]))) }),
  "MatMul of a transposed weight": () => ({
    model: productModel((graph, x) => graph.node("MatMul", [x, graph.node("Transpose", [floatWeight(graph, true)])], {}, "y")),
  }),
  "Gemm, transposed and scaled": () => ({
    model: productModel((graph, x) => {
      const attributes = { transA: 1, transB: 1, alpha: { float: 0.5 }, beta: { float: 2 } };
      graph.node("Gemm", [x, floatWeight(graph, true), graph.floats(noise(OUTPUTS, 3))], attributes, "y");
    }, true),
    factor: 0.5,
    transposedX: true,
  }),
  MatMulNBits: () => ({
    model: productModel((graph, x) => {
      const weight = graph.parameter("layer.weight", [OUTPUTS, INPUTS / 32, 16], bytes((INPUTS * OUTPUTS) / 2, 4), "uint8");
      const scales = graph.parameter("layer.scales", [(OUTPUTS * INPUTS) / 32], noise((OUTPUTS * INPUTS) / 32, 5, 0.1));
      const attributes = { K: INPUTS, N: OUTPUTS, bits: 4, block_size: 32 };
      bias(graph, graph.node("com.microsoft::MatMulNBits", [x, weight, scales], attributes));
    }),
  }),
  DynamicQuantizeMatMul: () => ({
    model: productModel((graph, x) => {
      const inputs = [x, byteWeight(graph), graph.floats([0.01]), byteOf(graph, "layer.zero", 128)];
      graph.node("com.microsoft::DynamicQuantizeMatMul", inputs, {}, "y");
    }),
  }),
  MatMulInteger: () => ({
    model: productModel((graph, x) => {
      const [x8 = "", scale = "", zero = ""] = graph.nodes("DynamicQuantizeLinear", [x], {}, 3);
      const product = graph.node("MatMulInteger", [x8, byteWeight(graph), zero, byteOf(graph, "layer.zero", 128)]);
      const scales = graph.node("Mul", [scale, graph.floats([0.01])]);
      bias(graph, graph.node("Mul", [graph.node("Cast", [product], { to: 1 }), scales]));
    }),
  }),
  MatMulIntegerToFloat: () => ({
    model: productModel((graph, x) => {
      const [x8 = "", scale = "", zero = ""] = graph.nodes("DynamicQuantizeLinear", [x], {}, 3);
      const inputs = [x8, byteWeight(graph), scale, graph.floats([0.01]), zero, byteOf(graph, "layer.zero", 128)];
      graph.node("com.microsoft::MatMulIntegerToFloat", inputs, {}, "y");
    }),
  }),
  "DequantizeLinear and MatMul": () => ({
    model: productModel((graph, x) => {
      const scales = graph.parameter("layer.scales", [OUTPUTS], noise(OUTPUTS, 6, 0.01));
      graph.node("MatMul", [x, graph.node("DequantizeLinear", [byteWeight(graph), scales], { axis: 1 })], {}, "y");
    }),
  }),
  QLinearMatMul: () => ({
    model: productModel((graph, x) => {
      const about = (name: string, scale: number) => [
        graph.parameter(`${name}.scale`, [], Float32Array.of(scale)),
        byteOf(graph, `${name}.zero`, 128),
      ];
      const [ofX, ofY] = [about("x", 0.01), about("y", 0.5)];
      const x8 = graph.node("QuantizeLinear", [x, ...ofX]);
      const y8 = graph.node("QLinearMatMul", [x8, ...ofX, byteWeight(graph), ...about("layer", 0.01), ...ofY]);
      graph.node("DequantizeLinear", [y8, ...ofY], {}, "y");
    }),
  }),
};

export const OPTIONS: LoraOptions = { rank: 4, alpha: 6, targets: ["*"], seed: [1, 2, 3, 4] };

export function withLora(model: Model, options: Partial<LoraOptions> = {}): { model: Model; adapters: Adapter[] } {
  const made = addLora(model, { ...OPTIONS, ...options });
  if (!made.ok) throw new Error(made.message);
  return made;
}

export function valuesIn({ graph }: Model, name: string): Float32Array {
  const tensor = graph.initializer.find((each) => each.name === name);
  const floats = tensor && floatsOf(tensor);
  if (!floats?.ok) throw new Error(`no floats "${name}"`);
  return floats.values;
}

/** Row-major [rows, inner] x [inner, columns], in float64. */
export function product(left: ArrayLike<number>, right: ArrayLike<number>, inner: number): Float64Array {
  const [rows, columns] = [left.length / inner, right.length / inner];
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < inner; i++)
      sum += (left[Math.floor(at / columns) * inner + i] as number) * (right[i * columns + (at % columns)] as number);
    return sum;
  });
}

/** A graph from x to y, both float32 [rows, 8]. */
export function chain(make: (graph: GraphBuilder, x: string) => void): Model {
  const graph = createGraph("chain");
  make(graph, graph.input("x", "float32", ["rows", 8]));
  graph.output("y", "float32", ["rows", 8]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

export const square = (graph: GraphBuilder, name: string, salt: number) => graph.parameter(name, [8, 8], noise(64, salt));
