/**
 * Makes a quantised base of a float model: its products with constant weights in 4 or 8 bits, as ONNX Runtime's own operators.
 * It must never change what else reads a weight: a tied embedding keeps its values.
 */
import { create } from "@bufbuild/protobuf";
import { OperatorSetIdProtoSchema } from "onnx-buf";
import { nodeOf, tensorOf } from "./graph.ts";
import { changed, type Model, type NodeProto, type Refused, type TensorProto } from "./onnx.ts";
import { operatorOf, type Product, productsOf } from "./products.ts";
import { floatsOf, insideSource, type TensorCode, type WeightSource } from "./tensor.ts";

export interface QuantizeOptions {
  /** 4-bit: MatMulNBits, whose activations stay float32. int8: DynamicQuantizeMatMul, which rounds each whole activation to 8 bits. */
  kind: "4-bit" | "int8";
  /** Elements of a column that share a scale at 4 bits: 32, the most exact, takes 5 bits a weight with its scale, and 128 takes 4.25. */
  block?: 32 | 64 | 128;
  /** Whether to quantise the weight of that name; all where it is left out. */
  wants?: (weight: string) => boolean;
}

export type Quantized = { ok: true; model: Model; weights: string[] } | Refused<"nothing-to-quantise" | "weights-not-finite" | TensorCode>;

const DOMAIN = "com.microsoft";
/** MatMulNBits: products of float32. At 4 the runtime would round activations to 8 bits, as it may where nothing is said. */
const ACCURACY_FLOAT32 = 1;

/**
 * The model with each MatMul of a float32 initializer in 4 or 8 bits. The quantised weight keeps its name, so that an adapter of one base
 * fits the other; where something else reads the weight too, that stays, and the quantised one is `NAME/4-bit` or `NAME/int8`.
 */
export function quantizeModel(
  model: Model,
  { kind, block = 32, wants = () => true }: QuantizeOptions,
  source: WeightSource = insideSource,
): Quantized {
  const { graph } = model;
  const { products, readElsewhere } = productsOf(model);
  const initializers = new Set(graph.initializer);
  const made = new Map<NodeProto, NodeProto>();
  const replacements = new Map<TensorProto, TensorProto[]>();
  for (const product of products) {
    const { node, weight } = product;
    if (!isPlain(product) || !initializers.has(weight) || !wants(weight.name)) continue;
    let tensors = replacements.get(weight);
    if (tensors === undefined) {
      const floats = floatsOf(weight, source);
      if (!floats.ok) return floats;
      const at = floats.values.findIndex((value) => !Number.isFinite(value));
      const message = `the tensor "${weight.name}" has ${floats.values[at]} at element ${at}; export a model whose weights are finite`;
      if (at >= 0) return { ok: false, code: "weights-not-finite", message };
      const stays = readElsewhere.has(weight.name) || products.some((other) => other.weight === weight && !isPlain(other));
      const name = stays ? `${weight.name}/${kind}` : weight.name;
      const quantised = kind === "4-bit" ? fourBits(name, floats.values, product, block) : eightBits(name, floats.values, product);
      tensors = stays ? [weight, ...quantised] : quantised;
      replacements.set(weight, tensors);
    }
    const read = tensors.filter((tensor) => tensor !== weight).map(({ name }) => name);
    made.set(node, changed(replacementOf(kind, block, product, read), { name: node.name }));
  }
  if (made.size === 0) {
    const message =
      "the model has no MatMul of a float32 initializer of two dimensions that was asked for; quantise the model as it was exported";
    return { ok: false, code: "nothing-to-quantise", message };
  }
  const isKnown = model.opsetImport.some(({ domain }) => domain === DOMAIN);
  const opsetImport = isKnown
    ? model.opsetImport
    : [...model.opsetImport, create(OperatorSetIdProtoSchema, { domain: DOMAIN, version: 1n })];
  const node = graph.node.map((each) => made.get(each) ?? each);
  const initializer = graph.initializer.flatMap((tensor) => replacements.get(tensor) ?? [tensor]);
  return {
    ok: true,
    model: changed(model, { opsetImport, graph: changed(graph, { node, initializer }) }),
    weights: [...replacements.keys()].map(({ name }) => name),
  };
}

/** A MatMul that reads its float32 weight directly, as it lies. */
function isPlain({ node, weight, kind, isTransposed }: Product): boolean {
  return operatorOf(node) === "MatMul" && node.input[1] === weight.name && kind === "float32" && !isTransposed;
}

function replacementOf(kind: "4-bit" | "int8", block: number, { node, inputs, outputs }: Product, read: readonly string[]): NodeProto {
  const input = [node.input[0] ?? "", ...read];
  if (kind === "int8") return nodeOf(`${DOMAIN}::DynamicQuantizeMatMul`, input, node.output);
  const attributes = { K: inputs, N: outputs, bits: 4, block_size: block, accuracy_level: ACCURACY_FLOAT32 };
  return nodeOf(`${DOMAIN}::MatMulNBits`, input, node.output, attributes);
}

interface Shape {
  inputs: number;
  outputs: number;
}

/**
 * As MatMulNBits reads it: column by column, block by block, w = scale * (code - 8) with codes 0..15, the first of two in a byte's low bits.
 * The value farthest from zero has the code 0, so that its sign gets the one step that the other has not.
 */
function fourBits(name: string, values: Float32Array, { inputs, outputs }: Shape, size: number): TensorProto[] {
  const blocks = Math.ceil(inputs / size);
  // What fills up the last block has the code 8, zero.
  const packed = new Uint8Array((outputs * blocks * size) / 2).fill(0x88);
  const scales = new Float32Array(outputs * blocks);
  for (let block = 0; block < scales.length; block++) {
    const column = Math.floor(block / blocks);
    const first = (block % blocks) * size;
    const count = Math.min(size, inputs - first);
    const valueAt = (i: number) => values[(first + i) * outputs + column] as number;
    let farthest = 0;
    for (let i = 0; i < count; i++) if (Math.abs(valueAt(i)) > Math.abs(farthest)) farthest = valueAt(i);
    const scale = Math.fround(farthest / -8);
    scales[block] = scale;
    if (scale === 0) continue;
    for (let i = 0; i < count; i++) {
      const code = Math.max(0, Math.min(15, Math.round(valueAt(i) / scale) + 8));
      const at = (block * size + i) >> 1;
      packed[at] = i % 2 === 0 ? ((packed[at] as number) & 0xf0) | code : ((packed[at] as number) & 0x0f) | (code << 4);
    }
  }
  return [tensorOf(name, [outputs, blocks, size / 2], packed, "uint8"), tensorOf(`${name}/scales`, [scales.length], scales)];
}

/** As DynamicQuantizeMatMul reads it: w = scale of the column * (code - 128). Unsigned, since sums of signed weights saturate on CPUs without VNNI. */
function eightBits(name: string, values: Float32Array, { inputs, outputs }: Shape): TensorProto[] {
  const scales = new Float32Array(outputs);
  for (let i = 0; i < values.length; i++)
    scales[i % outputs] = Math.max(scales[i % outputs] as number, Math.abs(values[i] as number) / 127);
  const codes = Uint8Array.from(values, (value, i) => {
    const scale = scales[i % outputs] as number;
    return 128 + (scale === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(value / scale))));
  });
  return [
    tensorOf(name, [inputs, outputs], codes, "uint8"),
    tensorOf(`${name}/scales`, [outputs], scales),
    tensorOf(`${name}/zeros`, [outputs], new Uint8Array(outputs).fill(128), "uint8"),
  ];
}
