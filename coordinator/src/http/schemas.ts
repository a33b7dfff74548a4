/**
 * What the coordinator shows the world: schema and type together, shared with the page (which imports the types alone).
 * Only what stands here leaves the process: answers are cut to these fields. Nothing here may hold a key, a path or a training text.
 */
import { RESULT_CODES } from "@zoswarm/shared/protocol/codes";
import { METRICS } from "@zoswarm/shared/protocol/manifest";
import * as z from "zod";

const count = z.int().min(0);
/** A rate or a size that may be fractional because it is an average. */
const amount = z.number().min(0);
const hash = z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits");
/** -1 is the state before training. */
const stateStep = z.int().min(-1);

/** One committed step. `meanLoss` was measured at the state that the step started from. */
export const stepPointSchema = z.object({
  step: count,
  meanLoss: z.number().nullable(),
  /** Directions that the step asked for, and those that came in and were committed. */
  directions: count,
  accepted: count,
  /** Root mean square of the projected gradients; null where it is not known any more (it is not in the ledger). */
  signal: amount.nullable(),
  seconds: amount.nullable(),
});
export type StepPoint = z.output<typeof stepPointSchema>;

/** The held-out set under the state that `step` led to. */
export const evaluationSchema = z.object({
  step: stateStep,
  loss: z.number(),
  /** The job's metric. */
  score: z.number(),
  examples: count,
  stateHash: hash,
});
export type Evaluation = z.output<typeof evaluationSchema>;

export const decisionSchema = z.object({
  /** Its place in the ledger. */
  seq: count,
  kind: z.enum(["rate", "restore", "end"]),
  /** The newest step committed before it. */
  afterStep: stateStep,
  text: z.string(),
  /** Empty where the ledger holds no reason. */
  why: z.string(),
});
export type DecisionPoint = z.output<typeof decisionSchema>;

export const JOB_STATES = ["waiting", "running", "finished", "failed"] as const;

export const jobSchema = z.object({
  jobId: hash,
  name: z.string(),
  state: z.enum(JOB_STATES),
  /** Steps committed so far: 0 before the first. */
  step: count,
  /** Steps the job is to take; null where something else is to end it. */
  steps: count.nullable(),
  /** What ends it before that; null: nothing. */
  stop: z.object({ target: z.number().nullable(), patience: count.nullable(), forwards: count.nullable() }),
  /** Forward passes behind all commits, by the ledger: what `stop.forwards` is compared with. */
  forwardsCommitted: count,
  parameters: count,
  /** 0 where the objective has none. */
  classes: count,
  /** What evaluations report as their score. */
  metric: z.enum(METRICS),
  /** These four are null until the coordinator has chosen them. */
  directionsPerStep: count.nullable(),
  groups: count.nullable(),
  estimator: z.enum(["two-sided", "one-sided"]),
  rule: z.enum(["plain", "normalised"]),
  epsilon: amount.nullable(),
  rate: amount.nullable(),
  staleness: count,
  /** The newest decisions of the ledger about the job's course, oldest first: what each changed, after which step, and why. */
  decisions: z.array(decisionSchema),
  head: z.object({ seq: count, hash }),
  /** The coordinator's own replica; null where it has not been hashed yet. */
  stateHash: hash.nullable(),
  /** Workers connected now. */
  workers: count,
  joinCommand: z.string(),
  addresses: z.array(z.string()),
  /** Training's forward passes and the coordinator's own held-out ones, since this process started. */
  forwards: count,
  evalForwards: count,
  forwardsPerSecond: amount,
  secondsPerStep: amount.nullable(),
  etaSeconds: amount.nullable(),
  /** Payload bytes per step, averaged over recent steps; a worker's are the mean over workers. */
  bytesPerStep: z.object({
    workerIn: amount.nullable(),
    workerOut: amount.nullable(),
    coordinatorIn: amount.nullable(),
    coordinatorOut: amount.nullable(),
  }),
  /** Results (one per direction) by what became of them; an outcome that has not happened may be missing. */
  results: z.partialRecord(z.enum(RESULT_CODES), count),
  /** Times that a worker's state was found to differ from the ledger's, since this process started. */
  divergences: count,
  /** Held-out accuracy of always answering the commonest class; null for other metrics. */
  majorityBaseline: z.number().min(0).max(1).nullable(),
  noiseFloor: amount.nullable(),
  firstEvaluation: evaluationSchema.nullable(),
  lastEvaluation: evaluationSchema.nullable(),
  /** The best by the metric; the newer where they tie. */
  bestEvaluation: evaluationSchema.nullable(),
  lastStep: stepPointSchema.nullable(),
  /** One sentence for people who are about to join: who can read what. */
  dataNotice: z.string(),
});
export type Job = z.output<typeof jobSchema>;

export const WORKER_STATES = ["joining", "syncing", "ready", "evaluating", "paused", "diverged", "gone"] as const;

export const workerSchema = z.object({
  peerId: z.string(),
  name: z.string(),
  device: z.string(),
  threads: count,
  state: z.enum(WORKER_STATES),
  /** Directions that this worker measures in every step, as assigned now. */
  slots: count,
  /** It missed several deadlines in a row: it has few slots, and nobody waits for it. */
  onProbation: z.boolean(),
  forwardsPerSecond: amount,
  /** Results, one per direction: committed (the worker's credit), too late, refused, already known. */
  accepted: count,
  late: count,
  rejected: count,
  duplicate: count,
  stateHash: z.enum(["agrees", "differs", "unknown"]),
  bytesIn: count,
  bytesOut: count,
  secondsSinceHeard: amount,
});
export type Worker = z.output<typeof workerSchema>;

/** A page of history. `next` is the `from` of the next page, null where this page reaches the newest step. */
export const stepsPageSchema = z.object({
  steps: z.array(stepPointSchema),
  evaluations: z.array(evaluationSchema),
  next: z.int().min(0).nullable(),
});
export type StepsPage = z.output<typeof stepsPageSchema>;

export const workersSchema = z.object({ workers: z.array(workerSchema) });

/** `reason` is for people: what is wrong and what to do. */
export const healthSchema = z.object({ status: z.enum(["ok", "degraded"]), reason: z.string().optional() });
export type Health = z.output<typeof healthSchema>;

/** What travels on /api/events: the event's name and the schema of its data. */
export const EVENTS = {
  job: jobSchema,
  workers: workersSchema,
  health: healthSchema,
  step: stepPointSchema,
  evaluation: evaluationSchema,
} as const;
export type EventName = keyof typeof EVENTS;
export type EventData<N extends EventName> = z.output<(typeof EVENTS)[N]>;
