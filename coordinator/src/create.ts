/**
 * Makes a job: from a job file's model and data to a data folder that is whole. Everything that can be refused is refused before
 * the folder gets its name, and what was written until then is removed, also when the process is told to stop.
 */
import { createHash, randomBytes } from "node:crypto";
import { rmdirSync, rmSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Example, encodeIndex, encodeShard, SHARD_BYTES_MAX, shardsOf } from "@zoswarm/shared/data/examples";
import { fixedLengthOf } from "@zoswarm/shared/data/feeds";
import { loadTokenizer } from "@zoswarm/shared/data/tokenizer";
import { type Evaluator, loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { loadReward } from "@zoswarm/shared/evaluate/reward";
import type { Externalized } from "@zoswarm/shared/model/freeze";
import { joinInitial } from "@zoswarm/shared/model/importer";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { type Manifest, manifestBytes, readManifest } from "@zoswarm/shared/protocol/manifest";
import { createCommitKey } from "@zoswarm/shared/protocol/signing";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { onStopSignal } from "@zoswarm/shared/signals";
import { type BlobFiles, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { splitTensors } from "@zoswarm/shared/zo/apply";
import type { Key } from "@zoswarm/shared/zo/lattice";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { readData } from "./data.ts";
import { type Fault, type Found, filesOf, type JobSpec } from "./folder.ts";
import { type BuiltGraph, buildGraph } from "./graph.ts";
import { courseOf } from "./jobfile.ts";
import { keepModel } from "./keep.ts";
import { LEDGER_BYTES, refuseFull } from "./room.ts";
import { tryModel } from "./trial.ts";

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
  const built = buildGraph(spec, { tokenizer, reward: reward.source, seed: seedOf(spec.seed) });
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
  const stored = await storeBlobs(blobs, { built, base, initial, train: data.train, encoded, perShard, dir });
  const tokenizerBlob = spec.tokenizer !== undefined && objective.generate > 0 ? await putIn(blobs, { file: spec.tokenizer }) : null;
  const { privatePem, publicHex } = createCommitKey();
  const manifest: Manifest = {
    version: PROTOCOL_VERSION,
    name: spec.name,
    key: [...key],
    commitKey: publicHex,
    stateHash: stateHash(splitTensors(initial, built.tensors)),
    staleness: spec.staleness,
    ...stored,
    tokenizer: tokenizerBlob,
    shardBytes,
    inputs: built.inputs,
    objective,
    tensors: built.tensors.map(({ name, shape, q, gain }) => ({ name, shape: [...shape], q, gain })),
    job: {
      ...courseOf(spec),
      ...(built.epsilonLog2 !== null && { epsilonLog2: built.epsilonLog2 }),
      batch: spec.batch,
      estimator: spec.estimator,
      rule: spec.rule,
      evaluateEvery: spec.evaluateEvery,
      deadlineMs: Math.round(spec.deadlineSeconds * 1000),
      deadlineFloorMs: Math.round(Math.min(spec.deadlineFloorSeconds, spec.deadlineSeconds) * 1000),
      quorum: spec.quorum,
    },
  };
  const bytes = manifestBytes(manifest);
  const valid = readManifest(bytes);
  if (!valid.ok) return { ok: false, code: "job-too-large", message: `the job cannot be described: ${valid.message}` };
  const tried = await tryModel(startTrial(), loadRequestOf(manifest, blobs.path), { ...data, before: built.before });
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
  const { truncated } = data;
  return {
    ok: true,
    frozen: built.frozen,
    switchedOff: built.switchedOff,
    doubts: tried.doubts,
    truncated,
    trainRows: data.train.length,
    heldoutRows: data.heldout.length,
  };
}

type Stored = { id: string; bytes: number };

/** Rejects with the blob folder's refusal as `fault`. */
async function putIn(blobs: BlobFiles, source: Uint8Array | { file: string }): Promise<Stored> {
  const stored = await blobs.put(source);
  if (!stored.ok) throw Object.assign(new Error(stored.message), { fault: stored });
  return { id: stored.id, bytes: stored.bytes };
}

/** What volunteers download. The graph names its frozen weights by their blob's file, so these come first. */
async function storeBlobs(
  blobs: BlobFiles,
  {
    built,
    base,
    initial,
    train,
    encoded,
    perShard,
    dir,
  }: {
    built: BuiltGraph;
    base: Externalized;
    initial: Uint8Array;
    train: readonly Example[];
    encoded: readonly Uint8Array[];
    perShard: number;
    dir: string;
  },
): Promise<Pick<Manifest, "model" | "frozen" | "initial" | "examples">> {
  const file = join(dir, "frozen");
  let frozen: Stored | null = null;
  if (base.bytes > 0) {
    await base.write(file);
    frozen = await putIn(blobs, { file });
    await rm(file);
  }
  const graph = built.at(frozen === null ? "frozen" : basename(blobs.path(frozen.id))).model;
  const shards: Stored[] = [];
  for (const bytes of encoded) shards.push(await putIn(blobs, bytes));
  const labels = Int32Array.from(train, ({ label }) => label);
  return {
    model: await putIn(blobs, writeModel(graph)),
    frozen,
    initial: await putIn(blobs, initial),
    examples: await putIn(blobs, encodeIndex({ count: train.length, perShard, labels, shards })),
  };
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
function seedOf(text: string): Key {
  const hash = createHash("sha256").update(`zoswarm/seed/1 ${text}`).digest();
  return [0, 1, 2, 3].map((word) => hash.readUInt32LE(4 * word)) as unknown as Key;
}
