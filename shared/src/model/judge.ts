/**
 * Which of a model's tensors are weights that can be trained, and why each other one is not. It looks at types, sizes and readers, never at values.
 */
import type { TensorProto } from "onnx-buf";
import type { Model, NodeProto } from "./onnx.ts";
import { positionTables } from "./positions.ts";
import { CONSTANT_ELEMENTS_MIN, elementsIn, isWeightSized } from "./refuse.ts";
import { TRAINABLE_TYPES, typeNameOf } from "./tensor.ts";
import { HANDS_ON, tensorsOf, withBodies } from "./walk.ts";

/** What a manifest can describe (protocol/manifest.ts). */
const NAME_MAX = 512;
const RANK_MAX = 8;

const POSITIONS = "is only computed with positions, before anything that is learned";
const SCALE = "a scale of quantized weights";
const PICTURE = "a scale of picture sizes";
const STATISTIC = "a running statistic";
const STATE = "an initial state";
const ANGLES = "a table of positions' angles";
/** What operators read that is no weight: at these inputs, or at all of them. Some is read once, when the session is made, and not from what is fed later. */
const NO_WEIGHTS: Readonly<Record<string, readonly [what: string, ...inputs: number[]]>> = {
  BatchNormalization: [STATISTIC, 3, 4],
  DequantizeLinear: [SCALE],
  DynamicQuantizeLSTM: [SCALE],
  DynamicQuantizeLinear: [SCALE],
  DynamicQuantizeMatMul: [SCALE],
  GRU: [STATE, 5],
  GatherBlockQuantized: [SCALE],
  GroupQueryAttention: [ANGLES, 7, 8],
  LSTM: [STATE, 5, 6],
  MatMulBnb4: [SCALE],
  MatMulIntegerToFloat: [SCALE],
  MatMulNBits: [SCALE],
  QAttention: [SCALE],
  QEmbedLayerNormalization: [SCALE],
  QGemm: [SCALE],
  QMoE: [SCALE],
  QuantizeLinear: [SCALE],
  RNN: [STATE, 5],
  Resize: [PICTURE, 1, 2, 3],
  RotaryEmbedding: [ANGLES, 1, 2, 3],
  Upsample: [PICTURE, 1],
};

/** Where a single number is a weight: a bias, a slope. Elsewhere it is an epsilon or a factor, and perturbed it would make a root of a negative number. */
const READ_WEIGHTS = new Set([
  "BatchNormalization",
  "Conv",
  "ConvTranspose",
  "Gemm",
  "GroupNormalization",
  "InstanceNormalization",
  "LayerNormalization",
  "MatMul",
  "PRelu",
  "SkipLayerNormalization",
]);

/** A tensor of the graph, the Constant node that makes it if one does, and why it is not trained; undefined where it is. */
export interface Judged {
  tensor: TensorProto;
  constant: NodeProto | null;
  reason: string | undefined;
}

/** Every tensor worth a mention, initializers first, then Constants, in the graph's order. Small Constants of shapes, axes and the like are not. */
export function judgeTensors(model: Model): Judged[] {
  const reasonFor = reasonsIn(model);
  const judged = tensorsOf(model)
    .filter(({ tensor, constant }) => constant === null || tensor.dataType in TRAINABLE_TYPES || isWeightSized(tensor))
    .map(({ tensor, constant }) => ({ tensor, constant, reason: reasonFor(tensor, constant) }));
  const tables = positionTables(model, new Set(judged.flatMap(({ tensor, reason }) => (reason === undefined ? tensor.name : []))));
  return judged.map((each) => (tables.has(each.tensor.name) ? { ...each, reason: POSITIONS } : each));
}

/** Says why a tensor is not trained; undefined for one that is. */
function reasonsIn({ graph }: Model): (tensor: TensorProto, constant: NodeProto | null) => string | undefined {
  const outputs = new Set(graph.output.map(({ name }) => name));
  const read = new Set<string>();
  const noWeights = new Map<string, string>();
  const numbers = new Set<string>();
  const products = new Set(graph.node.flatMap(({ opType, output }) => (opType.includes("MatMul") || opType === "Conv" ? output : [])));
  for (const { opType, input } of withBodies(graph.node)) {
    if (READ_WEIGHTS.has(opType) || (opType === "Add" && input.some((name) => products.has(name))))
      for (const name of input) numbers.add(name);
    const [what, ...inputs]: readonly [string?, ...number[]] = NO_WEIGHTS[opType] ?? (opType.startsWith("QLinear") ? [SCALE] : []);
    input.forEach((name, at) => {
      read.add(name);
      if (what !== undefined && (inputs.length === 0 || inputs.includes(at))) noWeights.set(name, `is ${what}, read by ${opType}`);
    });
  }
  for (const { opType, input, output } of graph.node.toReversed()) {
    const reason = HANDS_ON.has(opType) ? noWeights.get(output[0] ?? "") : undefined;
    if (reason !== undefined) noWeights.set(input[0] ?? "", reason);
  }
  return ({ name, dataType, dims }, constant) => {
    const elements = elementsIn(dims);
    if (!(dataType in TRAINABLE_TYPES)) return `is ${typeNameOf(dataType)}; only float32, float16 and bfloat16 are trained`;
    if (outputs.has(name)) return "is itself an output of the graph";
    if (noWeights.has(name)) return noWeights.get(name);
    if (elements === 0) return "has no elements";
    if (constant !== null && !isWeightSized({ dims } as TensorProto))
      return `is a Constant of ${elements === 1 ? "one element" : `${elements} elements`}; from ${CONSTANT_ELEMENTS_MIN} on it counts as a weight`;
    if (!read.has(name)) return "is read by no node";
    if (elements === 1 && (dims.length === 0 || !numbers.has(name))) return "is a single number, as formulas have them";
    if (dims.length > RANK_MAX) return `has ${dims.length} dimensions; up to ${RANK_MAX} are trained`;
    if (name.length > NAME_MAX) return `has a name of ${name.length} characters; up to ${NAME_MAX} are trained`;
    return undefined;
  };
}
