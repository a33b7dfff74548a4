/**
 * Makes a job: from a job file's model and data to a data folder that is whole. Everything that can be refused is refused before
 * the folder gets its name, and what was written until then is removed, also when the process is told to stop.
 */
import { createHash, randomBytes } from "node:crypto";
import { rmdirSync, rmSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Example, encodeIndex, encodeShard, exampleOf, SHARD_BYTES_MAX, shardsOf } from "@zoswarm/shared/data/examples";
import { fixedLengthOf } from "@zoswarm/shared/data/feeds";
import { loadTokenizer } from "@zoswarm/shared/data/tokenizer";
import type { LoadRequest } from "@zoswarm/shared/evaluate/calls";
import { type Evaluator, loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { loadReward } from "@zoswarm/shared/evaluate/reward";
import type { Externalized } from "@zoswarm/shared/model/freeze";
import { joinInitial } from "@zoswarm/shared/model/importer";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { type Manifest, manifestBytes, readManifest } from "@zoswarm/shared/protocol/manifest";
import { createCommitKey } from "@zoswarm/shared/protocol/signing";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { onStopSignal } from "@zoswarm/shared/signals";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { splitTensors } from "@zoswarm/shared/zo/apply";
import type { Key } from "@zoswarm/shared/zo/lattice";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { readData } from "./data.ts";
import { type Fault, type Found, filesOf, type JobSpec } from "./folder.ts";
import { buildGraph } from "./graph.ts";
import { keepModel } from "./keep.ts";
import { LEDGER_BYTES, refuseFull } from "./room.ts";

/** What the launcher should know about the job that was made. */
export interface Made {
  frozen: { name: string; reason: string }[];
  /** Nodes that only matter in training. */
  switchedOff: string[];
  /** What is most likely a mistake. */
  doubts: string[];
  truncated: number;
  trainRows: number;
  heldoutRows: number;
}

/** Makes the folder `dir`. Failures are values with a message for people; nothing half-written is left. */
export async function createJob(spec: JobSpec, dir: string): Promise<({ ok: true } & Made) | Fault<string>> {
  const partial = `${dir}.${process.pid}.new`;
  let above: string | undefined;
  let isMade = false;
  /** Removes what is not whole, and the folders above it that were made for it. */
  const tidy = () => {
    rmSync(partial, { recursive: true, force: true });
    if (above !== undefined && !isMade) removeEmpty(dirname(dir), above);
  };
  let trial: Evaluator | undefined;
  const startTrial = () => {
    trial = startEvaluator({ threads: 1 });
    return trial;
  };
  const unhandle = onStopSignal((signal) => {
    const exit = () => {
      tidy();
      process.exit(signal === "SIGINT" ? 130 : 143);
    };
    if (trial) void trial.close().then(exit);
    else exit();
  });
  try {
    above = await mkdir(dirname(dir), { recursive: true });
    await mkdir(partial);
    const made = await fill(spec, partial, startTrial);
    if (!made.ok) return { ...made, message: made.message.replaceAll(partial, dir) };
    await rename(partial, dir);
    isMade = true;
    return made;
  } catch (error) {
    const { code, message, fault } = error as NodeJS.ErrnoException & { fault?: Fault<string> };
    if (fault !== undefined) return { ...fault, message: fault.message.replaceAll(partial, dir) };
    if (code === "ENOSPC" || code === "EDQUOT")
      return {
        ok: false,
        code: "disk-full",
        message: `the disk that holds ${dir} is full: free some space, or name a folder on another disk with --data`,
      };
    const why = message.replaceAll(partial, dir);
    return { ok: false, code: "folder-unwritable", message: `data folder ${dir}: cannot be made (${why}); name another with --data` };
  } finally {
    tidy();
    unhandle();
  }
}

/** Removes `from` and the folders above it up to `to`, as long as they are empty. */
function removeEmpty(from: string, to: string): void {
  try {
    for (let at = from; at.length >= to.length; at = dirname(at)) rmdirSync(at);
  } catch {
    // Somebody else uses it by now.
  }
}

async function fill(spec: JobSpec, dir: string, startTrial: () => Evaluator): Promise<({ ok: true } & Made) | Fault<string>> {
  const files = filesOf(dir);
  const key = [...new Uint32Array(Uint8Array.from(randomBytes(16)).buffer)] as unknown as Key;
  const loaded = spec.tokenizer === undefined ? null : await loadTokenizer(spec.tokenizer);
  if (loaded?.ok === false) return loaded;
  const tokenizer = loaded?.ok ? loaded : null;
  const reward = await readReward(spec);
  if (!reward.ok) return reward;
  const built = buildGraph(spec, { tokenizer, reward: reward.source, seed: await seedOf(spec.seed) });
  if (!built.ok) return { ...built, message: `model ${spec.model}: ${built.message}` };
  const data = await readData(spec, {
    objective: built.objective,
    features: built.features,
    tokenizer,
    fixedLength: fixedLengthOf(built.inputs),
  });
  if (!data.ok) return data;
  const objective = { ...built.objective, classes: data.classes };
  const initial = joinInitial(built.tensors, built.initial());
  const { perShard, shards } = shardsOf(data.train);
  const encoded = shards.map(encodeShard);
  const heldout = encodeShard(data.heldout);
  if (heldout.byteLength > SHARD_BYTES_MAX) {
    const message = `heldout: ${data.heldout.length} examples are ${heldout.byteLength} bytes; at most ${SHARD_BYTES_MAX} fit: hold out fewer`;
    return { ok: false, code: "heldout-too-large", message };
  }
  const base = built.at("frozen");
  const copied = await Promise.all([spec.model, ...(spec.tokenizer ? [spec.tokenizer] : [])].map(async (file) => (await stat(file)).size));
  const shardBytes = encoded.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const full = await refuseFull(
    dir,
    [...copied, 2 * base.bytes, initial.byteLength, shardBytes, heldout.byteLength, LEDGER_BYTES].reduce((a, b) => a + b),
  );
  if (full !== null) return full;
  const blobs = await openBlobFiles(files.blobs);
  const put = async (source: Uint8Array | { file: string }) => {
    const stored = await blobs.put(source);
    if (!stored.ok) throw Object.assign(new Error(stored.message), { fault: stored });
    return { id: stored.id, bytes: stored.bytes };
  };
  const frozen = base.bytes === 0 ? null : await putFrozen(base, join(dir, "frozen"), put);
  const model = await put(writeModel(built.at(frozen === null ? "frozen" : basename(blobs.path(frozen.id))).model));
  const initialBlob = await put(initial);
  const named = [];
  for (const bytes of encoded) named.push(await put(bytes));
  const labels = Int32Array.from(data.train, ({ label }) => label);
  const examples = await put(encodeIndex({ count: data.train.length, perShard, labels, shards: named }));
  const tokenizerBlob = spec.tokenizer !== undefined && objective.generate > 0 ? await put({ file: spec.tokenizer }) : null;
  const { privatePem, publicHex } = createCommitKey();
  const manifest: Manifest = {
    version: PROTOCOL_VERSION,
    name: spec.name,
    key: [...key],
    commitKey: publicHex,
    stateHash: stateHash(splitTensors(initial, built.tensors)),
    staleness: 0,
    model,
    frozen,
    tokenizer: tokenizerBlob,
    initial: initialBlob,
    examples,
    shardBytes,
    inputs: built.inputs,
    objective,
    tensors: built.tensors.map(({ name, shape, q, gain }) => ({ name, shape: [...shape], q, gain })),
    job: {
      steps: spec.steps,
      groups: spec.groups,
      directionsLog2: spec.directionsLog2,
      batch: spec.batch,
      epsilonLog2: spec.epsilonLog2,
      estimator: spec.estimator,
      rule: spec.rule,
      rate: spec.rate,
      evaluateEvery: spec.evaluateEvery,
      deadlineMs: Math.round(spec.deadlineSeconds * 1000),
      quorum: spec.quorum,
    },
  };
  const bytes = manifestBytes(manifest);
  const valid = readManifest(bytes);
  if (!valid.ok) return { ok: false, code: "job-too-large", message: `the job cannot be described: ${valid.message}` };
  const tried = await tryModel(startTrial(), loadRequestOf(manifest, blobs.path), data);
  if (!tried.ok) return { ...tried, message: `model ${spec.model}: ${tried.message}` };
  await writeFile(files.heldout, heldout);
  const kept = await keepModel(spec, built.inputs, files.model);
  if (!kept.ok) return kept;
  if (spec.tokenizer !== undefined) await copyFile(spec.tokenizer, files.tokenizer);
  const found: Found = { adapters: built.adapters, labels: data.labels };
  await writeFile(files.found, `${JSON.stringify(found, null, 1)}\n`);
  await writeFile(files.commitKey, privatePem, { mode: 0o600 });
  await chmod(files.commitKey, 0o600);
  await writeFile(files.manifest, bytes);
  await writeFile(files.spec, `${JSON.stringify(spec, null, 1)}\n`);
  const probable = tried.isSoftmax
    ? [
        `the output holds probabilities, not logits, and learns slowly: name what is before its softmax or sigmoid (output: VALUE), one of ${built.before.join(", ")}`,
      ]
    : [];
  const foreseeing =
    tried.foresees > FORESEES_MAX
      ? [
          `what the model says of a token differs by ${tried.foresees.toPrecision(2)} with the tokens after it: it sees what it shall predict, so it is no decoder (or rounds activations); take objective masked-lm or classification`,
        ]
      : [];
  const mixing =
    tried.mixes > MIXES_MAX
      ? [
          `the loss of the same examples differs by ${tried.mixes.toPrecision(2)} when they are batched: the model reads padding, rounds activations, or has the sequence before the batch; export it with an attention mask, batch first`,
        ]
      : [];
  const { truncated } = data;
  return {
    ok: true,
    frozen: built.frozen,
    switchedOff: built.switchedOff,
    doubts: [...probable, ...mixing, ...foreseeing],
    truncated,
    trainRows: data.train.length,
    heldoutRows: data.heldout.length,
  };
}

type Stored = { id: string; bytes: number };

/** Frozen weights as a blob: written beside, named by their content, and put in its place. */
async function putFrozen(base: Externalized, file: string, put: (source: { file: string }) => Promise<Stored>): Promise<Stored> {
  try {
    await base.write(file);
    return await put({ file });
  } finally {
    await rm(file, { force: true });
  }
}

/** The launcher's reward, tried on nothing: a program that cannot be loaded must be known now. */
async function readReward({ reward }: JobSpec): Promise<{ ok: true; source: string | null } | Fault<string>> {
  if (reward === undefined) return { ok: true, source: null };
  const source = await readFile(reward, "utf8");
  const loaded = await loadReward(source);
  if (!loaded.ok) return { ok: false, code: loaded.code, message: `reward ${reward}: ${loaded.message}` };
  loaded.reward.close();
  return { ok: true, source };
}

/** 128 bits that a text stands for. */
async function seedOf(text: string): Promise<Key> {
  const hash = createHash("sha256").update(`zoswarm/seed/1 ${text}`).digest();
  return [0, 1, 2, 3].map((word) => hash.readUInt32LE(4 * word)) as unknown as Key;
}

/** Runs the model once on the hardest examples: a fault of the runtime, which names the node, must come now and not at a volunteer. */
async function tryModel(
  evaluator: Evaluator,
  load: LoadRequest,
  { train, heldout }: { train: readonly Example[]; heldout: readonly Example[] },
): Promise<{ ok: true; isSoftmax: boolean; mixes: number; foresees: number } | Fault<"model-fails">> {
  try {
    await evaluator.call("load", load);
    for (const [name, examples] of [
      ["training", train],
      ["held-out", heldout],
    ] as const) {
      await evaluator.call("setHeldout", { shards: [encodeShard(hardestOf(examples))] });
      const { loss } = await evaluator.call("evaluate", { batch: 2 });
      if (!Number.isFinite(loss))
        return { ok: false, code: "model-fails", message: `its loss on a ${name} example is ${loss}; check its weights` };
    }
    const { scores } = await evaluator.call("predict", { examples: hardestOf(heldout) });
    const mixes = load.objective.measure === "loss" && load.objective.generate === 0 ? await mixedUp(evaluator, train) : 0;
    const foresees = load.objective.kind === "tokens" && load.objective.measure === "loss" ? await foreseen(evaluator, train) : 0;
    return { ok: true, isSoftmax: load.objective.kind === "classes" && scores.every(isDistribution), mixes, foresees };
  } catch (error) {
    const why = (error as Error).message.replaceAll(/\s+/g, " ").trim();
    const message = /GatherElements.*zoswarm\/objective\//.test(why)
      ? "its output has fewer classes than there are labels, or fewer entries for a token than the tokenizer has tokens; correct the labels, name another output, or take the model's own tokenizer"
      : `the runtime refuses it: ${why}; see that it runs in onnxruntime with several examples of different lengths, or export it again, for instance with opset 17`;
    return { ok: false, code: "model-fails", message };
  } finally {
    await evaluator.close();
  }
}

/** How much a short example's loss changes beside a long one. */
async function mixedUp(evaluator: Evaluator, examples: readonly Example[]): Promise<number> {
  const short = examples.reduce((one, other) => (other.tokens.length < one.tokens.length ? other : one));
  await evaluator.call("setHeldout", { shards: [encodeShard([short, ...hardestOf(examples)])] });
  const [alone, together] = [await evaluator.call("evaluate", { batch: 1 }), await evaluator.call("evaluate", { batch: 3 })];
  return Math.abs(alone.loss - together.loss) / Math.max(1, Math.abs(alone.loss));
}

/** How much the loss of an example's first half changes with what comes after it: a decoder's does not. */
async function foreseen(evaluator: Evaluator, examples: readonly Example[]): Promise<number> {
  const [longest] = hardestOf(examples) as [Example];
  const { length } = longest.tokens;
  const half = Math.floor(length / 2);
  if (half < 2) return 0;
  const sumOf = async (to: number, from: number) => {
    const example = { ...exampleOf(Array.from(longest.tokens).slice(0, to), { from }), features: longest.features };
    await evaluator.call("setHeldout", { shards: [encodeShard([example])] });
    return (await evaluator.call("evaluate", { batch: 1 })).loss * (to - from);
  };
  const [whole, end, alone] = [await sumOf(length, 1), await sumOf(length, half), await sumOf(half, 1)];
  return Math.abs(whole - end - alone) / (half - 1);
}

/** Rounding stays below, but for that of activations to 8 bits. */
const MIXES_MAX = 3e-4;
const FORESEES_MAX = 1e-4;

/** Whether scores are probabilities: of these a cross-entropy would hardly move. */
function isDistribution(scores: readonly number[]): boolean {
  return scores.every((score) => score >= 0) && Math.abs(scores.reduce((sum, score) => sum + score, 0) - 1) < 1e-3;
}

/** The longest example of a set, and the one that holds its largest token id. */
function hardestOf(examples: readonly Example[]): Example[] {
  const largestIn = ({ tokens }: Example) => Array.from(tokens).reduce((most, token) => Math.max(most, token), -1);
  const longest = examples.reduce((one, other) => (other.tokens.length > one.tokens.length ? other : one));
  const largest = examples.reduce((one, other) => (largestIn(other) > largestIn(one) ? other : one));
  return [longest, largest];
}
