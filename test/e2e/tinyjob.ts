/**
 * A small real job in a folder: an ONNX text classifier of a few thousand weights, its tokenizer.json, labelled JSONL, a job file.
 * Everything is what a launcher would bring, only small; the same options give the same bytes.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createGraph, type GraphBuilder } from "@zoswarm/shared/model/graph";
import { writeModel } from "@zoswarm/shared/model/onnx";

const CLASSES = ["weather", "kitchen"] as const;
/** Words that only one class uses; the rest of the vocabulary is used by both. */
const OWN_WORDS = 12;
const SHARED_WORDS = 200;
const TEXT_WORDS = 12;

export interface TinyOptions {
  /** Width of the embeddings; the model has about 200 weights for each. */
  width?: number;
  trainRows?: number;
  heldoutRows?: number;
  /** Keys of the job file, over the ones below. A key that is undefined is left out. */
  job?: Record<string, unknown>;
  /** Adds to the model's graph, to make one that is refused. It is given the classifier's input and returns what shall be in its place. */
  change?: (graph: GraphBuilder, hidden: string) => string;
}

export interface TinyJob {
  dir: string;
  /** The job file; `--data` is best a folder beside it. */
  job: string;
  model: string;
  tokenizer: string;
  train: string;
  heldout: string;
}

/** Writes the job into `dir`, which is made if need be. */
export async function writeTinyJob(dir: string, options: TinyOptions = {}): Promise<TinyJob> {
  const at = (name: string) => join(dir, name);
  const files = {
    dir,
    job: at("job.yaml"),
    model: at("model.onnx"),
    tokenizer: at("tokenizer.json"),
    train: at("train.jsonl"),
    heldout: at("heldout.jsonl"),
  };
  await mkdir(dir, { recursive: true });
  await writeFile(files.model, tinyModel(options));
  await writeFile(files.tokenizer, JSON.stringify(tinyTokenizer()));
  await writeFile(files.train, rowsOf(options.trainRows ?? 256, 1));
  await writeFile(files.heldout, rowsOf(options.heldoutRows ?? 64, 2));
  await writeFile(files.job, jobText(options.job));
  return files;
}

/** A job file's text: these keys, with `over` in their place. */
export function jobText(over: Record<string, unknown> = {}): string {
  const job = {
    name: "Weather or kitchen",
    model: "model.onnx",
    tokenizer: "tokenizer.json",
    train: "train.jsonl",
    heldout: "heldout.jsonl",
    labels: CLASSES,
    maxTokens: 16,
    steps: 12,
    directionsLog2: 3,
    batch: 16,
    rate: 0.0005,
    gains: [{ pattern: "classifier.*", gain: 5 }],
    evaluateEvery: 4,
    deadlineSeconds: 20,
    ...over,
  };
  // A JSON value is a YAML value too.
  return Object.entries(job)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("");
}

/** Embeddings, their mean over real tokens, a tanh layer, a classifier of zeros. */
function tinyModel({ width = 16, change = (_graph, hidden) => hidden }: TinyOptions): Uint8Array {
  const random = generator(7);
  const drawn = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * (random() - 0.5));
  const graph = createGraph("tiny");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const seen = graph.node("Cast", [graph.input("attention_mask", "int64", ["batch", "sequence"])], { to: 1 });
  const mask = graph.node("Unsqueeze", [seen, graph.integers([-1])]);
  const words = vocabulary().length;
  const embedded = graph.node("Gather", [graph.parameter("embeddings.weight", [words, width], drawn(words * width, 2)), ids]);
  const over = graph.integers([1]);
  const sum = graph.node("ReduceSum", [graph.node("Mul", [embedded, mask]), over], { keepdims: 0 });
  const mean = graph.node("Div", [sum, graph.node("ReduceSum", [mask, over], { keepdims: 0 })]);
  const hidden = graph.parameter("hidden.weight", [width, width], drawn(width * width, 2));
  const last = graph.node("Tanh", [graph.node("MatMul", [mean, hidden])]);
  const head = graph.parameter("classifier.weight", [width, CLASSES.length], new Float32Array(width * CLASSES.length));
  const bias = graph.parameter("classifier.bias", [CLASSES.length], new Float32Array(CLASSES.length));
  graph.node("Add", [graph.node("MatMul", [change(graph, last), head]), bias], {}, "logits");
  graph.output("logits", "float32", ["batch", CLASSES.length]);
  return writeModel(graph.model({ irVersion: 8, opset: 17, producer: "zoswarm test" }));
}

function tinyTokenizer(): object {
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(vocabulary().map((word, id) => [word, id])),
    },
  };
}

function vocabulary(): string[] {
  const own = CLASSES.flatMap((name) => Array.from({ length: OWN_WORDS }, (_, i) => `${name}${i}`));
  return ["[UNK]", ...own, ...Array.from({ length: SHARED_WORDS }, (_, i) => `word${i}`)];
}

/** Labels take turns; about every other word belongs to the text's class. */
function rowsOf(count: number, seed: number): string {
  const random = generator(seed);
  const below = (n: number) => Math.floor(n * random());
  return Array.from({ length: count }, (_, row) => {
    const label = row % CLASSES.length;
    const words = Array.from({ length: TEXT_WORDS }, () =>
      below(2) === 0 ? `${CLASSES[label]}${below(OWN_WORDS)}` : `word${below(SHARED_WORDS)}`,
    );
    return `${JSON.stringify({ text: words.join(" "), label })}\n`;
  }).join("");
}

/** Numbers in [0, 1), the same on every machine (a 32-bit xorshift). */
export function generator(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
