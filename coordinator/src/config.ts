/**
 * The job file: what a launcher writes to describe a job. YAML or JSON; every unknown or out-of-range key is reported at once,
 * with its path. Paths in it are relative to the file.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ESTIMATORS } from "@zoswarm/shared/protocol/announcement";
import { shownText } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { parse as parseYaml } from "yaml";
import * as z from "zod";

const path = z.string().min(1);

export const jobFileSchema = z.strictObject({
  name: shownText(LIMITS.nameCharactersMax).min(1),
  /** ONNX text classifier, float32 weights; Hugging Face tokenizer.json; JSONL rows of {"text", "label"}. */
  model: path,
  tokenizer: path,
  train: path,
  heldout: path,
  /** Names of the classes for people, at the index that is their label. */
  labels: z.array(shownText(LIMITS.nameCharactersMax).min(1)).min(2).optional(),
  /** Tokens of a text that the model sees; the rest is cut. */
  maxTokens: z.int().min(1).max(4096).default(128),
  steps: z.int().min(1).max(100_000_000),
  /** Batches measured in one step, each by its own 2^directionsLog2 directions. */
  groups: z.int().min(1).max(LIMITS.groupsPerStepMax).default(1),
  directionsLog2: z.int().min(0).max(16).default(4),
  batch: z.int().min(1).max(4096).default(16),
  /** epsilon = 2^epsilonLog2: how far a direction is followed to measure the loss. */
  epsilonLog2: z.int().min(-24).max(0).default(-10),
  estimator: z.enum(ESTIMATORS).default("one-sided"),
  rule: z.enum(["plain", "normalised"]).default("normalised"),
  /** theta moves by rate * (projected gradient) along each direction; under `normalised` the gradient is divided by the step's rms. */
  rate: z.number().positive().max(1000),
  /** Tensors to move 2^gain times as far; `*` in a pattern is any text. A new head beside pretrained weights wants 5. */
  gains: z.array(z.strictObject({ pattern: z.string().min(1), gain: z.int().min(-8).max(8) })).default([]),
  /** Steps between held-out evaluations, which are also where replicas are compared. */
  evaluateEvery: z.int().min(1).max(1_000_000).default(10),
  /** How long a step waits for its slowest worker. */
  deadlineSeconds: z.number().min(0.1).max(3600).default(30),
  /** The share of a step's directions that suffices at the deadline. */
  quorum: z.number().min(0).max(1).default(0.5),
});
export type JobFile = z.output<typeof jobFileSchema>;

export type ReadJobFile =
  | { ok: true; job: JobFile }
  | { ok: false; code: "job-unreadable" | "job-malformed" | "job-invalid"; message: string };

const FILES = ["model", "tokenizer", "train", "heldout"] as const;

/** Reads a job file; the paths in the answer are absolute. */
export async function readJobFile(file: string): Promise<ReadJobFile> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    return { ok: false, code: "job-unreadable", message: `job file ${file}: cannot be read (${(error as Error).message}); check the path` };
  }
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    return { ok: false, code: "job-malformed", message: `job file ${file}: is neither YAML nor JSON (${(error as Error).message.trim()})` };
  }
  const parsed = jobFileSchema.safeParse(value);
  const faults = [...(parsed.error?.issues ?? []).flatMap((issue) => faultsOf(issue, value)), ...misfitsOf(value)];
  if (!parsed.success || faults.length > 0) {
    const message = `job file ${file}: ${faults.length === 1 ? "a fault" : `${faults.length} faults`}\n${faults.join("\n")}`;
    return { ok: false, code: "job-invalid", message };
  }
  const job = parsed.data;
  for (const key of FILES) job[key] = resolve(dirname(file), job[key]);
  return { ok: true, job };
}

/** One line for every fault: the path, what stands there, what may. */
function faultsOf(issue: z.core.$ZodIssue, root: unknown): string[] {
  if (issue.code === "unrecognized_keys") {
    const known = issue.path.length === 0 ? `; known keys: ${Object.keys(jobFileSchema.shape).join(", ")}` : "";
    return issue.keys.map((key, i) => `  ${[...issue.path, key].join(".")}: unknown key${i === 0 ? known : ""}`);
  }
  let value = root;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const path = issue.path.join(".");
  if (path === "") return [`  it must be a list of keys and values, like "steps: 100" (it is ${JSON.stringify(value)?.slice(0, 80)})`];
  if (value === undefined) return [`  ${path}: is missing (${issue.code === "invalid_type" ? `a ${issue.expected}` : issue.message})`];
  return [`  ${path}: ${issue.message} (it is ${JSON.stringify(value)?.slice(0, 80)})`];
}

const stepShape = z.object(jobFileSchema.pick({ groups: true, directionsLog2: true, estimator: true }).shape);

/** What each key allows but all together do not. Nothing where one of them is a fault by itself. */
function misfitsOf(value: unknown): string[] {
  const parsed = stepShape.safeParse(value);
  if (!parsed.success) return [];
  const { groups, directionsLog2, estimator } = parsed.data;
  const directions = groups * 2 ** directionsLog2;
  const faults: string[] = [];
  if (directions > LIMITS.directionsPerStepMax)
    faults.push(
      `  groups, directionsLog2: groups x 2^directionsLog2 is ${directions} directions a step; at most ${LIMITS.directionsPerStepMax} fit: lower one of them`,
    );
  if (estimator === "one-sided" && directionsLog2 < 2)
    faults.push(
      `  directionsLog2: estimator one-sided needs groups of at least 4 directions, so at least 2 (it is ${directionsLog2}); or else use estimator: two-sided`,
    );
  return faults;
}
