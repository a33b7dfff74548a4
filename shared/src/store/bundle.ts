/**
 * The audit bundle: a job's whole history in plain files, so that anyone can replay it without this program. Every signature, link
 * and state hash is checked while it is written; a ledger that does not hold is not exported.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { branchTo, emptyHistory, extend, type History, stepOf } from "../ledger/folds.ts";
import type { Entry } from "../protocol/entries.ts";
import { type Manifest, readManifest } from "../protocol/manifest.ts";
import { commitVerifier } from "../protocol/signing.ts";
import { validateAnnouncement } from "../protocol/validate.ts";
import { splitTensors } from "../zo/apply.ts";
import { createParameters, type Parameters } from "../zo/kernel.ts";
import { elementsOf } from "../zo/lattice.ts";

export interface BundleSource {
  manifestBytes: Uint8Array;
  /** int32 little-endian X of all tensors. */
  initialFile: string;
  /** Signed announcement bytes from place `fromSeq` on; none at the end. */
  range(fromSeq: number): Uint8Array[];
}

export type WrittenBundle =
  | { ok: true; entries: number; steps: number; stateHash: string }
  | { ok: false; code: "folder-not-empty" | "ledger-damaged" | "wrong-state"; message: string };

/**
 * Writes manifest.json, initial.bin, ledger.jsonl and chain.bin (each announcement's signed bytes after its length as u32 little-endian)
 * into `outDir`, which must be new or empty. It appears whole or not at all. Throws what the disk throws.
 */
export function writeBundle(outDir: string, source: BundleSource): WrittenBundle {
  if (existsSync(outDir) && readdirSync(outDir).length > 0)
    return { ok: false, code: "folder-not-empty", message: `${outDir} holds files already: name a new folder for the bundle` };
  const partial = `${outDir}.${process.pid}.new`;
  mkdirSync(partial, { recursive: true });
  try {
    writeFileSync(join(partial, "manifest.json"), source.manifestBytes);
    copyFileSync(source.initialFile, join(partial, "initial.bin"));
    const written = writeLedger(partial, source);
    if (written.ok) renameSync(partial, outDir);
    return written;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function writeLedger(dir: string, { manifestBytes, initialFile, range }: BundleSource): WrittenBundle {
  const read = readManifest(manifestBytes);
  if (!read.ok) return { ok: false, code: "ledger-damaged", message: read.message };
  const { manifest, jobId } = read;
  const key = commitVerifier(manifest.commitKey);
  const parameters = createParameters(manifest.tensors, manifest.key);
  const stateBytes = 4 * manifest.tensors.reduce((n, { shape }) => n + elementsOf(shape), 0);
  const reset = () => {
    const bytes = Uint8Array.from(readFileSync(initialFile));
    return bytes.byteLength === stateBytes && splitTensors(bytes, manifest.tensors).every((x, t) => parameters.load(t, x).ok);
  };
  if (!reset() || parameters.stateHash() !== manifest.stateHash)
    return { ok: false, code: "wrong-state", message: `${initialFile} is not the initial state that the manifest names` };
  const history = emptyHistory(jobId);
  const lines = openSync(join(dir, "ledger.jsonl"), "w");
  const chain = openSync(join(dir, "chain.bin"), "w");
  try {
    let held: Record<string, unknown> | undefined;
    /** State hashes at checkpoints: an evaluation may come after later commits. */
    const states = new Map([[-1, manifest.stateHash]]);
    const hashes: string[] = [];
    for (let page = range(0); page.length > 0; page = range(history.nextSeq)) {
      for (const bytes of page) {
        const seq = history.nextSeq;
        const head = { jobId, epoch: history.epoch, nextSeq: seq, headHash: history.headHash, hashAt: (at: number) => hashes[at] };
        const validated = validateAnnouncement(bytes, head, key);
        if (!validated.ok) return { ok: false, code: "ledger-damaged", message: `ledger entry ${seq} does not hold: ${validated.code}` };
        const { announcement } = validated;
        const { entry } = announcement;
        if (entry === null || !extend(history, announcement).ok)
          return { ok: false, code: "ledger-damaged", message: `ledger entry ${seq} breaks the ledger's rules` };
        hashes[seq] = announcement.hash;
        if (held) writeSync(lines, `${JSON.stringify(held)}\n`);
        held = { seq, ...described(entry) };
        const wrong = advance(parameters, history, entry, { reset, states, job: manifest.job });
        if (wrong !== null) return { ok: false, code: "wrong-state", message: `ledger entry ${seq}: ${wrong}` };
        // An evaluation may come after later commits: only a hash of the state at this line belongs here.
        if (entry.kind === "restore" || (entry.kind === "evaluation" && entry.step === stepOf(history.branch)))
          held.stateHash = entry.stateHash;
        const length = Buffer.alloc(4);
        length.writeUInt32LE(bytes.byteLength);
        writeSync(chain, Buffer.concat([length, bytes]));
      }
    }
    const stateHash = parameters.stateHash();
    if (held) writeSync(lines, `${JSON.stringify({ ...held, stateHash })}\n`);
    return { ok: true, entries: history.nextSeq, steps: branchTo(history.branch).length, stateHash };
  } finally {
    closeSync(lines);
    closeSync(chain);
  }
}

/** Applies an entry to the parameters; what it says of a state is compared with that state, null where it holds. */
function advance(
  parameters: Parameters,
  history: History,
  entry: Entry,
  { reset, states, job }: { reset: () => boolean; states: Map<number, string>; job: Manifest["job"] },
): string | null {
  if (entry.kind === "commit") {
    parameters.commit(entry);
    const isCheckpoint = (entry.step + 1) % job.evaluateEvery === 0 || entry.step === job.steps - 1;
    if (isCheckpoint) states.set(entry.step, parameters.stateHash());
  }
  if (entry.kind === "restore") {
    reset();
    parameters.replay(branchTo(history.branch));
  }
  // A state that training sets out from may be evaluated while it goes on.
  if (entry.kind === "restore" || (entry.kind === "rate" && entry.why !== "")) states.set(stepOf(history.branch), parameters.stateHash());
  if (entry.kind !== "restore" && entry.kind !== "evaluation") return null;
  const is = entry.step === stepOf(history.branch) ? parameters.stateHash() : states.get(entry.step);
  return is === entry.stateHash ? null : `it states the state hash ${entry.stateHash}, the replay gives ${is ?? "no state of that step"}`;
}

/** An entry as a line of ledger.jsonl: only a commit has `step` and `groups`, only a rollback has `restore`. */
function described(entry: Entry): Record<string, unknown> {
  switch (entry.kind) {
    case "commit": {
      const groups = entry.groups.map(({ g, m, p, a }) => ({ g, m, p, a: Array.from(a) }));
      return { kind: entry.kind, step: entry.step, groups, meanLoss: entry.meanLoss, contributors: entry.contributors };
    }
    case "restore":
      return { kind: entry.kind, restore: entry.step };
    case "evaluation":
      return { kind: entry.kind, evaluated: entry.step, loss: entry.loss, score: entry.score, examples: entry.examples };
    case "rate": {
      const { kind, why, ...settings } = entry;
      return { kind, settings, why };
    }
    case "roster":
    case "epoch":
    case "end":
      return { ...entry };
  }
}
