/** Small nets and their tokenizer, built for tests: weights are drawn from a fixed generator, so the same call gives the same file. */
import { createGraph, type GraphBuilder } from "@zoswarm/shared/model/graph";
import type { Model } from "@zoswarm/shared/model/onnx";

const LETTERS = ["[UNK]", ..." abcdefghijklmnopqrstuvwxyz.\n"];

/** A token is a character. */
export function charTokenizer(): object {
  const vocab = Object.fromEntries(LETTERS.map((letter, id) => [letter, id]));
  return {
    ...{ version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: { type: "Fuse" } },
    model: { type: "BPE", unk_token: "[UNK]", vocab, merges: [] },
  };
}

function drawer(graph: GraphBuilder, seed: number) {
  let state = seed;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32 - 0.5;
  };
  return (name: string, shape: readonly number[], scale = 1) => {
    const values = Float32Array.from({ length: shape.reduce((n, size) => n * size, 1) }, () => scale * next());
    return graph.parameter(name, shape, values);
  };
}

const ABOUT = { irVersion: 8, opset: 17, producer: "zoswarm test" } as const;

/** input_ids [batch, sequence] -> logits [batch, sequence, characters], by one LSTM layer. */
export function charLstm(width: number): Model {
  const graph = createGraph("char-lstm");
  const weight = drawer(graph, 7);
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const first = graph.input("h0", "float32", [1, "batch", width]);
  const cell = graph.input("c0", "float32", [1, "batch", width]);
  const embedded = graph.node("Gather", [weight("embeddings", [LETTERS.length, width], 2), ids]);
  const byTime = graph.node("Transpose", [embedded], { perm: [1, 0, 2] });
  const [w, r, b] = [
    weight("lstm.W", [1, 4 * width, width]),
    weight("lstm.R", [1, 4 * width, width]),
    weight("lstm.B", [1, 8 * width], 0.1),
  ];
  const [out] = graph.nodes("LSTM", [byTime, w, r, b, "", first, cell], { hidden_size: width }, 1);
  const hidden = graph.node("Transpose", [graph.node("Squeeze", [out as string, graph.integers([1])])], { perm: [1, 0, 2] });
  graph.node("MatMul", [hidden, weight("head.weight", [width, LETTERS.length], 0.5)], {}, "logits");
  graph.output("logits", "float32", ["batch", "sequence", LETTERS.length]);
  return graph.model(ABOUT);
}

/** input_ids and attention_mask [batch, sequence] -> logits [batch, 2]: one head of attention, a mean over real tokens, a layer. */
export function attentionClassifier(width: number): Model {
  const graph = createGraph("attention");
  const weight = drawer(graph, 11);
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const seen = graph.node("Cast", [graph.input("attention_mask", "int64", ["batch", "sequence"])], { to: 1 });
  const x = graph.node("Gather", [weight("embeddings", [LETTERS.length, width], 2), ids]);
  const product = (name: string) => graph.node("MatMul", [x, weight(`${name}.weight`, [width, width], 2 / Math.sqrt(width))]);
  const [query, key, value] = ["query", "key", "value"].map(product) as [string, string, string];
  const scores = graph.node("MatMul", [query, graph.node("Transpose", [key], { perm: [0, 2, 1] })]);
  const hidden = graph.node("Mul", [graph.node("Sub", [seen, graph.floats([1])]), graph.floats([1e4])]);
  const masked = graph.node("Add", [scores, graph.node("Unsqueeze", [hidden, graph.integers([1])])]);
  const attended = graph.node("MatMul", [graph.node("Softmax", [masked], { axis: -1 }), value]);
  const column = graph.node("Unsqueeze", [seen, graph.integers([-1])]);
  const over = graph.integers([1]);
  const sum = graph.node("ReduceSum", [graph.node("Mul", [attended, column]), over], { keepdims: 0 });
  const mean = graph.node("Div", [sum, graph.node("ReduceSum", [column, over], { keepdims: 0 })]);
  const layer = graph.node("Tanh", [graph.node("MatMul", [mean, weight("hidden.weight", [width, width], 1)])]);
  graph.node("MatMul", [layer, weight("head.weight", [width, 2], 0.2)], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  return graph.model(ABOUT);
}
