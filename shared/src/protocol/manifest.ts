/**
 * The manifest: what a job IS. Its bytes hash to the job's id; key, tensors and commit key never change after it is made.
 * It is JSON so that people and auditors read it; the bytes are kept as they were written.
 */
import * as z from "zod";
import { ESTIMATORS } from "./announcement.ts";
import { settingFields, shownText, u32 } from "./entries.ts";
import { LIMITS } from "./limits.ts";
import { sha256Hex } from "./signing.ts";
import { PROTOCOL_VERSION } from "./topics.ts";

const hex32 = z.string().regex(/^[0-9a-f]{64}$/, "64 hex digits");
const blob = z.strictObject({
  id: hex32,
  bytes: z
    .int()
    .min(1)
    .max(32 * 2 ** 30),
});

const tensor = z
  .strictObject({
    name: z.string().min(1).max(512),
    shape: z
      .array(
        z
          .int()
          .min(1)
          .max(2 ** 31),
      )
      .max(8),
    q: z.int().min(16).max(28),
    gain: z.int().min(-8).max(8),
  })
  .refine(({ q, gain }) => q + gain >= 16 && q + gain <= 36, "16 <= q + gain <= 36 (spec 1)");

const inputName = z.string().min(1).max(512);
const size = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);

/** An input of the model, and what it is filled from. */
const input = z.strictObject({
  name: inputName,
  type: z.enum(["int64", "int32", "float32", "uint8", "int8", "bool"]),
  dims: z
    .array(z.union([size, z.literal(["batch", "sequence"])]))
    .max(8)
    .refine(
      (dims) => dims.reduce<number>((n, each) => n * (typeof each === "number" ? each : 1), 1) <= LIMITS.inputElementsMax,
      "an input of one example is larger than inputElementsMax",
    ),
  source: z.discriminatedUnion("from", [
    /** Token ids, shorter rows filled with `pad`. */
    z.strictObject({ from: z.literal("tokens"), pad: u32 }),
    /** 1 where there is a token, 0 where there is padding. */
    z.strictObject({ from: z.literal("mask") }),
    /** The other way round. */
    z.strictObject({ from: z.literal("padding") }),
    /** 0, 1, 2 and so on. */
    z.strictObject({ from: z.literal("positions") }),
    z.strictObject({ from: z.literal("constant"), value: z.number() }),
    /** The example's features, by place. */
    z.strictObject({ from: z.literal("feature"), index: z.int().min(0).max(255) }),
  ]),
});
export type InputSpec = z.output<typeof input>;

export const METRICS = ["accuracy", "f1", "exact-match", "perplexity", "mean-squared-error", "reward"] as const;
export type Metric = (typeof METRICS)[number];
export const MEASURES = ["loss", "accuracy", "f1", "exact-match", "reward"] as const;

/** What is measured of a forward pass (shared/spec/objectives.md). */
const objective = z.strictObject({
  /** What the graph computes: class scores, scores of label words, losses of tokens, a number, or the next token alone. */
  kind: z.enum(["classes", "words", "tokens", "values", "none"]),
  /** What a direction is judged by: the graph's loss, or one of these, of which more is better. */
  measure: z.enum(MEASURES),
  /** What held-out evaluations report. */
  metric: z.enum(METRICS),
  classes: z.int().min(0).max(65_536),
  /** Tokens that are generated greedily from an example's, at most; and the token that ends them. */
  generate: z.int().min(0).max(1024),
  stop: u32.nullable(),
  /** The launcher's JavaScript, `reward(example)`; run in a sandbox, and only by workers that allow it. */
  reward: z.string().max(65_536).nullable(),
});
export type Objective = z.output<typeof objective>;

export const manifestSchema = z.strictObject({
  version: z.literal(PROTOCOL_VERSION),
  name: shownText(LIMITS.nameCharactersMax).min(1),
  key: z.tuple([u32, u32, u32, u32]),
  commitKey: hex32,
  stateHash: hex32,
  /** Task t is measured at the state after commit t - 1 - staleness. */
  staleness: z.int().min(0).max(LIMITS.stalenessStepsMax),
  /** The graph: weights that are trained are inputs, large ones that are not lie in `frozen`. */
  model: blob,
  frozen: blob.nullable(),
  /** For objectives that read generated text. */
  tokenizer: blob.nullable(),
  initial: blob,
  /** The index of the training examples, and the bytes of its shards together. */
  examples: blob,
  shardBytes: z
    .int()
    .min(1)
    .max(2 ** 40),
  inputs: z.array(input).min(1).max(256),
  objective,
  tensors: z.array(tensor).min(1).max(65_536),
  job: z
    .strictObject({
      /** Commits at most. */
      steps: z.int().min(1).max(0xfffffffe),
      /** These four: null where the coordinator chooses, which the ledger's `rate` entries tell. With a rate, all are given. */
      rate: settingFields.rate.nullable(),
      epsilonLog2: settingFields.epsilonLog2.nullable(),
      groups: settingFields.groups.nullable(),
      directionsLog2: settingFields.directionsLog2.nullable(),
      batch: z.int().min(1).max(4096),
      estimator: z.enum(ESTIMATORS),
      rule: z.enum(["plain", "normalised"]),
      evaluateEvery: z.int().min(1).max(1e6),
      /** What ends the job before its last step; null: nothing. */
      stop: z.strictObject({
        /** A held-out score by the objective's metric, at least, or at most where less is better. */
        target: z.number().nullable(),
        /** So many held-out evaluations since the one with the least loss. */
        patience: z.int().min(1).nullable(),
        /** Forward passes behind all commits. */
        forwards: z.int().min(1).nullable(),
      }),
      /** How long a step waits at most, and at least. */
      deadlineMs: z.int().min(100).max(3_600_000),
      deadlineFloorMs: z.int().min(100).max(3_600_000),
      quorum: z.number().min(0).max(1),
    })
    .refine(
      ({ rate, epsilonLog2, groups, directionsLog2 }) =>
        rate === null || (epsilonLog2 !== null && groups !== null && directionsLog2 !== null),
      "a rate without epsilonLog2, groups and directionsLog2",
    )
    .refine(
      ({ groups, directionsLog2 }) => (groups ?? 1) * 2 ** (directionsLog2 ?? 0) <= LIMITS.directionsPerStepMax,
      "too many directions",
    ),
});
export type Manifest = z.output<typeof manifestSchema>;

export type ReadManifest =
  | { ok: true; manifest: Manifest; jobId: string }
  | { ok: false; code: "too-large" | "malformed" | "wrong-schema"; message: string };

/** Reads manifest bytes from a file or a peer: size, JSON, schema. The job id is the SHA-256 of these bytes. */
export function readManifest(bytes: Uint8Array): ReadManifest {
  if (bytes.byteLength > LIMITS.manifestBytesMax)
    return { ok: false, code: "too-large", message: `the manifest has ${bytes.byteLength} bytes; the limit is ${LIMITS.manifestBytesMax}` };
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    return { ok: false, code: "malformed", message: `the manifest is no JSON: ${(error as Error).message}` };
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) return { ok: false, code: "wrong-schema", message: z.prettifyError(parsed.error) };
  return { ok: true, manifest: parsed.data, jobId: sha256Hex(bytes) };
}

/** How many steps the launcher asked for; null where something else is to end the job. */
export function stepsAsked({ steps }: Pick<Manifest["job"], "steps">): number | null {
  return steps < LIMITS.stepsMax ? steps : null;
}

/** The manifest's bytes: written once, when the job is made. */
export function manifestBytes(manifest: Manifest): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(manifest, null, 1)}\n`);
}
