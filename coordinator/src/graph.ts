/**
 * From a job file's model to what volunteers run: the graph with its objective, the tensors that are trained, the weights that are not,
 * and what fills each input. Everything that cannot be trained faithfully is refused with the node or tensor and the remedy.
 */
import type { LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import { INT8_EPSILON_LOG2_MIN, refuseEpsilon, roundsActivations } from "@zoswarm/shared/model/base";
import { openModel } from "@zoswarm/shared/model/file";
import { type Externalized, externalizeFrozen } from "@zoswarm/shared/model/freeze";
import { addHead } from "@zoswarm/shared/model/head";
import { prepareModel } from "@zoswarm/shared/model/importer";
import { feedFloats } from "@zoswarm/shared/model/inputs";
import { inputsOf, outputsOf } from "@zoswarm/shared/model/inspect";
import type { Frozen } from "@zoswarm/shared/model/lift";
import { type Adapter, addLora } from "@zoswarm/shared/model/lora";
import { addObjective, type GraphObjective, isOneScore } from "@zoswarm/shared/model/objective";
import type { Model } from "@zoswarm/shared/model/onnx";
import { namesIn, valuesBefore, withValueAsOutput } from "@zoswarm/shared/model/outputs";
import { refusalsOf } from "@zoswarm/shared/model/refuse";
import type { InputSpec, Objective } from "@zoswarm/shared/protocol/manifest";
import type { Key, TensorSpec } from "@zoswarm/shared/zo/lattice";
import type { Fault } from "./folder.ts";
import type { JobFile } from "./jobfile.ts";
import { USUAL } from "./round/course.ts";
import { JUMPS_EPSILON_LOG2, movesByJumps } from "./round/jumps.ts";
import { type Feature, signatureOf } from "./signature.ts";

export interface BuiltGraph {
  ok: true;
  /** The graph whose frozen weights lie in the file `location` beside it. */
  at(location: string): Externalized;
  tensors: TensorSpec[];
  initial(): Iterable<Int32Array>;
  frozen: Frozen[];
  switchedOff: string[];
  inputs: InputSpec[];
  features: Feature[];
  /** `classes` is 0 where neither model nor job file say how many: then the data does. */
  objective: Objective;
  adapters: Adapter[];
  /** What a job that leaves the choice has to be measured by, whatever its rate, since its base rounds; null where anything will do. */
  epsilonLog2: number | null;
  /** Values before the output that is read, which could be read instead. */
  before: string[];
}

/** Builds the graph. `seed` draws adapters; `reward` is the launcher's program. */
export function buildGraph(
  job: JobFile,
  { tokenizer, reward, seed }: { tokenizer: LoadedTokenizer | null; reward: string | null; seed: Key },
): BuiltGraph | Fault<string> {
  const opened = openModel(job.model);
  if (!opened.ok) return opened;
  const { source } = opened;
  const refusals = refusalsOf(opened.model, source);
  if (refusals.length > 0) return { ok: false, code: refusals[0]?.code ?? "", message: refusals.map(({ message }) => message).join("\n") };
  const signature = signatureOf(inputsOf(feedFloats(opened.model)), {
    columns: job.columns.inputs,
    reads: tokenizer !== null,
    pad: tokenizer?.special.pad ?? 0,
  });
  if (!signature.ok) return signature;
  const headed = withHead(job, feedFloats(opened.model), signature.inputs);
  if (!headed.ok) return headed;
  const asked = objectiveOf(job, headed.name, headed.model, { tokenizer, reward });
  if (!asked.ok) return asked;
  const isOpen = job.rate === undefined && job.epsilonLog2 === undefined;
  const rounded = isOpen && roundsActivations(headed.model) !== undefined ? INT8_EPSILON_LOG2_MIN : null;
  const jumps = isOpen && movesByJumps(asked.objective) ? JUMPS_EPSILON_LOG2 : null;
  const { epsilonLog2 = rounded ?? jumps ?? USUAL.epsilonLog2, gains } = job;
  const coarse = refuseEpsilon(headed.model, epsilonLog2 + Math.max(0, ...gains.map(({ gain }) => gain)));
  if (coarse !== undefined) return coarse;
  const adapted = withAdapters(headed.model, job, seed);
  if (!adapted.ok) return adapted;
  const lossy = addObjective(adapted.model, asked.graph, { generates: asked.objective.generate > 0 });
  if (!lossy.ok) return lossy;
  // A rate that was found by hand goes with the gains that it was found with.
  const byWeights = job.rate === undefined && adapted.adapters.length === 0;
  const prepared = prepareModel(lossy.model, source, {
    epsilonLog2,
    gains,
    byWeights,
    ...(adapted.trained && { trained: adapted.trained }),
  });
  if (!prepared.ok) return prepared;
  const { tensors, initial, frozen, switchedOff } = prepared;
  return {
    ok: true,
    at: (location) => externalizeFrozen(prepared.model, source, location),
    tensors,
    initial,
    frozen: frozen.filter(({ name }) => !name.startsWith("zoswarm/")),
    switchedOff,
    inputs: signature.inputs,
    features: signature.features,
    objective: asked.objective,
    adapters: adapted.adapters,
    epsilonLog2: rounded,
    before: valuesBefore(headed.model, headed.name, BEFORE_MAX),
  };
}

const BEFORE_MAX = 8;

type Read = { ok: true /** Of the output that is read. */; name: string; model: Model } | Fault<string>;

/** The model with the job's new head, if it adds one, on the output that is read. */
export function withHead(job: JobFile, model: Model, inputs: readonly InputSpec[]): Read {
  const output = outputNamed(job, model);
  if (!output.ok || job.head === undefined) return output;
  const mask = inputs.find(({ source }) => source.from === "mask")?.name;
  // A classifier that gets another head has logits of its own.
  const name = namesIn(model).includes("logits") ? "head.logits" : "logits";
  const { width, ...head } = job.head;
  const headed = addHead(output.model, { output: output.name, ...head, name, ...(width && { width }), ...(mask && { mask }) });
  return headed.ok ? { ok: true, name, model: headed.model } : headed;
}

/** The output that is read, which may be a value inside the model. */
function outputNamed({ output }: JobFile, model: Model): Read {
  const names = outputsOf(model).map(({ name }) => name);
  const chosen = output ?? (names.includes("logits") ? "logits" : names.length === 1 ? names[0] : undefined);
  const exposed = chosen === undefined ? undefined : withValueAsOutput(model, chosen);
  if (chosen !== undefined && exposed !== undefined) return { ok: true, name: chosen, model: exposed };
  const inside = names.flatMap((name) => valuesBefore(model, name, BEFORE_MAX / 2));
  const message = `output: the model's outputs are ${names.map((name) => `"${name}"`).join(", ")}; name the one to learn from, or a value inside, such as ${inside.join(", ")}`;
  return { ok: false, code: "no-such-output", message };
}

/** Which tensors are trained: those of adapters (and of a new head) where there are any, else by pattern; undefined is all. */
function withAdapters(
  model: Model,
  { trained, head }: JobFile,
  seed: Key,
): { ok: true; model: Model; adapters: Adapter[]; trained?: string[] } | Fault<string> {
  if (trained === "full") return { ok: true, model, adapters: [] };
  if ("patterns" in trained) return { ok: true, model, adapters: [], trained: trained.patterns };
  const { rank, alpha = rank, targets } = trained.lora;
  const lora = addLora(model, { rank, alpha, targets, seed });
  if (!lora.ok) return lora;
  const names = [...lora.adapters.flatMap(({ a, b }) => [a, b]), ...(head ? ["head.weight", "head.bias"] : [])];
  return { ok: true, model: lora.model, adapters: lora.adapters, trained: names };
}

const METRIC_OF = {
  classification: "accuracy",
  "masked-lm": "accuracy",
  "causal-lm": "perplexity",
  regression: "mean-squared-error",
  reward: "reward",
} as const;

type Asked = { ok: true; graph: GraphObjective; objective: Objective } | Fault<string>;

function objectiveOf(
  job: JobFile,
  output: string,
  model: Model,
  { tokenizer, reward }: { tokenizer: LoadedTokenizer | null; reward: string | null },
): Asked {
  const { objective, words, generate } = job;
  const measure = objective === "reward" ? "reward" : job.measure;
  const metric = job.metric ?? (measure === "loss" ? METRIC_OF[objective] : measure);
  const dimensions = outputsOf(model).find(({ name }) => name === output)?.dimensions ?? null;
  // What is judged by generated text alone needs no loss of every token.
  const saysOnly = generate !== undefined && measure !== "loss" && metric !== "perplexity" && words === undefined;
  const kind = words
    ? ("words" as const)
    : objective === "regression"
      ? ("values" as const)
      : saysOnly
        ? ("none" as const)
        : objective === "causal-lm"
          ? ("tokens" as const)
          : ("classes" as const);
  const ids: number[] = [];
  for (const word of words ?? []) {
    const before = job.template?.replace(/\{[^{}]*\}/g, "").slice(-80) ?? "";
    const id =
      objective === "masked-lm" ? maskWord(word, tokenizer) : tokenizer?.labelWordId(word, / $/.test(before) ? before : `${before} `);
    if (!id?.ok) return { ok: false, code: "label-word", message: `words: ${id?.message ?? `"${word}" needs a tokenizer`}` };
    ids.push(id.id);
  }
  const stop =
    generate === undefined ? null : generate.stop === undefined ? (tokenizer?.special.eos ?? null) : (tokenizer?.idOf(generate.stop) ?? -1);
  if (stop === -1) return { ok: false, code: "no-such-token", message: `generate.stop: the tokenizer has no token "${generate?.stop}"` };
  const isBinary = isOneScore(dimensions?.map((size) => (typeof size === "number" ? size : null)));
  const declared =
    kind === "classes" ? (isBinary ? 2 : dimensions?.find((size, at) => at > 0 && typeof size === "number" && size > 1)) : undefined;
  const classes = kind === "words" ? ids.length : kind === "classes" ? ((declared as number | undefined) ?? job.labels?.length ?? 0) : 0;
  return {
    ok: true,
    graph: kind === "words" ? { kind, output, words: ids } : { kind, output },
    objective: { kind, measure, metric, classes, generate: generate?.tokens ?? 0, stop, reward },
  };
}

/** A label word at a mask: one token, with the space that usually stands before a word or without. */
function maskWord(word: string, tokenizer: LoadedTokenizer | null): { ok: true; id: number } | { ok: false; message: string } {
  const known = tokenizer?.labelWordId(word, "It was ");
  if (known?.ok) return known;
  const alone = tokenizer?.encode(word, { special: false }) ?? [];
  return alone.length === 1
    ? { ok: true, id: alone[0] as number }
    : { ok: false, message: known?.message ?? `"${word}" needs a tokenizer` };
}
