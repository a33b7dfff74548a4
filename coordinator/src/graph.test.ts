import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import { openModel } from "@zoswarm/shared/model/file";
import { createGraph } from "@zoswarm/shared/model/graph";
import { outputsOf } from "@zoswarm/shared/model/inspect";
import { type Model, writeModel } from "@zoswarm/shared/model/onnx";
import { quantizeModel } from "@zoswarm/shared/model/quantize";
import { beforeAll, describe, expect, it } from "vitest";
import { type BuiltGraph, buildGraph } from "./graph.ts";
import { ID, jobOf, testFolder, wordTokenizer } from "./job.testing.ts";
import { keepModel } from "./keep.ts";

const dir = testFolder();
const VOCABULARY = Object.keys(ID).length;
const WIDTH = 32;
let tokenizer: LoadedTokenizer;
beforeAll(async () => {
  tokenizer = await wordTokenizer(dir, { framed: true });
});

const wave = (length: number, from = 0) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i + from)));

interface Form {
  /** Scores of each token over the vocabulary, not of each example over 2 classes. */
  speaks?: boolean;
  outputs?: string[];
}

/** input_ids -> embeddings, hidden.weight, tanh "pooled", classifier.weight "logits", softmax "probabilities". */
function modelOf({ speaks = false, outputs = ["logits"] }: Form = {}): Model {
  const graph = createGraph("test");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const rows = graph.node("Gather", [graph.parameter("embeddings", [VOCABULARY, WIDTH], wave(VOCABULARY * WIDTH)), ids]);
  const read = speaks ? rows : graph.node("ReduceMean", [rows], { axes: [1], keepdims: 0 });
  const hidden = graph.node("MatMul", [read, graph.parameter("hidden.weight", [WIDTH, WIDTH], wave(WIDTH * WIDTH, 1))]);
  const pooled = graph.node("Tanh", [hidden], {}, "pooled");
  const scores = speaks ? VOCABULARY : 2;
  const classifier = graph.parameter("classifier.weight", [WIDTH, scores], wave(WIDTH * scores, 2));
  const logits = graph.node("MatMul", [pooled, classifier], {}, "logits");
  graph.node("Softmax", [logits], { axis: -1 }, "probabilities");
  const sizes: Record<string, number> = { pooled: WIDTH, logits: scores, probabilities: scores };
  for (const name of outputs) graph.output(name, "float32", ["batch", ...(speaks ? ["sequence"] : []), sizes[name] as number]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test", domains: { "com.microsoft": 1 } });
}

let files = 0;
function build(model: Model, job: Record<string, unknown> = {}, reward: string | null = null) {
  const file = join(dir, `${files++}.onnx`);
  writeFileSync(file, writeModel(model));
  return buildGraph(jobOf({ ...job, model: file }), { tokenizer, reward, seed: [1, 2, 3, 4] });
}

function built(...args: Parameters<typeof build>): BuiltGraph {
  const made = build(...args);
  if (!made.ok) throw new Error(made.message);
  return made;
}

const faultOf = (...args: Parameters<typeof build>) => {
  const made = build(...args);
  return made.ok ? null : { code: made.code, message: made.message };
};
const namesOf = ({ tensors }: BuiltGraph) => tensors.map(({ name }) => name);
const trainedOf = (...args: Parameters<typeof build>) => namesOf(built(...args));
const OWN = ["embeddings", "hidden.weight", "classifier.weight"];

describe("what is trained", () => {
  it("is everything, as full", () => {
    const made = built(modelOf());
    expect(made.tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["embeddings", [VOCABULARY, WIDTH]],
      ["hidden.weight", [WIDTH, WIDTH]],
      ["classifier.weight", [WIDTH, 2]],
    ]);
    expect([...made.initial()].map(({ length }) => length)).toEqual([VOCABULARY * WIDTH, WIDTH * WIDTH, 2 * WIDTH]);
    expect([made.frozen, made.adapters]).toEqual([[], []]);
    expect(made.at("frozen").bytes).toBe(0);
  });

  it("is what patterns name; the rest is frozen, with the reason", () => {
    const made = built(modelOf(), { trained: { patterns: ["*.weight"] } });
    expect(namesOf(made)).toEqual(["hidden.weight", "classifier.weight"]);
    expect(made.frozen).toEqual([{ name: "embeddings", reason: "is not asked for by a pattern" }]);
    expect(faultOf(modelOf(), { trained: { patterns: ["encoder.*"] } })).toMatchObject({ code: "pattern-unused" });
  });

  it("is the adapters alone, as lora: drawn by the seed, of rank and scale", () => {
    const lora = { rank: 2, targets: ["hidden.weight"] };
    const made = built(modelOf(), { trained: { lora } });
    expect(made.tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["hidden.weight.lora_A", [WIDTH, 2]],
      ["hidden.weight.lora_B", [2, WIDTH]],
    ]);
    expect(made.adapters).toMatchObject([{ target: "hidden.weight", rank: 2, alpha: 2 }]);
    expect(made.frozen.map(({ name }) => name)).toEqual(OWN);
    expect(built(modelOf(), { trained: { lora: { ...lora, alpha: 8 } } }).adapters).toMatchObject([{ alpha: 8 }]);
    const [a, b] = [...made.initial()];
    expect([a?.some((x) => x !== 0), b?.every((x) => x === 0)]).toEqual([true, true]);
    expect(faultOf(modelOf(), { trained: { lora: { ...lora, targets: ["none"] } } })).toMatchObject({ code: "lora-no-target" });
    expect(faultOf(modelOf(), { trained: { lora: { ...lora, rank: 33 } } })).toMatchObject({ code: "lora-rank" });
  });

  it("is a new head too, in place of the one that the model has, beside all weights or beside adapters", async () => {
    const model = modelOf({ outputs: ["pooled", "logits"] });
    const head = { classes: 3 };
    const output = "pooled";
    const made = built(model, { head, output });
    expect(namesOf(made)).toEqual(["embeddings", "hidden.weight", "head.weight", "head.bias"]);
    expect(made.objective).toMatchObject({ kind: "classes", classes: 3 });
    const lora = { rank: 1, targets: ["hidden.*"] };
    const names = ["hidden.weight.lora_A", "hidden.weight.lora_B", "head.weight", "head.bias"];
    expect(trainedOf(model, { head, output, trained: { lora } }).sort()).toEqual(names.sort());
    const [file, kept] = [join(dir, "own.onnx"), join(dir, "kept.onnx")];
    writeFileSync(file, writeModel(model));
    expect(await keepModel(jobOf({ model: file, head, output }), made.inputs, kept)).toEqual({ ok: true });
    const opened = openModel(kept);
    if (!opened.ok) throw new Error(opened.message);
    expect(outputsOf(opened.model).map(({ name, dimensions }) => [name, dimensions?.at(-1)])).toContainEqual(["head.logits", 3]);
  });
});

describe("the output that is read", () => {
  it("is logits, or the only one, or the one that is named", () => {
    expect(trainedOf(modelOf({ outputs: ["pooled", "logits"] }))).toEqual(OWN);
    expect(trainedOf(modelOf({ outputs: ["probabilities"] }))).toEqual(OWN);
    // What lies behind the output that is read is not trained.
    const made = built(modelOf({ outputs: ["pooled", "logits"] }), { output: "pooled" });
    expect(namesOf(made)).toEqual(["embeddings", "hidden.weight"]);
    expect(made.objective.classes).toBe(WIDTH);
  });

  it("may be a value inside the model, whose classes the data must say", () => {
    const made = built(modelOf({ outputs: ["probabilities"] }), { output: "logits" });
    expect(namesOf(made)).toEqual(OWN);
    expect(made.objective.classes).toBe(0);
    expect(built(modelOf({ outputs: ["probabilities"] }), { output: "logits", labels: ["a", "b"] }).objective).toMatchObject({
      classes: 2,
    });
  });

  it("must be there, and be told where there are several", () => {
    const message = expect.stringMatching(
      /^output: the model's outputs are "pooled", "probabilities"; name the one to learn from, or a value inside, such as .*"logits"/,
    );
    const several = modelOf({ outputs: ["pooled", "probabilities"] });
    expect(faultOf(several)).toEqual({ code: "no-such-output", message });
    expect(faultOf(several, { output: "nothing" })).toEqual({ code: "no-such-output", message });
    expect(faultOf(modelOf({ speaks: true }))).toMatchObject({ code: "unsupported-output" });
  });
});

describe("label words", () => {
  const job = { words: ["good", "bad"], template: "{text} it was" };

  it("are the classes, one token each", () => {
    expect(built(modelOf({ speaks: true }), job).objective).toMatchObject({ kind: "words", classes: 2, metric: "accuracy", generate: 0 });
    const masked = { ...job, objective: "masked-lm", template: "{text} it was [MASK]", words: ["good", "bad", "plain"] };
    expect(built(modelOf({ speaks: true }), masked).objective).toMatchObject({ kind: "words", classes: 3, metric: "accuracy" });
  });

  it("of several tokens, or unknown ones, are refused with what they become", () => {
    for (const more of [{}, { objective: "masked-lm" }]) {
      expect(faultOf(modelOf({ speaks: true }), { ...job, ...more, words: ["good", "badish"] })).toEqual({
        code: "label-word",
        message: expect.stringMatching(/^words: the label word "badish" becomes 2 tokens \("bad", "##ish"\) behind/),
      });
    }
    expect(faultOf(modelOf({ speaks: true }), { ...job, words: ["good", "zebra"] })).toMatchObject({
      code: "label-word",
      message: expect.stringContaining('"zebra" is unknown to the tokenizer'),
    });
  });

  it("that are one token for two classes, or of a model that scores no tokens, are refused", () => {
    expect(faultOf(modelOf({ speaks: true }), { ...job, words: ["good", "GOOD"] })).toMatchObject({ code: "unsupported-words" });
    expect(faultOf(modelOf(), job)).toMatchObject({ code: "unsupported-output" });
  });
});

describe("an int8 base", () => {
  const trained = { lora: { rank: 2, targets: ["hidden.weight"] } };
  const quantizedOf = (kind: "int8" | "4-bit") => {
    const made = quantizeModel(modelOf(), { kind, wants: (name) => name === "hidden.weight" });
    if (!made.ok) throw new Error(made.message);
    return made.model;
  };

  it("is refused with an epsilon that its rounding swallows, gains counted", () => {
    const made = quantizedOf("int8");
    expect(faultOf(made, { trained })).toMatchObject({
      code: "epsilon-too-small",
      message: expect.stringMatching(/^epsilon is 2\^-10, but the node .* take 2\^-6 or more/),
    });
    expect(built(made, { trained, epsilonLog2: -6 }).adapters).toMatchObject([{ target: "hidden.weight", kind: "int8" }]);
    expect(faultOf(made, { trained, epsilonLog2: -8, gains: [{ pattern: "*.lora_*", gain: 2 }] })).toBeNull();
  });

  it("says what it has to be measured by where the job leaves that open", () => {
    const open = { trained, rate: undefined };
    expect(built(quantizedOf("int8"), open).epsilonLog2).toBe(-6);
    expect(built(quantizedOf("int8"), { ...open, epsilonLog2: -5 }).epsilonLog2).toBeNull();
    expect(built(quantizedOf("4-bit"), open).epsilonLog2).toBeNull();
  });

  it("of 4 bits bears any", () => {
    expect(built(quantizedOf("4-bit"), { trained, epsilonLog2: -12 }).adapters).toMatchObject([{ kind: "4-bit" }]);
  });
});

describe("the objective", () => {
  const speaks = modelOf({ speaks: true });
  const generate = { tokens: 4 };

  it.each([
    ["classification", modelOf(), {}, { kind: "classes", measure: "loss", metric: "accuracy", classes: 2 }],
    ["classification by F1", modelOf(), { measure: "f1" }, { kind: "classes", measure: "f1", metric: "f1" }],
    ["classification, shown by F1", modelOf(), { metric: "f1" }, { kind: "classes", measure: "loss", metric: "f1" }],
    ["causal-lm", speaks, { objective: "causal-lm" }, { kind: "tokens", measure: "loss", metric: "perplexity", classes: 0, stop: null }],
    [
      "exact match alone",
      speaks,
      { objective: "causal-lm", measure: "exact-match", generate },
      { kind: "none", measure: "exact-match", metric: "exact-match", generate: 4, stop: ID["[SEP]"] },
    ],
    [
      "exact match of what the loss trains",
      speaks,
      { objective: "causal-lm", metric: "exact-match", generate: { tokens: 4, stop: ":" } },
      { kind: "tokens", measure: "loss", metric: "exact-match", generate: 4, stop: ID[":"] },
    ],
    ["a reward of text", speaks, { objective: "reward", generate }, { kind: "none", measure: "reward", metric: "reward", generate: 4 }],
    ["a reward of classes", modelOf(), { objective: "reward" }, { kind: "classes", measure: "reward", metric: "reward", generate: 0 }],
  ])("of %s has its defaults", (_, model, job, expected) => {
    const rewarded = (job as { objective?: string }).objective === "reward" ? "function reward() { return 1 }" : null;
    expect(built(model, job, rewarded).objective).toMatchObject({ ...expected, reward: rewarded });
  });

  it("of a regression reads one value", () => {
    const graph = createGraph("regression");
    const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
    const rows = graph.node("Gather", [graph.parameter("embeddings", [VOCABULARY, 1], wave(VOCABULARY)), ids]);
    graph.node("ReduceMean", [rows], { axes: [1], keepdims: 0 }, "score");
    graph.output("score", "float32", ["batch", 1]);
    const made = built(graph.model({ irVersion: 8, opset: 17, producer: "test" }), { objective: "regression" });
    expect(made.objective).toMatchObject({ kind: "values", measure: "loss", metric: "mean-squared-error", classes: 0 });
  });

  it("that generates needs a stop token that there is", () => {
    const job = { objective: "causal-lm", measure: "exact-match", generate: { tokens: 4, stop: "<end>" } };
    expect(faultOf(speaks, job)).toEqual({ code: "no-such-token", message: 'generate.stop: the tokenizer has no token "<end>"' });
  });
});

it("fills the inputs of the launcher's own model, padded with the tokenizer's token", () => {
  expect(built(modelOf()).inputs).toMatchObject([{ name: "input_ids", source: { from: "tokens", pad: ID["[PAD]"] } }]);
});
