/**
 * Everything shown as history is a fold of the ledger alone: roster, credit, loss curve, evaluations, and the branch of commits
 * that leads to a state. Pure; a restart computes the same from the same bytes.
 */
import type { Announcement, Task } from "../protocol/announcement.ts";
import type { CommitEntry, Entry } from "../protocol/entries.ts";
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

/** What steps are measured and made with. */
export type Settings = Omit<Extract<Entry, { kind: "rate" }>, "kind" | "why">;

/** Entries that change the job's course. A `rate` entry that gives no reason only repeats what holds, for the task that it carries. */
export type DecisionEntry = Extract<Entry, { kind: "rate" | "restore" | "end" }>;

export interface Decision {
  /** Its place in the ledger. */
  seq: number;
  /** The newest commit before it; -1 before the first. */
  afterStep: number;
  entry: DecisionEntry;
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
  /** What the newest `rate` entry says; null before the first. */
  settings: Settings | null;
  decisions: Decision[];
  /** Forward passes behind all commits: two for a slot of a two-sided task, none for one that is missing. */
  forwards: number;
  /** Why nothing is trained any more, where an `end` entry says so. */
  ended: Pick<Extract<Entry, { kind: "end" }>, "reason" | "why"> | null;
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
    settings: null,
    decisions: [],
    forwards: 0,
    ended: null,
  };
}

export type Extended =
  | { ok: true }
  | { ok: false; code: "step-not-ascending" | "unknown-restore" | "unknown-contributor" | "epoch-without-entry" | "after-end" };

/**
 * Extends `history`, in place, by an announcement that `validateAnnouncement` let through. A signed entry that breaks the
 * ledger's own rules is refused and changes nothing.
 */
export function extend(history: History, announcement: Announcement): Extended {
  const { entry, task, hash, seq, epoch } = announcement;
  if (!keepsEpoch(history, announcement)) return { ok: false, code: "epoch-without-entry" };
  if (!keepsEnd(history, announcement)) return { ok: false, code: "after-end" };
  if (entry !== null) {
    const extended = extendByEntry(history, entry);
    if (!extended.ok) return extended;
    if (isDecision(entry)) history.decisions.push({ seq, afterStep: history.lastStep, entry });
    history.nextSeq = seq + 1;
    history.headHash = hash;
    history.epoch = epoch;
  }
  if (entry?.kind === "commit") history.open = history.open.filter((open) => open.task.step > entry.step);
  if (entry?.kind === "restore" || entry?.kind === "end") history.open = [];
  if (task !== null)
    history.open = [...history.open.filter((open) => open.task.step < task.step), { task, head: hash, seq, base: history.branch }];
  return { ok: true };
}

/** An epoch begins with its own entry, and with nothing else. */
function keepsEpoch(history: History, { entry, epoch }: Pick<Announcement, "entry" | "epoch">): boolean {
  return entry?.kind === "epoch" ? entry.epoch === epoch && epoch > history.epoch : epoch === history.epoch;
}

const VALID_AFTER_END: readonly Entry["kind"][] = ["evaluation", "restore", "roster", "epoch"];

/** Nothing is trained and no loss is asked for once the job has ended; it may go back to an earlier state. */
function keepsEnd({ ended }: History, { entry, task }: Pick<Announcement, "entry" | "task">): boolean {
  if (ended === null) return entry?.kind !== "end" || task === null;
  return task === null && (entry === null || VALID_AFTER_END.includes(entry.kind));
}

/** Whether an entry changes the job's course. */
export function isDecision(entry: Entry): entry is DecisionEntry {
  return entry.kind === "restore" || entry.kind === "end" || (entry.kind === "rate" && entry.why !== "");
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
    case "rate": {
      const { kind: _kind, why: _why, ...settings } = entry;
      history.settings = settings;
      return { ok: true };
    }
    case "end":
      history.ended = { reason: entry.reason, why: entry.why };
      return { ok: true };
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
  const estimator = history.open.find(({ task }) => task.step === entry.step)?.task.estimator;
  history.forwards += (directions - missing) * (estimator === "two-sided" ? 2 : 1);
  history.branch = { commit: entry, parent: history.branch };
  history.states.set(entry.step, history.branch);
  history.lastStep = entry.step;
  history.losses.push({ step: entry.step, meanLoss: entry.meanLoss, directions, committed: directions - missing });
  return { ok: true };
}

/** Metrics of which less is better. */
const LESS_IS_BETTER: readonly Metric[] = ["perplexity", "mean-squared-error"];

/** Whether a score is as good as another one, or better. */
export function isAsGood(score: number, other: number, metric: Metric): boolean {
  return LESS_IS_BETTER.includes(metric) ? score <= other : score >= other;
}

/** The evaluation with the best score; the newer where they tie. */
export function bestOf(evaluations: readonly EvaluationPoint[], metric: Metric): EvaluationPoint | null {
  return evaluations.reduce<EvaluationPoint | null>(
    (best, one) => (best === null || isAsGood(one.score, best.score, metric) ? one : best),
    null,
  );
}

/** The evaluation of the state that the ledger stands at; undefined where there is none. */
export function evaluationHere({ evaluations, branch }: History): EvaluationPoint | undefined {
  return evaluations.findLast(({ step }) => step === stepOf(branch));
}

/** Evaluations of the state that the ledger stands at and of those that led to it, oldest first: none of a state that a restore has left. */
export function evaluationsHere({ evaluations, branch }: Pick<History, "evaluations" | "branch">): EvaluationPoint[] {
  const steps = new Set([-1]);
  for (let at = branch; at !== null; at = at.parent) steps.add(at.commit.step);
  return evaluations.filter(({ step }) => steps.has(step));
}

/** Whether the state after `step` is the one that the ledger stands at, or led to it. */
export function descendsFrom({ branch }: Pick<History, "branch">, step: number): boolean {
  let at = branch;
  while (at !== null && at.commit.step > step) at = at.parent;
  return stepOf(at) === step;
}

/** The evaluation with the lowest loss; the oldest where they tie. */
export function lowestOf(evaluations: readonly EvaluationPoint[]): EvaluationPoint | undefined {
  return evaluations.reduce<EvaluationPoint | undefined>(
    (least, one) => (least === undefined || one.loss < least.loss ? one : least),
    undefined,
  );
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
