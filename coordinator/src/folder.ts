/**
 * A job's data folder: everything a coordinator keeps. Made whole or not at all, held by one process at a time, and bound to the
 * job that it was made for.
 */

import type { KeyObject } from "node:crypto";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Adapter } from "@zoswarm/shared/model/lora";
import { type Manifest, readManifest } from "@zoswarm/shared/protocol/manifest";
import { readCommitKey } from "@zoswarm/shared/protocol/signing";
import { dataFileOf, heldoutFileOf, type JobFile } from "./jobfile.ts";

/** The files of a data folder. */
export function filesOf(dir: string) {
  const at = (name: string) => join(dir, name);
  return {
    spec: at("job.json"),
    manifest: at("manifest.json"),
    commitKey: at("commit.key"),
    peerKey: at("peer.key"),
    model: at("model.onnx"),
    tokenizer: at("tokenizer.json"),
    /** What was found when the job was made: `Found`. */
    found: at("found.json"),
    heldout: at("heldout.examples"),
    blobs: at("blobs"),
    snapshots: at("snapshots"),
    ledger: at("ledger"),
    /** The proof that another coordinator took over. */
    successor: at("successor.announcement"),
    /** Here where the folder is a standby's. */
    standby: at("standby.json"),
    /** Here where a standby shall hand its folder over. */
    promote: at("promote"),
  };
}

const NAMED = ["model", "tokenizer", "train", "heldout", "reward"] as const;

/** A job file with the SHA-256 of the files it names: two equal ones describe the same job. */
export interface JobSpec extends JobFile {
  sha256: Partial<Record<(typeof NAMED)[number], string>>;
}

/** The files that a job names, by key. */
function namedFiles(job: JobFile): [(typeof NAMED)[number], string][] {
  const heldout = heldoutFileOf(job.heldout)?.file;
  const files = { model: job.model, tokenizer: job.tokenizer, train: dataFileOf(job.train).file, heldout, reward: job.reward };
  return NAMED.flatMap((key) => (files[key] === undefined ? [] : [[key, files[key]] as [(typeof NAMED)[number], string]]));
}

/** What a job's making found out, and later commands need. */
export interface Found {
  /** Which weights have adapters. */
  adapters: Adapter[];
  /** What the label column holds for each class; null without classes. */
  labels: string[] | null;
}

export function foundIn(dir: string): Found {
  return JSON.parse(readFileSync(filesOf(dir).found, "utf8")) as Found;
}

export type Fault<Code extends string> = { ok: false; code: Code; message: string };

/** The job's spec: reads the named files to hash them. All that cannot be read are told at once. */
export async function specOf(job: JobFile): Promise<{ ok: true; spec: JobSpec } | Fault<"file-unreadable">> {
  const sha256: JobSpec["sha256"] = {};
  const faults: string[] = [];
  for (const [key, file] of namedFiles(job)) {
    try {
      const hash = createHash("sha256");
      await pipeline(createReadStream(file), hash);
      sha256[key] = hash.digest("hex");
    } catch (error) {
      faults.push(`${key}: ${file} cannot be read (${(error as Error).message}); check the path`);
    }
  }
  return faults.length > 0 ? { ok: false, code: "file-unreadable", message: faults.join("\n") } : { ok: true, spec: { ...job, sha256 } };
}

export interface JobFolder {
  dir: string;
  manifest: Manifest;
  manifestBytes: Uint8Array;
  jobId: string;
  spec: JobSpec;
}

export type FolderCode = "not-a-data-folder" | "other-job" | "folder-damaged";

/** What stands at `dir`: nothing yet, a job's folder, or something that must not be touched. */
export function stateOf(dir: string): "free" | "job" | "foreign" {
  if (!existsSync(dir)) return "free";
  if (existsSync(filesOf(dir).spec)) return "job";
  try {
    return readdirSync(dir).length === 0 ? "free" : "foreign";
  } catch {
    return "foreign";
  }
}

/** Reads a job's folder. Nothing is changed. */
export function readFolder(dir: string): ({ ok: true } & JobFolder) | Fault<FolderCode> {
  const files = filesOf(dir);
  if (stateOf(dir) !== "job") {
    const message = `data folder ${dir}: holds no job; name the folder that a coordinator made, or a new one`;
    return { ok: false, code: "not-a-data-folder", message };
  }
  try {
    const manifestBytes = Uint8Array.from(readFileSync(files.manifest));
    const read = readManifest(manifestBytes);
    if (!read.ok) return { ok: false, code: "folder-damaged", message: `${files.manifest}: ${read.message}` };
    const spec = JSON.parse(readFileSync(files.spec, "utf8")) as JobSpec;
    return { ok: true, dir, manifest: read.manifest, manifestBytes, jobId: read.jobId, spec };
  } catch (error) {
    return { ok: false, code: "folder-damaged", message: `data folder ${dir}: ${(error as Error).message}` };
  }
}

/** Null where the folder was made for this very job; else both are named, with what differs. File names and places do not matter. */
export function refuseOther(folder: JobFolder, spec: JobSpec): Fault<"other-job"> | null {
  const [was, now] = [describe(folder.spec), describe(spec)];
  const differing = [...new Set([...was.keys(), ...now.keys()])].filter((key) => was.get(key) !== now.get(key));
  if (differing.length === 0) return null;
  const lines = differing.map((key) => `  ${key}: ${was.get(key) ?? "nothing"} there, ${now.get(key) ?? "nothing"} in the job file`);
  const message = `data folder ${folder.dir} belongs to job "${folder.manifest.name}" (${folder.jobId.slice(0, 12)}); the job file describes "${spec.name}", which differs:\n${lines.join("\n")}\nGo on with the first by its own job file, or name another folder with --data.`;
  return { ok: false, code: "other-job", message };
}

/** What makes a job this one, as text by name: every setting, and what is in its files. */
function describe({ sha256, model: _model, tokenizer: _tokenizer, train, heldout, reward: _reward, ...rest }: JobSpec) {
  const unplaced = (data: JobFile["train"] | JobFile["heldout"]) =>
    typeof data === "string" ? undefined : "file" in data ? { ...data, file: undefined } : data;
  const settings = { ...rest, train: unplaced(train), heldout: unplaced(heldout) };
  const contents = Object.entries(sha256).map(([key, hash]) => [`content of ${key}`, hash.slice(0, 12)] as const);
  return new Map([...Object.entries(settings), ...contents].map(([key, value]) => [key, JSON.stringify(value)]));
}

/** The job's commit key. Throws where the file is damaged or of another job. */
export function readFolderKey({ dir, manifest }: JobFolder): KeyObject {
  const { commitKey } = filesOf(dir);
  const { key, publicHex } = readCommitKey(readFileSync(commitKey, "utf8"));
  if (publicHex !== manifest.commitKey) throw new Error(`${commitKey} is not the key of job "${manifest.name}"`);
  return key;
}
