/**
 * LoRA (Hu et al., 2021): beside products with frozen weights, float or quantised, it lays branches of low rank, and only those are trained.
 * It reads no weight but for merging; before training the branches add zero, so the outputs are those of the model as it was.
 */
import { TensorProto_DataType as Type } from "onnx-buf";
import { type Key, threefry } from "../zo/threefry.ts";
import { nodeOf, tensorOf } from "./graph.ts";
import { changed, type Model, type NodeProto, type Refused } from "./onnx.ts";
import { globOf } from "./place.ts";
import { type Product, type Products, productsOf, type WeightKind } from "./products.ts";
import { calledOf, definedIn, withBodies } from "./walk.ts";

export interface LoraOptions {
  rank: number;
  /** The branches are scaled by alpha / rank. */
  alpha: number;
  /** Patterns (`*` is any text) of the names of weights, or of the nodes that multiply by them. */
  targets: readonly string[];
  /** What A is drawn from. */
  seed: Key;
}

/** The branches of one weight: y' = y + alpha / rank * (x A) B, with A [inputs, rank] and B [rank, outputs]. */
export interface Adapter {
  /** The weight's name. */
  target: string;
  /** The names of the float32 initializers. */
  a: string;
  b: string;
  inputs: number;
  outputs: number;
  rank: number;
  alpha: number;
  kind: WeightKind;
  /** The weight lies as [outputs, inputs]. */
  isTransposed: boolean;
  /** What reads the weight without a branch: where there is such a reader, merging would change more than was trained. */
  readElsewhere: string | null;
}

export type LoraCode = "lora-no-target" | "lora-rank" | "lora-alpha" | "name-taken";
export type WithLora = { ok: true; model: Model; adapters: Adapter[] } | Refused<LoraCode>;

/** Everything that is added besides A and B begins so. */
export const LORA_PREFIX = "zoswarm/lora/";
/** Counters of the generator beside those of arithmetic.md 3 to 5. */
const STREAM = 3 << 24;
const NAMED_MAX = 20;

/**
 * The model with branches beside all products by the weights that the targets name, in the graph's order; a weight that several nodes share
 * has one A and one B. A is uniform in +-1/sqrt(inputs), which is Kaiming's bound with a = sqrt(5), as usual; B is zero. The branch of a
 * 16-bit product is computed in float32 and rounded once. The model that is passed stays as it is. Its outputs keep their bits before
 * training, but for the last one where the runtime made one operator of a product and what follows it, and the branch now lies between.
 */
export function addLora(model: Model, { rank, alpha, targets, seed }: LoraOptions): WithLora {
  if (!(Number.isFinite(alpha) && alpha > 0))
    return { ok: false, code: "lora-alpha", message: `lora's alpha is ${alpha}; it must be a number above 0, for instance twice the rank` };
  const found = productsOf(model);
  const chosen = choose(found, targets);
  if (!chosen.ok) return chosen;
  const adapters: Adapter[] = [];
  const branches = new Map<string, { base: string; nodes: NodeProto[] }>();
  for (const [target, [first, ...others]] of chosen.byWeight) {
    const { inputs, outputs, kind, isTransposed } = first;
    const rankMax = Math.min(inputs, outputs);
    if (!(Number.isInteger(rank) && rank >= 1 && rank <= rankMax)) {
      const message = `lora's rank is ${rank}; for "${target}", ${inputs} x ${outputs}, it must be an integer from 1 to ${rankMax}: change it, or leave this target out`;
      return { ok: false, code: "lora-rank", message };
    }
    // A product by the same weight the other way round has no branch: it counts as another reader.
    const reversed = others.find((other) => other.isTransposed !== isTransposed);
    const readElsewhere = found.readElsewhere.get(target) ?? (reversed ? `${calledOf(reversed.node)}, the other way round` : null);
    const names = { a: `${target}.lora_A`, b: `${target}.lora_B` };
    const adapter = { target, ...names, inputs, outputs, rank, alpha, kind, isTransposed, readElsewhere };
    adapters.push(adapter);
    for (const product of [first, ...others])
      if (product.isTransposed === isTransposed) branches.set(product.y, branchOf(product, adapter));
  }
  const taken = takenIn(model, new Set(adapters.flatMap(({ a, b }) => [a, b])));
  if (taken !== undefined) {
    const message = `the model has a value named "${taken}", which is needed for LoRA; rename it, or take the model as it was before LoRA`;
    return { ok: false, code: "name-taken", message };
  }
  const initializer = adapters.flatMap(({ a, b, inputs, outputs }, index) => [
    tensorOf(a, [inputs, rank], drawA(seed, index, inputs, rank)),
    tensorOf(b, [rank, outputs], new Float32Array(rank * outputs)),
  ]);
  const { graph } = model;
  const node = graph.node.flatMap((each) => {
    const branch = branches.get(each.output[0] ?? "");
    return branch === undefined ? [each] : [changed(each, { output: [branch.base, ...each.output.slice(1)] }), ...branch.nodes];
  });
  return {
    ok: true,
    model: changed(model, { graph: changed(graph, { node, initializer: [...graph.initializer, ...initializer] }) }),
    adapters,
  };
}

function choose(
  { products, unfit }: Products,
  targets: readonly string[],
): { ok: true; byWeight: Map<string, [Product, ...Product[]]> } | Refused<"lora-no-target"> {
  const refused = (message: string) => ({ ok: false, code: "lora-no-target", message }) as const;
  const chosen = new Set<string>();
  for (const pattern of targets) {
    const matches = globOf(pattern);
    const isNamed = (node: NodeProto, weight: string) => matches.test(weight) || matches.test(node.name);
    const named = products.filter(({ node, weight }) => isNamed(node, weight.name));
    for (const { weight } of named) chosen.add(weight.name);
    if (named.length > 0) continue;
    const other = unfit.find(({ node, weight }) => isNamed(node, weight));
    const why = other ? `; "${other.weight}" cannot be one, as ${calledOf(other.node)} ${other.why}` : "";
    return refused(`no weight of a matrix product, and no such product, has a name like "${pattern}"${why}; ${candidates(products)}`);
  }
  if (chosen.size === 0) return refused(`lora has no targets; ${candidates(products)}`);
  // Of a weight that is chosen by the name of one node, all products have the branch: it is one weight still.
  const byWeight = new Map<string, [Product, ...Product[]]>();
  for (const product of products) {
    const known = byWeight.get(product.weight.name);
    if (known !== undefined) known.push(product);
    else if (chosen.has(product.weight.name)) byWeight.set(product.weight.name, [product]);
  }
  return { ok: true, byWeight };
}

function candidates(products: readonly Product[]): string {
  const names = [...new Set(products.map(({ weight }) => `"${weight.name}"`))];
  if (names.length === 0)
    return "the model has no product that LoRA can be laid beside: train it in full, or export it with its weights as constants";
  const rest = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : "";
  return `targets can be ${names.slice(0, NAMED_MAX).join(", ")}${rest}`;
}

function takenIn({ graph }: Model, needed: ReadonlySet<string>): string | undefined {
  const bodies = [...withBodies(graph.node)].flatMap(({ output }) => output);
  return [...definedIn(graph), ...bodies].find((name) => needed.has(name) || name.startsWith(LORA_PREFIX));
}

/**
 * The nodes of a branch. The product gives `base`, and the sum takes its name, so that all that read it, and the graph's output, read the sum.
 * That is taken in the product's own type: the runtime then leaves out the same roundings as it does without the branch.
 */
function branchOf(product: Product, { a, b, alpha, rank }: Adapter): { base: string; nodes: NodeProto[] } {
  const { x, y, type, factor, isXTransposed } = product;
  const named = (part: string) => `${LORA_PREFIX}${y}/${part}`;
  const cast = (name: string, part: string, to: number) => (type === "float32" ? [] : [nodeOf("Cast", [name], [named(part)], { to })]);
  const [from, up] = type === "float32" ? [x, named("up")] : [named("x"), named("narrowed")];
  const nodes = [
    ...cast(x, "x", Type.FLOAT),
    isXTransposed ? nodeOf("Gemm", [from, a], [named("down")], { transA: 1 }) : nodeOf("MatMul", [from, a], [named("down")]),
    // Scaled where it is narrowest.
    nodeOf("Constant", [], [named("scale")], { value: tensorOf("", [], Float32Array.of((factor * alpha) / rank)) }),
    nodeOf("Mul", [named("down"), named("scale")], [named("scaled")]),
    nodeOf("MatMul", [named("scaled"), b], [named("up")]),
    ...cast(named("up"), "narrowed", type === "float16" ? Type.FLOAT16 : Type.BFLOAT16),
    // Named apart from its output, which the product's own node may be named after; the runtime wants every name once.
    changed(nodeOf("Add", [named("base"), up], [y]), { name: named("sum") }),
  ];
  return { base: named("base"), nodes };
}

/** Four elements a call; 24 bits each, shifted by half a step so that the two signs are alike. */
function drawA(seed: Key, index: number, inputs: number, rank: number): Float32Array {
  const bound = 1 / Math.sqrt(inputs);
  const values = new Float32Array(inputs * rank);
  for (let i = 0; i < values.length; i += 4)
    threefry(seed, i >>> 2, index, 0, STREAM).forEach((word, j) => {
      if (i + j < values.length) values[i + j] = bound * (((word >>> 8) + 0.5) * 2 ** -23 - 1);
    });
  return values;
}

export type Merged = { ok: true; values: Float32Array } | Refused<"lora-quantised-base" | "lora-shared-weight" | "lora-not-finite">;

/**
 * W + alpha / rank * A B in the layout of `base`, W's values: float64, rounded once to float32; a weight of 16 bits is narrowed by who writes it.
 * Refuses a quantised weight and one that others read too. Throws where the sizes are not the adapter's.
 */
export function mergeLora(adapter: Adapter, a: Float32Array, b: Float32Array, base: Float32Array): Merged {
  const { target, inputs, outputs, rank, alpha, kind, isTransposed, readElsewhere } = adapter;
  if (kind === "int8" || kind === "4-bit") {
    const message = `"${target}" is a weight of ${kind === "int8" ? "8" : "4"} bits, too coarse to hold what was trained; export the adapter (--adapter) beside the model instead of merging it`;
    return { ok: false, code: "lora-quantised-base", message };
  }
  if (readElsewhere !== null) {
    const message = `"${target}" is also read by ${readElsewhere}, which was not trained; export the adapter (--adapter) beside the model instead of merging it`;
    return { ok: false, code: "lora-shared-weight", message };
  }
  if (a.length !== inputs * rank || b.length !== rank * outputs || base.length !== inputs * outputs)
    throw new Error(
      `"${target}" is ${inputs} x ${outputs} at rank ${rank}, but W, A and B have ${base.length}, ${a.length} and ${b.length} elements`,
    );
  const scale = alpha / rank;
  const values = new Float32Array(base.length);
  const row = new Float64Array(outputs);
  for (let i = 0; i < inputs; i++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = a[i * rank + r] as number;
      for (let o = 0; o < outputs; o++) row[o] = (row[o] as number) + factor * (b[r * outputs + o] as number);
    }
    for (let o = 0; o < outputs; o++) {
      const at = isTransposed ? o * inputs + i : i * outputs + o;
      const value = (base[at] as number) + scale * (row[o] as number);
      values[at] = value;
      if (Number.isFinite(values[at])) continue;
      const message = `"${target}" becomes ${values[at]} at element ${at} where the adapter is merged; train with a lower rate, or export the adapter`;
      return { ok: false, code: "lora-not-finite", message };
    }
  }
  return { ok: true, values };
}
