/**
 * Makes a job: from a job file's model and data to a data folder that is whole. Everything that can be refused is refused before
 * the folder gets its name, and what was written until then is removed, also when the process is told to stop.
 */
import { randomBytes } from "node:crypto";
import { rmdirSync, rmSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { readDataset } from "@zoswarm/shared/data/dataset";
import { decodeExamples, encodeExamples } from "@zoswarm/shared/data/examples";
import { loadTokenizer, tokenizeRows } from "@zoswarm/shared/data/tokenizer";
import { type Evaluator, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { importModel } from "@zoswarm/shared/model/importer";
import { type Manifest, manifestBytes } from "@zoswarm/shared/protocol/manifest";
import { createCommitKey } from "@zoswarm/shared/protocol/signing";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { onStopSignal } from "@zoswarm/shared/signals";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { splitTensors } from "@zoswarm/shared/zo/apply";
import type { Key, TensorSpec } from "@zoswarm/shared/zo/lattice";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { type Fault, filesOf, type JobSpec } from "./folder.ts";
import { LEDGER_BYTES, refuseFull } from "./room.ts";

/** What the launcher should know about the job that was made. */
export interface Made {
  frozen: { name: string; reason: string }[];
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
    const { code, message } = error as NodeJS.ErrnoException;
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
  const imported = importModel(Uint8Array.from(await readFile(spec.model)), spec);
  if (!imported.ok) return { ...imported, message: `model ${spec.model}: ${imported.message}` };
  const { tensors, graph, initial, frozen } = imported;
  const data = await readExamples(spec, imported.classes);
  if (!data.ok) return data;
  if (spec.labels !== undefined && spec.labels.length !== data.classes) {
    const message = `labels: ${spec.labels.length} names for the model's ${data.classes} classes; give one name for each, or none`;
    return { ok: false, code: "labels-misfit", message };
  }
  const blobBytes = [graph, initial, data.train];
  const copied = await Promise.all([spec.model, spec.tokenizer].map(async (file) => (await stat(file)).size));
  const needed = [...copied, ...blobBytes.map(({ byteLength }) => byteLength), data.heldout.byteLength, LEDGER_BYTES];
  const full = await refuseFull(
    dir,
    needed.reduce((sum, bytes) => sum + bytes, 0),
  );
  if (full !== null) return full;
  const blobs = await openBlobFiles(files.blobs);
  const stored: { id: string; bytes: number }[] = [];
  for (const bytes of blobBytes) {
    const put = await blobs.put(bytes);
    if (!put.ok) return put;
    stored.push({ id: put.id, bytes: put.bytes });
  }
  const [model, initialBlob, examples] = stored as [Manifest["model"], Manifest["initial"], Manifest["examples"]];
  const key = [...new Uint32Array(Uint8Array.from(randomBytes(16)).buffer)] as unknown as Key;
  const tried = await tryModel(startTrial(), { graph, tensors, key, initialFile: blobs.path(initialBlob.id) }, data);
  if (!tried.ok) return { ...tried, message: `model ${spec.model}: ${tried.message}` };
  const { privatePem, publicHex } = createCommitKey();
  const manifest: Manifest = {
    version: PROTOCOL_VERSION,
    name: spec.name,
    key: [...key],
    commitKey: publicHex,
    stateHash: stateHash(splitTensors(initial, tensors)),
    staleness: 0,
    model,
    initial: initialBlob,
    examples,
    tensors: tensors.map(({ name, shape, q, gain }) => ({ name, shape: [...shape], q, gain })),
    classes: data.classes,
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
  await writeFile(files.heldout, data.heldout);
  await copyFile(spec.model, files.model);
  await copyFile(spec.tokenizer, files.tokenizer);
  await writeFile(files.commitKey, privatePem, { mode: 0o600 });
  await chmod(files.commitKey, 0o600);
  await writeFile(files.manifest, manifestBytes(manifest));
  await writeFile(files.spec, `${JSON.stringify(spec, null, 1)}\n`);
  return { ok: true, frozen, truncated: data.truncated, trainRows: data.trainRows, heldoutRows: data.heldoutRows };
}

type Data =
  | { ok: true; train: Uint8Array; heldout: Uint8Array; classes: number; truncated: number; trainRows: number; heldoutRows: number }
  | Fault<string>;

async function readExamples(spec: JobSpec, modelClasses: number | null): Promise<Data> {
  const tokenizer = await loadTokenizer(spec.tokenizer);
  if (!tokenizer.ok) return tokenizer;
  const train = await readDataset(spec.train, modelClasses === null ? {} : { classes: modelClasses });
  if (!train.ok) return train;
  const classes = modelClasses ?? Math.max(2, train.classes);
  const heldout = await readDataset(spec.heldout, { classes });
  if (!heldout.ok) return heldout;
  const tokenized = {
    train: tokenizeRows(train.rows, tokenizer.tokenize, spec.maxTokens),
    heldout: tokenizeRows(heldout.rows, tokenizer.tokenize, spec.maxTokens),
  };
  if (!tokenized.train.ok) return { ...tokenized.train, message: `${spec.train}: ${tokenized.train.message}` };
  if (!tokenized.heldout.ok) return { ...tokenized.heldout, message: `${spec.heldout}: ${tokenized.heldout.message}` };
  return {
    ok: true,
    train: encodeExamples(tokenized.train.examples, classes),
    heldout: encodeExamples(tokenized.heldout.examples, classes),
    classes,
    truncated: tokenized.train.truncated,
    trainRows: train.rows.length,
    heldoutRows: heldout.rows.length,
  };
}

/** Runs the model once on the hardest examples: a fault of the runtime, which names the node, must come now and not at a volunteer. */
async function tryModel(
  evaluator: Evaluator,
  load: { graph: Uint8Array; tensors: readonly TensorSpec[]; key: Key; initialFile: string },
  data: Extract<Data, { ok: true }>,
): Promise<{ ok: true } | Fault<"model-fails">> {
  try {
    await evaluator.call("load", load);
    for (const name of ["train", "heldout"] as const) {
      await evaluator.call("setExamples", { name, blob: data[name] });
      const { loss } = await evaluator.call("evaluate", { name, batch: 2, indices: hardestOf(data[name]) });
      if (!Number.isFinite(loss))
        return { ok: false, code: "model-fails", message: `its loss on a ${name} example is ${loss}; check its weights` };
    }
    return { ok: true };
  } catch (error) {
    const message = `the runtime refuses it: ${(error as Error).message}`;
    return { ok: false, code: "model-fails", message };
  } finally {
    await evaluator.close();
  }
}

/** The longest example of a set, and the one that holds its largest token id. */
function hardestOf(blob: Uint8Array): number[] {
  const { count, tokens, tokenMax } = decodeExamples(blob);
  let longest = 0;
  let largest = 0;
  for (let i = 1; i < count; i++) {
    if (tokens(i).length > tokens(longest).length) longest = i;
    if ((tokens(i) as Uint32Array).includes(tokenMax)) largest = i;
  }
  return [longest, largest];
}
