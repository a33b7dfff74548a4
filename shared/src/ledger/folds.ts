/**
 * Everything shown as history is a fold of the ledger alone: roster, credit, loss curve, evaluations, and the branch of commits
 * that leads to a state. Pure; a restart computes the same from the same bytes.
 */
import type { Announcement, Task } from "../protocol/announcement.ts";
import type { CommitEntry } from "../protocol/entries.ts";
import type { Metric } from "../protocol/manifest.ts";

/** A commit and the one before it on its branch; null is the initial state. */
export interface BranchNode {
  commit: CommitEntry;
  parent: BranchNode | null;
}

export interface LossPoint {
  step: number;
  meanLoss: number | null;
  directions: number;
  committed: number;
}

export interface EvaluationPoint {
  step: number;
  loss: number;
  /** The objective's metric. */
  score: number;
  examples: number;
  stateHash: string;
}

export interface History {
  nextSeq: number;
  headHash: string;
  epoch: number;
  /** The state the ledger stands at. */
  branch: BranchNode | null;
  /** Highest step ever committed; -1 before the first. Never lowered, not even by a restore. */
  lastStep: number;
  /** Where each step's state is, for restores. */
  states: Map<number, BranchNode>;
  roster: { peerId: string; name: string }[];
  /** Accepted directions by roster number (1-based; 0 counts the missing ones). */
  credit: number[];
  losses: LossPoint[];
  evaluations: EvaluationPoint[];
  /** Tasks without a commit, oldest first: none once the last step is committed, several where the job's staleness is not 0. */
  open: OpenTask[];
}

export interface OpenTask {
  task: Task;
  /** Hash of the payload that carried it, and that payload's place. */
  head: string;
  seq: number;
  /** The state that it is measured at: where the ledger stood when it was announced. */
  base: BranchNode | null;
}

/** The history before the first entry: the chain begins at the job's id. */
export function emptyHistory(jobId: string): History {
  return {
    nextSeq: 0,
    headHash: jobId,
    epoch: 0,
    branch: null,
    lastStep: -1,
    states: new Map(),
    roster: [],
    credit: [0],
    losses: [],
    evaluations: [],
    open: [],
  };
}

export type Extended =
  | { ok: true }
  | { ok: false; code: "step-not-ascending" | "unknown-restore" | "unknown-contributor" | "epoch-without-entry" };

/**
 * Extends `history`, in place, by an announcement that `validateAnnouncement` let through. A signed entry that breaks the
 * ledger's own rules is refused and changes nothing.
 */
export function extend(history: History, announcement: Announcement): Extended {
  const { entry, task, hash, seq, epoch } = announcement;
  if (!keepsEpoch(history, announcement)) return { ok: false, code: "epoch-without-entry" };
  if (entry !== null) {
    const extended = extendByEntry(history, entry);
    if (!extended.ok) return extended;
    history.nextSeq = seq + 1;
    history.headHash = hash;
    history.epoch = epoch;
  }
  if (entry?.kind === "commit") history.open = history.open.filter((open) => open.task.step > entry.step);
  if (entry?.kind === "restore") history.open = [];
  if (task !== null)
    history.open = [...history.open.filter((open) => open.task.step < task.step), { task, head: hash, seq, base: history.branch }];
  return { ok: true };
}

/** An epoch begins with its own entry, and with nothing else. */
function keepsEpoch(history: History, { entry, epoch }: Pick<Announcement, "entry" | "epoch">): boolean {
  return entry?.kind === "epoch" ? entry.epoch === epoch && epoch > history.epoch : epoch === history.epoch;
}

function extendByEntry(history: History, entry: NonNullable<Announcement["entry"]>): Extended {
  switch (entry.kind) {
    case "commit":
      return extendByCommit(history, entry);
    case "roster":
      for (const peer of entry.peers) {
        history.roster.push(peer);
        history.credit.push(0);
      }
      return { ok: true };
    case "evaluation":
      history.evaluations.push(entry);
      return { ok: true };
    case "restore": {
      const target = entry.step === -1 ? null : history.states.get(entry.step);
      if (target === undefined) return { ok: false, code: "unknown-restore" };
      history.branch = target;
      return { ok: true };
    }
    case "rate":
    case "epoch":
      return { ok: true };
  }
}

function extendByCommit(history: History, entry: CommitEntry): Extended {
  if (entry.step <= history.lastStep) return { ok: false, code: "step-not-ascending" };
  if (entry.contributors.some(([who]) => who > history.roster.length)) return { ok: false, code: "unknown-contributor" };
  let directions = 0;
  for (const [who, slots] of entry.contributors) {
    history.credit[who] = (history.credit[who] ?? 0) + slots;
    directions += slots;
  }
  const missing = entry.contributors.reduce((n, [who, slots]) => n + (who === 0 ? slots : 0), 0);
  history.branch = { commit: entry, parent: history.branch };
  history.states.set(entry.step, history.branch);
  history.lastStep = entry.step;
  history.losses.push({ step: entry.step, meanLoss: entry.meanLoss, directions, committed: directions - missing });
  return { ok: true };
}

/** Metrics of which less is better. */
const LESS_IS_BETTER: readonly Metric[] = ["perplexity", "mean-squared-error"];

/** The evaluation with the best score; the newer where they tie. */
export function bestOf(evaluations: readonly EvaluationPoint[], metric: Metric): EvaluationPoint | null {
  const worth = ({ score }: EvaluationPoint) => (LESS_IS_BETTER.includes(metric) ? -score : score);
  return evaluations.reduce<EvaluationPoint | null>((best, one) => (best === null || worth(one) >= worth(best) ? one : best), null);
}

/** The commits from the initial state to `node`, oldest first. */
export function branchTo(node: BranchNode | null): CommitEntry[] {
  const commits: CommitEntry[] = [];
  for (let at = node; at !== null; at = at.parent) commits.push(at.commit);
  return commits.reverse();
}

/** The step whose state a branch ends in; -1 is the initial state. */
export function stepOf(node: BranchNode | null): number {
  return node?.commit.step ?? -1;
}
