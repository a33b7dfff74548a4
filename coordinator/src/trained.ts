/** What a job has learned so far, from its folder alone: the audit bundle, the trained model, the class of a text. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { encodeExamples } from "@zoswarm/shared/data/examples";
import { loadTokenizer, tokenizeText } from "@zoswarm/shared/data/tokenizer";
import { startEvaluator } from "@zoswarm/shared/evaluate/client";
import { branchTo } from "@zoswarm/shared/ledger/folds";
import { exportModel } from "@zoswarm/shared/model/exporter";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { createReplica, receive } from "@zoswarm/shared/replica/replica";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { type WrittenBundle, writeBundle } from "@zoswarm/shared/store/bundle";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { splitTensors } from "@zoswarm/shared/zo/apply";
import { createParameters } from "@zoswarm/shared/zo/kernel";
import { type Fault, filesOf, type JobFolder, readFolder } from "./folder.ts";

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

/** The commits that lead to the newest state. Throws where the ledger does not hold. */
async function commitsOf({ dir, manifest, jobId }: JobFolder): Promise<CommitEntry[]> {
  const replica = createReplica(jobId, manifest.job);
  const key = commitVerifier(manifest.commitKey);
  const store = openLedgerStore(filesOf(dir).ledger);
  try {
    for (let page = store.range(0); page.length > 0; page = store.range(replica.history.nextSeq))
      for (const bytes of page) {
        const { code } = receive(replica, bytes, key, true);
        if (code !== "applied") throw new Error(`ledger of ${dir}: entry ${replica.history.nextSeq} does not hold (${code})`);
      }
    return branchTo(replica.history.branch);
  } finally {
    await store.close();
  }
}

/** Writes the trained model as an ONNX file: the original with its weights replaced. */
export async function exportOnnx(
  dataDir: string,
  outFile: string,
): Promise<{ ok: true; steps: number; stateHash: string } | Fault<string>> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const { manifest } = folder;
  const blobs = await openBlobFiles(filesOf(dataDir).blobs);
  const parameters = createParameters(manifest.tensors, manifest.key);
  splitTensors(Uint8Array.from(readFileSync(blobs.path(manifest.initial.id))), manifest.tensors).forEach((x, t) => {
    parameters.load(t, x);
  });
  const commits = await commitsOf(folder);
  parameters.replay(commits);
  const x = manifest.tensors.map((_, t) => parameters.read(t));
  const model = exportModel(Uint8Array.from(readFileSync(filesOf(dataDir).model)), manifest.tensors, x);
  const partial = `${outFile}.${process.pid}.new`;
  try {
    writeFileSync(partial, model);
    renameSync(partial, outFile);
  } catch (error) {
    const why = (error as Error).message.replaceAll(partial, outFile);
    return { ok: false, code: "model-unwritable", message: `--model ${outFile}: cannot be written (${why}); name another file` };
  } finally {
    rmSync(partial, { force: true });
  }
  return { ok: true, steps: commits.length, stateHash: parameters.stateHash() };
}

export interface Classified {
  text: string;
  /** Probability of every class. */
  probabilities: number[];
}

export type Classifier = { ok: true; labels: string[]; classify(texts: readonly string[]): Promise<Classified[]>; close(): Promise<void> };

/** Opens the trained model of a data folder (or the one before training) for texts. */
export async function openClassifier(dataDir: string, options: { untrained?: boolean } = {}): Promise<Classifier | Fault<string>> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const { manifest, spec } = folder;
  const files = filesOf(dataDir);
  const tokenizer = await loadTokenizer(files.tokenizer);
  if (!tokenizer.ok) return tokenizer;
  const blobs = await openBlobFiles(files.blobs);
  const evaluator = startEvaluator({ threads: 1 });
  const graph = Uint8Array.from(readFileSync(blobs.path(manifest.model.id)));
  try {
    await evaluator.call("load", { graph, tensors: manifest.tensors, key: manifest.key, initialFile: blobs.path(manifest.initial.id) });
    if (!options.untrained) await evaluator.call("replay", { commits: await commitsOf(folder) });
  } catch (error) {
    await evaluator.close();
    throw error;
  }
  const { classes } = manifest;
  return {
    ok: true,
    labels: Array.from({ length: classes }, (_, label) => spec.labels?.[label] ?? `class ${label}`),
    async classify(texts) {
      const classified: Classified[] = [];
      for (const text of texts) {
        const { tokens } = tokenizeText(text, tokenizer.tokenize, spec.maxTokens);
        if (tokens.length === 0) throw new Error(`"${text.slice(0, 40)}" has no token: give a text with words`);
        // The loss of a label is -log of its probability.
        const blob = encodeExamples(
          Array.from({ length: classes }, (_, label) => ({ tokens, label })),
          classes,
        );
        await evaluator.call("setExamples", { name: "heldout", blob });
        const losses: number[] = [];
        for (let label = 0; label < classes; label++)
          losses.push((await evaluator.call("evaluate", { name: "heldout", batch: 1, indices: [label] })).loss);
        classified.push({ text, probabilities: losses.map((loss) => Math.exp(-loss)) });
      }
      return classified;
    },
    close: () => evaluator.close(),
  };
}
