/**
 * What a job file may say: keys, ranges, defaults, and what each means. The reference for people and the JSON Schema for editors
 * (deploy/jobs) are made from these very descriptions.
 */
import { ESTIMATORS } from "@zoswarm/shared/protocol/announcement";
import { settingFields, shownText } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { type Manifest, MEASURES, METRICS } from "@zoswarm/shared/protocol/manifest";
import * as z from "zod";
import { USUAL } from "./round/course.ts";

const path = z.string().min(1);
const pattern = z.string().min(1).describe("a tensor's name; `*` is any text");

const filledBy = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

const dataFile = z.union([
  path,
  z.strictObject({
    file: path,
    format: z.enum(["jsonl", "csv", "parquet", "text"]).optional().describe("by the file's ending where it is not given"),
    delimiter: z.string().length(1).optional().describe("between the cells of a CSV file"),
    by: z.enum(["line", "paragraph", "file"]).default("line").describe("what one example of a plain text is; its column is `text`"),
  }),
]);

const split = z.union([
  dataFile,
  z.strictObject({ share: z.number().gt(0).lt(1).describe("this share of the training rows is held out instead") }),
  z.strictObject({ perClass: z.int().min(1).describe("so many rows of each class are held out instead") }),
]);

const trained = z
  .union([
    z.literal("full"),
    z.strictObject({ patterns: z.array(pattern).min(1).describe("tensors that are trained; all others are frozen") }),
    z.strictObject({
      lora: z.strictObject({
        rank: z.int().min(1).max(1024),
        alpha: z.number().positive().optional().describe("scale of the added product is alpha / rank; default: the rank"),
        targets: z.array(pattern).min(1).describe("weights of matrix products that get an adapter, whatever their type"),
      }),
    }),
  ])
  .default("full");

export const jobFileSchema = z.strictObject({
  name: shownText(LIMITS.nameCharactersMax).min(1).describe("how everybody calls the job"),
  model: path.describe("ONNX file, opset 11 to 23; external data beside it"),
  tokenizer: path.optional().describe("Hugging Face tokenizer.json; needed wherever the model reads text"),
  train: dataFile.describe("JSONL, CSV, Parquet or plain text: a path, or {file, format, delimiter, by}"),
  heldout: split.describe("rows that are never trained on: a file as in `train`, or a share or a number per class of the training rows"),
  shots: z.int().min(1).max(100_000).optional().describe("train on so many rows of each class, drawn by the seed (MeZO uses 16 and 512)"),
  seed: z.string().min(1).max(256).default("zoswarm").describe("draws splits, shots and adapters; another seed gives others"),

  objective: z
    .enum(["classification", "causal-lm", "masked-lm", "regression", "reward"])
    .default("classification")
    .describe("what the model shall learn"),
  output: z.string().min(1).optional().describe("the model's output that is read; default: its only one, or `logits`"),
  head: z
    .strictObject({
      classes: z.int().min(2).max(65_536),
      width: z.int().min(1).max(65_536).optional().describe("how wide the vector is, for a model that does not say it"),
      pool: z.enum(["mean", "first"]).default("mean").describe("how the vectors of all tokens become one, where `output` has one for each"),
    })
    .optional()
    .describe("adds a linear classifier of zeros on `output`, an encoder's vector, or its vectors; give it (`head.*`) a gain of 5"),
  labels: z
    .array(shownText(LIMITS.nameCharactersMax).min(1))
    .min(2)
    .optional()
    .describe("names of the classes, at the index that is their label"),
  words: z
    .array(z.string().min(1))
    .min(2)
    .optional()
    .describe("a label word for each class: the language model's own words are the classes (with `template`), as in MeZO"),
  template: z.string().min(1).optional().describe("prompt with {column} in braces; what is asked comes after it, or stands at the mask"),
  completion: z
    .string()
    .min(1)
    .optional()
    .describe("causal-lm: what follows the prompt, a template too; without it the whole text is learnt"),
  on: z.enum(["completion", "all"]).default("completion").describe("causal-lm: which tokens count in the loss"),
  packed: z.boolean().default(false).describe("causal-lm: texts one after the other in full windows of maxTokens"),
  columns: z
    .strictObject({
      text: z.string().min(1).default("text"),
      label: z.string().min(1).default("label"),
      value: z.string().min(1).default("value").describe("target of a regression"),
      target: z.string().min(1).default("target").describe("text that a generated one is compared with"),
      inputs: z
        .record(z.string(), z.union([filledBy, z.strictObject({ column: filledBy, shape: z.array(z.int().min(1)).max(7) })]))
        .default({})
        .describe(
          "model input: the column with its numbers, a list for each row; or a list of columns, one for each number; or {column, shape} where the model leaves sizes open",
        ),
    })
    .prefault({})
    .describe("which columns of the data hold what"),
  measure: z
    .enum(MEASURES)
    .default("loss")
    .describe("what a step lowers: the differentiable loss, or 1 - one of these metrics; `reward` is raised"),
  metric: z.enum(METRICS).optional().describe("what held-out evaluations report; default: by objective"),
  reward: path.optional().describe("JavaScript file with `function reward(example)`; runs in a sandbox at volunteers who allow it"),
  generate: z
    .strictObject({
      tokens: z.int().min(1).max(1024).describe("at most so many"),
      stop: z.string().min(1).optional().describe("the token that ends them; default: the tokenizer's end of text"),
    })
    .optional()
    .describe("exact-match and rewards: the model continues the prompt greedily"),
  maxTokens: z.int().min(1).max(16_384).default(128).describe("tokens of an example; the text between a template's ends is cut to fit"),

  trained: trained.describe("`full`, {patterns: [...]}, or {lora: {rank, alpha, targets}}"),
  gains: z
    .array(z.strictObject({ pattern, gain: z.int().min(-8).max(8) }))
    .default([])
    .describe(
      "tensors to move 2^gain times as far; a new head beside pretrained weights wants 5. Where the rate is chosen, the others get one by the size of their weights",
    ),

  steps: z
    .int()
    .min(1)
    .max(LIMITS.stepsMax)
    .optional()
    .describe("commits at most, and without `rate` at least 40; default: until one of `stop` ends the job"),
  stop: z
    .strictObject({
      target: z.number().optional().describe("the held-out score that is good enough, by the metric; at most this where less is better"),
      patience: z
        .int()
        .min(1)
        .optional()
        .describe("so many held-out evaluations without a lower loss; default without `rate` and `steps`: 12"),
      forwards: z.int().min(1).optional().describe("so many forward passes of all workers together; default without `steps`: 20000"),
    })
    .prefault({})
    .describe("what ends the job before its last step, whichever comes first"),
  rate: settingFields.rate
    .optional()
    .describe(
      "theta moves by rate x projected gradient along each direction; default: the coordinator finds it by trials where a loss is measured, and lowers it as the job goes on",
    ),
  groups: settingFields.groups
    .optional()
    .describe("batches of one step, each measured by directions of its own; default: 1, and without `rate` chosen to suit the swarm"),
  directionsLog2: settingFields.directionsLog2
    .optional()
    .describe(
      "each group has 2^directionsLog2 directions, shared among the workers; default: 4, and without `rate` chosen to suit the swarm",
    ),
  epsilonLog2: settingFields.epsilonLog2
    .optional()
    .describe(
      "epsilon = 2^epsilonLog2: how far a direction is followed; default: -10, and without `rate` about as far as a step, or -6 where no loss is measured",
    ),
  batch: z.int().min(1).max(4096).default(16).describe("examples that every direction of a group is measured on"),
  estimator: z.enum(ESTIMATORS).default("one-sided").describe("loss at theta + epsilon z alone, or at both sides"),
  rule: z
    .enum(["plain", "normalised"])
    .default("normalised")
    .describe("normalised: the step's projected gradients are divided by their rms; plain needs a `rate`"),
  evaluateEvery: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(5)
    .describe("steps between held-out evaluations; replicas are compared there, and without `rate` steps are steered by them"),
  staleness: z
    .int()
    .min(0)
    .max(LIMITS.stalenessStepsMax)
    .default(0)
    .describe("commits that a step's parameters may lack; 1 hides a round trip as long as a step's work"),
  deadlineSeconds: z
    .number()
    .min(0.1)
    .max(3600)
    .default(30)
    .describe("how long a step waits at most for its slowest worker; shorter, by observed times, once there are some"),
  deadlineFloorSeconds: z
    .number()
    .min(0.1)
    .max(3600)
    .default(2)
    .describe("how long it waits at least, where that is less than deadlineSeconds"),
  quorum: z.number().min(0).max(1).default(0.5).describe("the share of a step's directions that suffices at the deadline"),
});
export type JobFile = z.output<typeof jobFileSchema>;
export type DataFile = Exclude<z.output<typeof dataFile>, string>;

/** A data file as the reader wants it. */
export function dataFileOf(data: JobFile["train"]): DataFile {
  return typeof data === "string" ? { file: data, by: "line" } : data;
}

/** The held-out file, null where rows of the training file are held out. */
export function heldoutFileOf(heldout: JobFile["heldout"]): DataFile | null {
  return typeof heldout === "string" || "file" in heldout ? dataFileOf(heldout) : null;
}

/** A job that nothing else ends is over after so many forward passes. */
const FORWARDS = 20_000;
/** One whose rate is chosen, and which nobody has given a length, also after so many evaluations without progress. */
const PATIENCE = 12;

/** What the manifest says of a job's course. With a rate everything is fixed; else what is not given is left to the coordinator. */
export function courseOf(job: JobFile): Pick<Manifest["job"], "steps" | "stop" | "rate" | "epsilonLog2" | "groups" | "directionsLog2"> {
  const { rate = null, steps, stop } = job;
  const usual = rate === null ? { epsilonLog2: null, groups: null, directionsLog2: null } : USUAL;
  return {
    steps: steps ?? LIMITS.stepsMax,
    rate,
    epsilonLog2: job.epsilonLog2 ?? usual.epsilonLog2,
    groups: job.groups ?? usual.groups,
    directionsLog2: job.directionsLog2 ?? usual.directionsLog2,
    stop: {
      target: stop.target ?? null,
      patience: stop.patience ?? (rate === null && steps === undefined ? PATIENCE : null),
      forwards: stop.forwards ?? (steps === undefined ? FORWARDS : null),
    },
  };
}

const whole = z.object(jobFileSchema.shape).partial();

/** What each key allows but all together do not, a line each. Nothing where one of the keys is a fault by itself. */
export function misfitsOf(value: unknown): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  const job: Partial<JobFile> = {};
  for (const [key, schema] of Object.entries(whole.shape)) {
    const parsed = schema.safeParse((value as Record<string, unknown>)[key]);
    if (!parsed.success) (job as Record<string, unknown>)[key] = undefined;
    else (job as Record<string, unknown>)[key] = parsed.data;
  }
  const isAutomatic = !("rate" in value);
  return [...stepMisfits(job, isAutomatic), ...objectiveMisfits(job)].map((fault) => `  ${fault}`);
}

/** A probe and what is steered by it need so many steps. */
const AUTOMATIC_STEPS_MIN = 40;

function stepMisfits(job: Partial<JobFile>, isAutomatic: boolean): string[] {
  const { groups, directionsLog2, estimator, rule, steps, stop } = job;
  const faults: string[] = [];
  if (isAutomatic && steps !== undefined && steps < AUTOMATIC_STEPS_MIN)
    faults.push(`steps: a job whose rate is chosen needs at least ${AUTOMATIC_STEPS_MIN} (it is ${steps}); raise it, or give a rate`);
  const each = (groups ?? USUAL.groups) * 2 ** (directionsLog2 ?? USUAL.directionsLog2);
  const forwards = stop?.forwards ?? (steps === undefined ? FORWARDS : Number.POSITIVE_INFINITY);
  if (isAutomatic && each <= LIMITS.directionsPerStepMax && forwards < AUTOMATIC_STEPS_MIN * each)
    faults.push(
      `stop.forwards: a job whose rate is chosen needs at least ${AUTOMATIC_STEPS_MIN * each}, for ${AUTOMATIC_STEPS_MIN} steps of ${each} directions (it is ${forwards}); raise it, or give a rate`,
    );
  if (isAutomatic && rule === "plain")
    faults.push("rate: is chosen only under rule: normalised (it is plain); give a rate, or leave the rule out");
  const directions = (groups ?? 1) * 2 ** (directionsLog2 ?? 0);
  if (directions > LIMITS.directionsPerStepMax)
    faults.push(
      `groups, directionsLog2: groups x 2^directionsLog2 is ${directions} directions a step; at most ${LIMITS.directionsPerStepMax} fit: lower one of them`,
    );
  if (estimator === "one-sided" && directionsLog2 !== undefined && directionsLog2 < 2)
    faults.push(
      `directionsLog2: estimator one-sided needs groups of at least 4 directions, so at least 2 (it is ${directionsLog2}); or else use estimator: two-sided`,
    );
  return faults;
}

function objectiveMisfits(job: Partial<JobFile>): string[] {
  const { objective, measure, metric, words, template, head, generate, reward, completion, packed, tokenizer, shots, columns } = job;
  const faults: string[] = [];
  const only = (key: string, given: unknown, ...objectives: JobFile["objective"][]) => {
    if (given !== undefined && given !== false && objective !== undefined && !objectives.includes(objective))
      faults.push(`${key}: is for objective ${objectives.join(", ")}; the objective is ${objective}`);
  };
  only("words", words, "classification", "masked-lm", "reward");
  only("head", head, "classification", "reward");
  only("completion", completion, "causal-lm");
  only("packed", packed, "causal-lm");
  only("shots", shots, "classification", "masked-lm", "reward");
  if (objective === "masked-lm" && words === undefined) faults.push("words: objective masked-lm needs a label word for each class");
  if (words !== undefined && template === undefined)
    faults.push("template: label words need a prompt that they follow, or whose mask they fill");
  if (words !== undefined && head !== undefined) faults.push("head: label words are the classes; take one of the two");
  if (packed && (completion !== undefined || template !== undefined))
    faults.push("packed: is for plain texts, without template and completion");
  const rewarded = objective === "reward" || measure === "reward" || metric === "reward";
  if (rewarded && reward === undefined) faults.push("reward: the objective needs a JavaScript file with `function reward(example)`");
  if (!rewarded && reward !== undefined) faults.push("reward: is not used; set objective: reward or measure: reward");
  if (objective === "reward" && measure !== undefined && measure !== "reward" && measure !== "loss")
    faults.push(`measure: objective reward is measured by its reward (it is ${JSON.stringify(measure)})`);
  const compares = measure === "exact-match" || metric === "exact-match";
  if (compares && generate === undefined) faults.push("generate: exact-match compares generated text; say how many tokens");
  if (generate !== undefined && !compares && !rewarded) faults.push("generate: is for exact-match and rewards");
  if ((measure === "accuracy" || measure === "f1") && (objective === "regression" || objective === "causal-lm"))
    faults.push(`measure: ${measure} needs classes; the objective is ${objective}`);
  if (tokenizer === undefined && (template !== undefined || generate !== undefined || words !== undefined))
    faults.push("tokenizer: prompts, label words and generated text need one");
  if (tokenizer === undefined && Object.keys(columns?.inputs ?? {}).length === 0 && columns !== undefined)
    faults.push("tokenizer: is missing; or else columns.inputs must say which column fills which input of the model");
  return faults;
}
