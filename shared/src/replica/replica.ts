/**
 * A replica as a reducer: what an announcement does to the node that receives it. Never touches disk, clock or parameters; the
 * shell performs the effects in order, and the same ledger gives the same effects on every node.
 */
import type { KeyObject } from "node:crypto";
import { branchTo, emptyHistory, extend, type History, stepOf } from "../ledger/folds.ts";
import type { Announcement, Task } from "../protocol/announcement.ts";
import type { AnnouncementCode } from "../protocol/codes.ts";
import type { CommitEntry } from "../protocol/entries.ts";
import { type Head, validateAnnouncement } from "../protocol/validate.ts";

export interface Replica {
  jobId: string;
  history: History;
  /** Payload hash by place in the ledger. */
  hashes: string[];
  steps: number;
  evaluateEvery: number;
  /** Of a higher epoch than the ledger's, whose entries are still to be fetched: proof that the coordinator before it was succeeded. */
  successor: { epoch: number; bytes: Uint8Array } | null;
  /** Why this node no longer follows the ledger, if so. */
  stopped: string | null;
}

export type ReplicaEffect =
  | { kind: "append"; seq: number; bytes: Uint8Array }
  | { kind: "apply"; commit: CommitEntry }
  | { kind: "restore"; commits: CommitEntry[]; step: number; stateHash: string }
  | { kind: "checkpoint"; step: number }
  | { kind: "compare"; step: number; stateHash: string }
  | { kind: "task"; task: Task; head: string }
  | { kind: "fetch"; fromSeq: number }
  /** Keep these bytes, durably, before what follows: a crash must not make the node follow a coordinator of a lower epoch. */
  | { kind: "successor"; epoch: number; bytes: Uint8Array }
  /** The ledger on disk is cut to `seq` entries and these bytes follow; then everything is rebuilt from disk, as at a start. */
  | { kind: "rewind"; seq: number; bytes: Uint8Array; dropped: number; epoch: number }
  | { kind: "stop"; code: "fork" | "bad-entry"; message: string };

export function createReplica(jobId: string, job: { steps: number; evaluateEvery: number }): Replica {
  const { steps, evaluateEvery } = job;
  return { jobId, history: emptyHistory(jobId), hashes: [], steps, evaluateEvery, successor: null, stopped: null };
}

/** What the validation functions need to know of this replica. */
export function headOf(replica: Replica): Head {
  const { history, hashes, jobId } = replica;
  return { jobId, epoch: history.epoch, nextSeq: history.nextSeq, headHash: history.headHash, hashAt: (seq) => hashes[seq] };
}

/** The highest epoch that this node knows of: whoever announces in a lower one was succeeded. */
export function highestEpoch({ history, successor }: Replica): number {
  return Math.max(history.epoch, successor?.epoch ?? 0);
}

/**
 * A checkpoint is the state after every `evaluateEvery` steps and after the last: there each node computes its state hash. The state in
 * which an `end` entry leaves the job is one as well; `receive` tells it.
 */
export function isCheckpoint(replica: { steps: number; evaluateEvery: number }, step: number): boolean {
  return (step + 1) % replica.evaluateEvery === 0 || step === replica.steps - 1;
}

/**
 * Takes in the ledger on the node's own disk, page by page: `range` gives the announcements from a place on. The code of the first
 * entry that does not hold, which would be at the replica's next place; null where all of them hold.
 */
export function receiveStored(replica: Replica, range: (fromSeq: number) => Uint8Array[], commitKey: KeyObject): AnnouncementCode | null {
  for (let page = range(0); page.length > 0; page = range(replica.history.nextSeq))
    for (const bytes of page) {
      const { code } = receive(replica, bytes, commitKey, true);
      if (code !== "applied") return code;
    }
  return null;
}

/**
 * Takes announcement bytes from gossip, a repair, a range or the node's own disk. Changes `replica` in place and returns the
 * outcome and the effects, to be performed in order. `stored` marks bytes that are on disk already.
 */
export function receive(
  replica: Replica,
  bytes: Uint8Array,
  commitKey: KeyObject,
  stored = false,
): { code: AnnouncementCode; effects: ReplicaEffect[] } {
  if (replica.stopped !== null) return { code: "old", effects: [] };
  const validated = validateAnnouncement(bytes, headOf(replica), commitKey);
  if (!validated.ok) {
    if (validated.code === "gap")
      return { code: "gap", effects: [...noteEpoch(replica, validated.announcement), { kind: "fetch", fromSeq: replica.history.nextSeq }] };
    if (validated.code === "rewind" && validated.announcement) return rewind(replica, validated.announcement);
    if (validated.code === "other-branch" && validated.announcement) return goBack(replica, validated.announcement);
    if (validated.code === "fork") return { code: "fork", effects: [stop(replica, "fork", validated.announcement?.seq ?? -1)] };
    return { code: validated.code, effects: [] };
  }
  const { announcement } = validated;
  const { entry, task, seq, hash } = announcement;
  const extended = extend(replica.history, announcement);
  if (!extended.ok) return { code: "wrong-schema", effects: [stop(replica, "bad-entry", seq)] };
  const effects: ReplicaEffect[] = [];
  if (entry !== null) {
    replica.hashes[seq] = hash;
    if (!stored) effects.push({ kind: "append", seq, bytes: announcement.bytes });
  }
  if (entry?.kind === "commit") {
    effects.push({ kind: "apply", commit: entry });
    if (isCheckpoint(replica, entry.step)) effects.push({ kind: "checkpoint", step: entry.step });
  } else if (entry?.kind === "restore") {
    effects.push({ kind: "restore", commits: branchTo(replica.history.branch), step: entry.step, stateHash: entry.stateHash });
  } else if (entry?.kind === "evaluation") {
    effects.push({ kind: "compare", step: entry.step, stateHash: entry.stateHash });
  } else if (entry?.kind === "end") {
    const step = standsAt(replica);
    if (!isCheckpoint(replica, step)) effects.push({ kind: "checkpoint", step });
  }
  if (task !== null) effects.push({ kind: "task", task, head: announcement.hash });
  return { code: "applied", effects };
}

/** A verified announcement that cannot be applied yet still tells that its coordinator took over. */
function noteEpoch(replica: Replica, announcement: Announcement | undefined): ReplicaEffect[] {
  if (announcement === undefined || announcement.epoch <= highestEpoch(replica)) return [];
  const { epoch, bytes } = announcement;
  replica.successor = { epoch, bytes };
  return [{ kind: "successor", epoch, bytes }];
}

/** Entries asked for at first behind a head that a higher epoch does not know; then twice as many. */
const BACK_MIN = 16;

/** A higher epoch begins before `seq`: asks further and further back, until the range holds its beginning. */
function goBack(replica: Replica, announcement: Announcement): { code: AnnouncementCode; effects: ReplicaEffect[] } {
  const { seq } = announcement;
  if (seq === 0) return { code: "wrong-schema", effects: [stop(replica, "bad-entry", seq)] };
  const back = Math.max(BACK_MIN, replica.history.nextSeq - seq);
  return { code: "other-branch", effects: [...noteEpoch(replica, announcement), { kind: "fetch", fromSeq: Math.max(0, seq - back) }] };
}

/** A higher epoch begins at a place that is taken: this replica is at its end, and the shell makes another from the disk. */
function rewind(replica: Replica, { seq, bytes, epoch, entry }: Announcement): { code: AnnouncementCode; effects: ReplicaEffect[] } {
  if (entry?.kind !== "epoch" || entry.epoch !== epoch) return { code: "wrong-schema", effects: [stop(replica, "bad-entry", seq)] };
  const effect = { kind: "rewind" as const, seq, bytes, dropped: replica.history.nextSeq - seq, epoch };
  replica.stopped = rewindMessage(effect);
  return { code: "rewind", effects: [effect] };
}

/** A rewind in words, for the log and the record of incidents. */
export function rewindMessage({ epoch, seq, dropped }: { epoch: number; seq: number; dropped: number }): string {
  return `a coordinator of epoch ${epoch} took over after ledger entry ${seq - 1}: ${dropped} later ${dropped === 1 ? "entry" : "entries"} of the one before it were dropped`;
}

/** The step whose state the replica stands at; -1 is the initial state. */
export function standsAt(replica: Replica): number {
  return stepOf(replica.history.branch);
}

function stop(replica: Replica, code: "fork" | "bad-entry", seq: number): ReplicaEffect {
  const message =
    code === "fork"
      ? `two validly signed histories of job ${replica.jobId.slice(0, 12)} differ at ledger entry ${seq}: this node stops here; ask the launcher which coordinator is the right one`
      : `ledger entry ${seq} of job ${replica.jobId.slice(0, 12)} is signed but breaks the ledger's rules: this node stops here; tell the launcher`;
  replica.stopped = message;
  return { kind: "stop", code, message };
}
