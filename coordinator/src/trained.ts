/** What a job has learned, from its folder alone: the audit bundle, the trained model or adapter, at its end or at an earlier step. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { bestOf, branchTo, type History } from "@zoswarm/shared/ledger/folds";
import { adapterFileOf, writeAdapter } from "@zoswarm/shared/model/adapter";
import { exportValues, type NewValues } from "@zoswarm/shared/model/exporter";
import { openModel } from "@zoswarm/shared/model/file";
import { trainableFrom } from "@zoswarm/shared/model/lift";
import { type Adapter, mergeLora } from "@zoswarm/shared/model/lora";
import { tensorsOf } from "@zoswarm/shared/model/walk";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { createReplica, receiveStored } from "@zoswarm/shared/replica/replica";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { type WrittenBundle, writeBundle } from "@zoswarm/shared/store/bundle";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { splitTensors } from "@zoswarm/shared/zo/apply";
import { createParameters, type Parameters } from "@zoswarm/shared/zo/kernel";
import { fromLattice, type TensorSpec } from "@zoswarm/shared/zo/lattice";
import { type Fault, filesOf, foundIn, type JobFolder, readFolder } from "./folder.ts";

/** Writes the audit bundle of a data folder. The coordinator may be running: the ledger up to now is exported. */
export async function exportBundle(dataDir: string, outDir: string): Promise<WrittenBundle | Fault<string>> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const blobs = await openBlobFiles(filesOf(dataDir).blobs);
  const store = openLedgerStore(filesOf(dataDir).ledger);
  try {
    const { manifestBytes, manifest } = folder;
    return writeBundle(outDir, { manifestBytes, initialFile: blobs.path(manifest.initial.id), range: (fromSeq) => store.range(fromSeq) });
  } finally {
    await store.close();
  }
}

/** The step whose state is wanted: the newest, the best by the metric, or one by its number (counted from 1; 0 is before training). */
export type At = "last" | "best" | number;

/** The history of a folder's job. Throws where the ledger does not hold. */
async function historyOf({ dir, manifest, jobId }: JobFolder): Promise<History> {
  const replica = createReplica(jobId, manifest.job);
  const key = commitVerifier(manifest.commitKey);
  const store = openLedgerStore(filesOf(dir).ledger);
  try {
    const broken = receiveStored(replica, store.range, key);
    if (broken !== null) throw new Error(`ledger of ${dir}: entry ${replica.history.nextSeq} does not hold (${broken})`);
    return replica.history;
  } finally {
    await store.close();
  }
}

/** The commits that lead to a state. */
export async function commitsTo(folder: JobFolder, at: At): Promise<{ ok: true; commits: CommitEntry[] } | Fault<"no-such-step">> {
  const history = await historyOf(folder);
  if (at === "last") return { ok: true, commits: branchTo(history.branch) };
  const step = at === "best" ? (bestOf(history.evaluations, folder.manifest.objective.metric)?.step ?? -1) : at - 1;
  if (step === -1) return { ok: true, commits: [] };
  const node = history.states.get(step);
  if (node !== undefined) return { ok: true, commits: branchTo(node) };
  return {
    ok: false,
    code: "no-such-step",
    message: `--at ${at}: the ledger has ${history.lastStep + 1} steps; name one of them, best, or 0`,
  };
}

/** Theta after these commits. */
async function parametersAt({ dir, manifest }: JobFolder, commits: readonly CommitEntry[]): Promise<Parameters> {
  const blobs = await openBlobFiles(filesOf(dir).blobs);
  const parameters = createParameters(manifest.tensors, manifest.key);
  const file = blobs.path(manifest.initial.id);
  const bytes = Uint8Array.from(readFileSync(file));
  if (bytes.byteLength !== manifest.initial.bytes)
    throw new Error(`${file} has ${bytes.byteLength} bytes and the manifest names ${manifest.initial.bytes}: the data folder is damaged`);
  splitTensors(bytes, manifest.tensors).forEach((x, t) => {
    parameters.load(t, x);
  });
  parameters.replay(commits);
  return parameters;
}

export type Exported = { ok: true; steps: number; stateHash: string; files: string[] } | Fault<string>;

/** Writes the trained model as an ONNX file: the job's own, with its weights replaced and adapters merged into them. */
export async function exportOnnx(dataDir: string, outFile: string, at: At): Promise<Exported> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const reached = await commitsTo(folder, at);
  if (!reached.ok) return reached;
  const parameters = await parametersAt(folder, reached.commits);
  const { tensors } = folder.manifest;
  const theta = (t: number) => fromLattice(parameters.read(t), (tensors[t] as TensorSpec).q);
  const values = new Map<string, NewValues>(tensors.map(({ name, shape }, t) => [name, { shape, values: () => theta(t) }]));
  const merged = mergedInto(values, foundIn(dataDir).adapters, filesOf(dataDir).model);
  if (!merged.ok) return merged;
  const exported = await exportValues(filesOf(dataDir).model, values, outFile);
  if (!exported.ok) return { ...exported, message: `--model ${exported.message}` };
  return { ok: true, steps: reached.commits.length, stateHash: parameters.stateHash(), files: exported.files };
}

/** Writes what was trained of adapters as one safetensors file. */
export async function exportAdapter(dataDir: string, outFile: string, at: At): Promise<Exported> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const { adapters } = foundIn(dataDir);
  if (adapters.length === 0)
    return { ok: false, code: "no-adapter", message: `--adapter: job "${folder.manifest.name}" trains no adapter; export it with --model` };
  const reached = await commitsTo(folder, at);
  if (!reached.ok) return reached;
  const parameters = await parametersAt(folder, reached.commits);
  const { tensors } = folder.manifest;
  const valuesOf = (name: string) => {
    const t = tensors.findIndex((tensor) => tensor.name === name);
    return fromLattice(parameters.read(t), (tensors[t] as TensorSpec).q);
  };
  const partial = `${outFile}.${process.pid}.new`;
  try {
    writeFileSync(partial, writeAdapter(adapterFileOf(adapters, valuesOf)));
    renameSync(partial, outFile);
  } catch (error) {
    const why = (error as Error).message.replaceAll(partial, outFile);
    return { ok: false, code: "adapter-unwritable", message: `--adapter ${outFile}: cannot be written (${why}); name another file` };
  } finally {
    rmSync(partial, { force: true });
  }
  return { ok: true, steps: reached.commits.length, stateHash: parameters.stateHash(), files: [outFile] };
}

/** Puts each adapter's weight in the place of its A and B. */
function mergedInto(values: Map<string, NewValues>, adapters: readonly Adapter[], modelFile: string): { ok: true } | Fault<string> {
  if (adapters.length === 0) return { ok: true };
  const opened = openModel(modelFile);
  if (!opened.ok) return opened;
  const weights = new Map(tensorsOf(opened.model).map(({ tensor }) => [tensor.name, tensor]));
  for (const adapter of adapters) {
    const [a, b, tensor] = [values.get(adapter.a), values.get(adapter.b), weights.get(adapter.target)];
    if (a === undefined || b === undefined) throw new Error(`the adapter of "${adapter.target}" was not trained`);
    values.delete(adapter.a);
    values.delete(adapter.b);
    if (adapter.kind === "int8" || adapter.kind === "4-bit" || tensor === undefined) {
      const refused = mergeLora(adapter, a.values(), b.values(), new Float32Array(adapter.inputs * adapter.outputs));
      if (!refused.ok) return refused;
      throw new Error(`the weight "${adapter.target}" is not in ${modelFile}`);
    }
    const base = trainableFrom(tensor, opened.source);
    const merged = mergeLora(adapter, a.values(), b.values(), base.values);
    if (!merged.ok) return merged;
    values.set(adapter.target, { shape: base.shape, values: () => merged.values });
  }
  return { ok: true };
}
