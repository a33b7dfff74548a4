/**
 * `coordinator check`: a dry run of a job file. The job is made in a temporary folder, a few directions of its first step are measured as a
 * worker would, and a commit is made of them; what it costs and what looks wrong is told, and nothing is kept.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { batchOf } from "@zoswarm/shared/data/batches";
import { decodeIndex, decodeShard, type Example } from "@zoswarm/shared/data/examples";
import { type Evaluator, loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { createAnnouncement, slotsOf } from "@zoswarm/shared/protocol/announcement";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { encodeWorkerFrame } from "@zoswarm/shared/protocol/messages";
import { createCommitKey, readCommitKey } from "@zoswarm/shared/protocol/signing";
import { type BlobFiles, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { readJobFile } from "./config.ts";
import { createJob, type Made } from "./create.ts";
import { type Fault, filesOf, type JobFolder, readFolder, specOf } from "./folder.ts";
import type { Answer } from "./round/accept.ts";
import { commitOf, taskOf } from "./round/commit.ts";
import { firstSettings } from "./round/course.ts";

/** Directions that are measured; the time of a whole step follows from them. */
const DIRECTIONS_MAX = 8;
const HASH = "00".repeat(32);
/** Why a tensor is not trained that nobody would take for a weight: shapes, axes, epsilons (model/judge.ts). */
const NO_WEIGHT = /^is (int64|int32|bool|a single number|a Constant of)/;

export interface Checked {
  ok: true;
  parameters: number;
  tensors: number;
  trainRows: number;
  heldoutRows: number;
  /** What a worker downloads before its first step, and the examples that it may fetch later. */
  downloadBytes: number;
  exampleBytes: number;
  /** Peak of this process, which holds what a worker holds. */
  memoryBytes: number;
  forwardSeconds: number;
  /** Of one worker on this machine with one thread; n workers share it. */
  stepSeconds: number;
  evaluationSeconds: number;
  /** Payload of a step: what every worker receives, and all workers together send. */
  commitBytes: number;
  resultBytes: number;
  startLoss: number;
  startScore: number;
  warnings: string[];
}

/** Tries a job file. Whatever it made is removed. */
export async function check(jobFile: string, threads: number): Promise<Checked | Fault<string>> {
  const read = await readJobFile(jobFile);
  if (!read.ok) return read;
  const hashed = await specOf(read.job);
  if (!hashed.ok) return hashed;
  const above = await mkdtemp(join(tmpdir(), "zoswarm-check-"));
  const evaluator = startEvaluator({ threads });
  try {
    const dir = join(above, "job");
    const made = await createJob(hashed.spec, dir);
    if (!made.ok) return made;
    const folder = readFolder(dir);
    if (!folder.ok) return folder;
    return await measure(folder, made, evaluator);
  } finally {
    await evaluator.close();
    await rm(above, { recursive: true, force: true });
  }
}

async function measure(folder: JobFolder, made: Made, evaluator: Evaluator): Promise<Checked | Fault<string>> {
  const { manifest, jobId, dir } = folder;
  const { job } = manifest;
  const blobs = await openBlobFiles(filesOf(dir).blobs);
  await evaluator.call("load", loadRequestOf(manifest, blobs.path));
  await evaluator.call("setHeldout", { shards: [Uint8Array.from(await readFile(filesOf(dir).heldout))] });
  const fromMs = performance.now();
  const { loss, score } = await evaluator.call("evaluate", { batch: job.batch });
  const evaluationSeconds = (performance.now() - fromMs) / 1000;
  const step = await measureStep(manifest, jobId, evaluator, blobs);
  const settings = firstSettings(manifest);
  const { commit, signal } = commitOf(manifest, settings, [], step.open, () => "check");
  await evaluator.call("replay", { commits: [commit] });
  const { key } = readCommitKey(createCommitKey().privatePem);
  const task = taskOf(manifest, 1, settings);
  const announced = createAnnouncement({ jobId, epoch: 0, seq: 1, prevHash: HASH, entry: commit, task }, key);
  const losses = Array.from({ length: step.open.total }, (_, slot) => ({ slot, plus: 0.123456789, minus: null }));
  const result = encodeWorkerFrame({ kind: "result", step: 1, assignment: 1, head: HASH, checkpoint: null, losses, elapsedMs: 1 });
  const { model, frozen, tokenizer, initial, examples, shardBytes } = manifest;
  return {
    ok: true,
    parameters: manifest.tensors.reduce((n, { shape }) => n + elementsOf(shape), 0),
    tensors: manifest.tensors.length,
    trainRows: made.trainRows,
    heldoutRows: made.heldoutRows,
    downloadBytes: [model, frozen, tokenizer, initial, examples].reduce((sum, blob) => sum + (blob?.bytes ?? 0), 0),
    exampleBytes: shardBytes,
    memoryBytes: process.resourceUsage().maxRSS * 1024,
    forwardSeconds: step.seconds / step.forwards,
    stepSeconds: (step.seconds / step.measured) * step.open.total,
    evaluationSeconds,
    commitBytes: announced.bytes.byteLength,
    resultBytes: result.byteLength,
    startLoss: loss,
    startScore: score,
    warnings: warningsOf(manifest, made, { loss, signal }),
  };
}

/** The first step's open answers: a few directions of every group, shared fairly. */
async function measureStep(manifest: Manifest, jobId: string, evaluator: Evaluator, blobs: BlobFiles) {
  const { job, objective } = manifest;
  const task = taskOf(manifest, 0, firstSettings(manifest));
  const index = decodeIndex(Uint8Array.from(await readFile(blobs.path(manifest.examples.id))));
  const open = { task, total: slotsOf(task.groups), answers: new Map<number, Answer>() };
  const before = await evaluator.call("stats", null);
  let first = 0;
  let measured = 0;
  for (const { g, m, batch } of task.groups) {
    const drawn = batchOf({ jobId, step: 0, group: batch, size: job.batch, labels: index.labels, classes: objective.classes });
    const examples: Example[] = [];
    for (const i of drawn) {
      const shard = index.shards[Math.floor(i / index.perShard)];
      const decoded = decodeShard(Uint8Array.from(await readFile(blobs.path(shard?.id ?? ""))));
      examples.push(decoded[i % index.perShard] as Example);
    }
    const directions = Array.from({ length: Math.min(2 ** m, Math.max(4, Math.floor(DIRECTIONS_MAX / task.groups.length))) }, (_, k) => k);
    const { step, epsilonLog2, estimator } = task;
    const { losses } = await evaluator.call("measure", { step, group: g, m, epsilonLog2, estimator, directions, examples });
    for (const { k, plus, minus } of losses)
      open.answers.set(first + k, { peerId: "check", losses: plus === null ? null : { plus, minus } });
    measured += losses.length;
    first += 2 ** m;
  }
  const after = await evaluator.call("stats", null);
  return { open, measured, seconds: after.busySeconds - before.busySeconds, forwards: after.forwards - before.forwards };
}

function warningsOf(manifest: Manifest, made: Made, { loss, signal }: { loss: number; signal: number }): string[] {
  const { job, objective, tensors } = manifest;
  const warnings = [...made.doubts, "volunteers download the training data and can read it: launch only what they may see"];
  const share = made.truncated / (made.trainRows + made.heldoutRows);
  if (share > 0.05)
    warnings.push(`${(100 * share).toFixed(0)} % of the rows were cut at maxTokens: raise it, or accept that their ends are not seen`);
  if (made.heldoutRows < 50) warnings.push(`only ${made.heldoutRows} rows are held out: their score will jump; hold out more`);
  if (made.trainRows < job.batch)
    warnings.push(`a batch is ${job.batch} examples and there are ${made.trainRows}: every step sees all of them`);
  if (signal === 0)
    warnings.push(
      objective.measure === "loss"
        ? "all directions gave the same loss: nothing would move; raise epsilonLog2"
        : `all directions gave the same ${objective.measure} (it often ties): take a larger batch, or raise epsilonLog2`,
    );
  if (
    objective.kind === "classes" &&
    objective.measure === "loss" &&
    Math.abs(loss - Math.log(objective.classes)) > 3 * Math.log(objective.classes)
  )
    warnings.push(
      `the loss before training is ${loss.toFixed(2)}, far above guessing (${Math.log(objective.classes).toFixed(2)}): are the labels in the model's order?`,
    );
  // Spec 7: delta / v_rms, v being about the rate times the square root of a group's directions.
  const move = job.rate === null ? Number.POSITIVE_INFINITY : job.rate * Math.sqrt(2 ** firstSettings(manifest).directionsLog2);
  const coarse = tensors.filter(({ q, gain }) => job.rule === "normalised" && 2 ** -q > 2 * move * 2 ** gain);
  if (coarse.length > 0)
    warnings.push(
      `the rate is too small for the lattice of ${coarse.length} of ${tensors.length} tensors (such as "${coarse[0]?.name}"): raise it`,
    );
  const [left, ...others] = made.frozen.filter(({ reason }) => !NO_WEIGHT.test(reason));
  if (left !== undefined) warnings.push(`${others.length + 1} tensors are not trained, such as "${left.name}", which ${left.reason}`);
  return warnings;
}
