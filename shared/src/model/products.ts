/**
 * Finds a graph's matrix products with constant weights, float or quantised, and the float values around each: what a LoRA branch is laid beside.
 * It only reads. Products inside of bodies (If, Loop, Scan) are not found, but that they read a weight of the graph around them is seen.
 */
import { TensorProto_DataType as Type } from "onnx-buf";
import type { Model, NodeProto, TensorProto } from "./onnx.ts";
import { TRAINABLE_TYPES, type TrainableType } from "./tensor.ts";
import { calledOf, tensorsOf, withBodies } from "./walk.ts";

/** How a weight is stored: as float, in 8 bits, or in 4 or fewer. */
export type WeightKind = TrainableType | "int8" | "4-bit";

export const WEIGHT_KINDS: Readonly<Record<number, WeightKind>> = {
  ...TRAINABLE_TYPES,
  ...Object.fromEntries([Type.INT8, Type.UINT8].map((type) => [type, "int8"])),
  ...Object.fromEntries([Type.INT4, Type.UINT4, Type.INT2, Type.UINT2].map((type) => [type, "4-bit"])),
};

/** y = factor * x W, and perhaps a constant bias. */
export interface Product {
  node: NodeProto;
  /** The tensor that holds the weight. */
  weight: TensorProto;
  kind: WeightKind;
  inputs: number;
  outputs: number;
  /** The weight lies as [outputs, inputs]. */
  isTransposed: boolean;
  /** The names of the float values, and their type. */
  x: string;
  y: string;
  type: TrainableType;
  factor: number;
  /** x is transposed before it is multiplied. */
  isXTransposed: boolean;
}

export interface Products {
  products: Product[];
  /** Products with a constant weight that are of no form that is understood. */
  unfit: { node: NodeProto; weight: string; why: string }[];
  /** Tensors that something else than these products reads too, with what that is. */
  readElsewhere: Map<string, string>;
}

/** All products of the graph, in its order. */
export function productsOf(model: Model): Products {
  const search = searchOf(model);
  const found: Products = { products: [], unfit: [], readElsewhere: new Map() };
  for (const node of model.graph.node) {
    const constant = search.constants.get(node.input[weightAt(node)] ?? "");
    if (constant === undefined) continue;
    const product = productOf(node, constant, search);
    if (typeof product === "string") found.unfit.push({ node, weight: constant.tensor.name, why: product });
    else found.products.push(product);
  }
  const multiplying = new Set(found.products.map(({ node }) => node));
  for (const node of withBodies(model.graph.node)) {
    if (search.passing.has(node)) continue;
    node.input.forEach((name, at) => {
      const read = search.constants.get(name)?.tensor.name;
      const isProduct = multiplying.has(node) && at === weightAt(node);
      if (read !== undefined && !isProduct) found.readElsewhere.set(read, calledOf(node));
    });
  }
  for (const { name } of model.graph.output) {
    const read = search.constants.get(name)?.tensor.name;
    if (read !== undefined) found.readElsewhere.set(read, `the output "${name}"`);
  }
  return found;
}

/** A constant as something reads it: itself, or through Identity, Transpose, Cast and DequantizeLinear. */
interface Constant {
  tensor: TensorProto;
  isTransposed: boolean;
  /** Of the value that is read; undefined where that is no float. */
  type: TrainableType | undefined;
}

interface Search {
  constants: ReadonlyMap<string, Constant>;
  producers: ReadonlyMap<string, NodeProto>;
  /** The only node that reads a value; undefined where there are several, or where it is an output of the graph. */
  soleReader(name: string): NodeProto | undefined;
  /** The nodes that only pass a constant on. */
  passing: ReadonlySet<NodeProto>;
}

function searchOf(model: Model): Search {
  const { graph } = model;
  const constants = new Map<string, Constant>();
  for (const { tensor } of tensorsOf(model))
    constants.set(tensor.name, { tensor, isTransposed: false, type: TRAINABLE_TYPES[tensor.dataType] });
  const passing = new Set<NodeProto>();
  for (const node of graph.node) {
    const from = constants.get(node.input[0] ?? "");
    const passed = from && passedOn(node, from, constants);
    if (passed === undefined) continue;
    constants.set(node.output[0] ?? "", passed);
    passing.add(node);
  }
  const readers = new Map<string, NodeProto[]>();
  for (const node of withBodies(graph.node))
    for (const name of node.input) {
      const known = readers.get(name);
      if (known === undefined) readers.set(name, [node]);
      else known.push(node);
    }
  for (const { name } of graph.output) readers.delete(name);
  const soleReader = (name: string) => (readers.get(name)?.length === 1 ? readers.get(name)?.[0] : undefined);
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
  return { constants, producers, soleReader, passing };
}

function passedOn(node: NodeProto, from: Constant, constants: ReadonlyMap<string, Constant>): Constant | undefined {
  switch (operatorOf(node)) {
    case "Identity":
      return from;
    case "Cast":
      return from.type && { ...from, type: TRAINABLE_TYPES[integerOf(node, "to", 0)] };
    case "DequantizeLinear":
      return { ...from, type: constants.get(node.input[1] ?? "")?.type };
    case "Transpose": {
      if (from.tensor.dims.length !== 2) return undefined;
      const isSwap = node.attribute.find(({ name }) => name === "perm")?.ints[0] !== 0n;
      return { ...from, isTransposed: from.isTransposed !== isSwap };
    }
    default:
      return undefined;
  }
}

/** The operators that multiply by a weight, and at which input they have it. */
const WEIGHT_AT: Readonly<Record<string, number>> = {
  MatMul: 1,
  Gemm: 1,
  MatMulInteger: 1,
  QLinearMatMul: 3,
  "com.microsoft::MatMulNBits": 1,
  "com.microsoft::DynamicQuantizeMatMul": 1,
  "com.microsoft::MatMulIntegerToFloat": 1,
};

const weightAt = (node: NodeProto) => WEIGHT_AT[operatorOf(node)] ?? -1;

/** A node's operator, as nodeOf takes it. */
export function operatorOf({ domain, opType }: NodeProto): string {
  return domain === "" || domain === "ai.onnx" ? opType : `${domain}::${opType}`;
}

/** The product that a node is, or a text that says why it is none of a known form. */
function productOf(node: NodeProto, { tensor, isTransposed, type }: Constant, search: Search): Product | string {
  const operator = operatorOf(node);
  const [x = ""] = node.input;
  const [y = ""] = node.output;
  const kind = WEIGHT_KINDS[tensor.dataType];
  if (kind === undefined) return "has a weight that is neither a float nor of 8 bits or fewer";
  if (operator === "com.microsoft::MatMulNBits") return packedProductOf(node, tensor, search);
  if (tensor.dims.length !== 2)
    return `has a weight of the shape [${tensor.dims.join(", ")}], and only one of two dimensions has a low-rank form`;
  const isGemm = operator === "Gemm";
  const isFlipped = isGemm && integerOf(node, "transB", 0) === 1 ? !isTransposed : isTransposed;
  const [rows, columns] = tensor.dims.map(Number) as [number, number];
  const [inputs, outputs] = isFlipped ? [columns, rows] : [rows, columns];
  const plain = { node, weight: tensor, kind, inputs, outputs, isTransposed: isFlipped, x, y, factor: 1, isXTransposed: false };
  if (operator === "MatMul" || isGemm) {
    if (type === undefined) return "does not read its weight as a float";
    const factor = (isGemm ? node.attribute.find(({ name }) => name === "alpha")?.f : undefined) ?? 1;
    return withBias({ ...plain, type, factor, isXTransposed: isGemm && integerOf(node, "transA", 0) === 1 }, search);
  }
  if (operator === "com.microsoft::DynamicQuantizeMatMul") return withBias({ ...plain, type: "float32" }, search);
  return integerProductOf(node, { ...plain, type: "float32" }, search);
}

/** MatMulNBits says itself how large its weight is, which is packed by columns. */
function packedProductOf(node: NodeProto, weight: TensorProto, search: Search): Product | string {
  const [x = "", , scales = ""] = node.input;
  const type = search.constants.get(scales)?.type;
  if (type === undefined) return "has no constant scales of a float type";
  const [inputs, outputs] = [integerOf(node, "K", 0), integerOf(node, "N", 0)];
  const kind = integerOf(node, "bits", 4) > 4 ? "int8" : "4-bit";
  const [y = ""] = node.output;
  return withBias({ node, weight, kind, inputs, outputs, isTransposed: true, x, y, type, factor: 1, isXTransposed: false }, search);
}

/** Products of integers, whose float input is what was quantised right before and whose float output is what is made of theirs right after. */
function integerProductOf(node: NodeProto, product: Product, search: Search): Product | string {
  const operator = operatorOf(node);
  const before = search.producers.get(product.x);
  if (before === undefined || !["DynamicQuantizeLinear", "QuantizeLinear"].includes(operatorOf(before)))
    return "has an input of 8 bits that is not made of a float right before it; quantise the model dynamically, or as QDQ";
  const [x = ""] = before.input;
  if (operator === "com.microsoft::MatMulIntegerToFloat") return withBias({ ...product, x }, search);
  const after = search.soleReader(product.y);
  const isCast = after !== undefined && operatorOf(after) === "Cast";
  const last = operator === "MatMulInteger" ? isCast && search.soleReader(after.output[0] ?? "") : after;
  if (last && operatorOf(last) === (operator === "MatMulInteger" ? "Mul" : "DequantizeLinear"))
    return withBias({ ...product, x, y: last.output[0] ?? "" }, search);
  return "has a result of integers that no float is made of right after it; quantise the model dynamically, or as QDQ";
}

/** With the bias that is added right after it. The runtime makes one operator of both, and a branch between them would change the rounding. */
function withBias(product: Product, { soleReader, constants }: Search): Product {
  const reader = soleReader(product.y);
  if (reader === undefined || operatorOf(reader) !== "Add") return product;
  const bias = constants.get(reader.input.find((name) => name !== product.y) ?? "");
  return bias && bias.tensor.dims.length < 2 ? { ...product, y: reader.output[0] ?? "" } : product;
}

/** An integer attribute, or what stands for it where a node has none. */
export function integerOf({ attribute }: NodeProto, named: string, otherwise: number): number {
  const found = attribute.find(({ name }) => name === named);
  return found === undefined ? otherwise : Number(found.i);
}
