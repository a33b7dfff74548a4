/**
 * A job's course as a reducer: who is here, which step is open, what was answered, what is announced next. Pure: time, results
 * and evaluations arrive inside events; the shell performs the effects in order, and announces nothing that is not durable.
 */
import type { KeyObject } from "node:crypto";
import { stepOf } from "@zoswarm/shared/ledger/folds";
import { slotsOf, type Task } from "@zoswarm/shared/protocol/announcement";
import type { ResultCode, SessionCode } from "@zoswarm/shared/protocol/codes";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Checkpoint, CoordinatorFrame, WorkerFrame, WorkerState } from "@zoswarm/shared/protocol/messages";
import { createReplica, isCheckpoint, type Replica, type ReplicaEffect, receive } from "@zoswarm/shared/replica/replica";
import { judgeResult, type OpenStep } from "./accept.ts";
import { type Candidate, type Run, runsOf, shareSlots, slotsIn, slowestOf } from "./assign.ts";
import { commitOf, taskOf } from "./commit.ts";

export interface Member {
  peerId: string;
  name: string;
  device: string;
  threads: number;
  state: WorkerState | "gone";
  checkpoint: Checkpoint | null;
  /** Slots in every step, from the last assignment on. */
  runs: Run[];
  /** Slots of the open step that it may answer: its own, and those of others that were offered to it as well. */
  offered: Set<number>;
  offeredMs: number;
  /** Slots per second, smoothed. */
  speed: number | null;
  counts: Partial<Record<ResultCode, number>>;
}

export interface Round {
  manifest: Manifest;
  replica: Replica;
  commitKey: KeyObject;
  /** The first step opens when so many workers are ready. */
  waitFor: number;
  phase: "gathering" | "announcing" | "open" | "ending" | "finished";
  open: OpenStep | null;
  members: Map<string, Member>;
  /** Version of the newest assignment. */
  version: number;
  /** The roster changed since the last assignment. */
  changed: boolean;
  /** Steps whose held-out evaluation is under way. */
  evaluating: Set<number>;
  /** Losses by outcome, and forward passes behind the accepted ones, since this process started. */
  counts: Partial<Record<ResultCode, number>>;
  forwards: number;
  /** Root mean square of the projected gradients of the newest commit. */
  signal: number | null;
}

export type RoundEvent =
  | { kind: "started"; nowMs: number }
  | { kind: "joined"; peerId: string; hello: Extract<WorkerFrame, { kind: "hello" }>; nowMs: number }
  | { kind: "left"; peerId: string; nowMs: number }
  | { kind: "heartbeat"; peerId: string; frame: Extract<WorkerFrame, { kind: "heartbeat" }>; nowMs: number }
  | { kind: "result"; peerId: string; frame: Extract<WorkerFrame, { kind: "result" }>; nowMs: number }
  | { kind: "deadline"; step: number; nowMs: number }
  | { kind: "announced"; bytes: Uint8Array; nowMs: number }
  | { kind: "evaluated"; step: number; stateHash: string; loss: number; accuracy: number; examples: number; nowMs: number };

export type RoundEffect =
  | ReplicaEffect
  | { kind: "announce"; entry: Entry; task: Task | null }
  | { kind: "send"; peerId: string; frame: CoordinatorFrame }
  | { kind: "deadline"; step: number; afterMs: number }
  | { kind: "evaluate"; step: number }
  | { kind: "dismiss"; peerId: string; code: SessionCode; message: string }
  | { kind: "finish" };

/** A round over a replica that has taken in the ledger on disk, if there is one. */
export function createRound(manifest: Manifest, jobId: string, commitKey: KeyObject, waitFor: number): Round {
  return {
    manifest,
    replica: createReplica(jobId, manifest.job),
    commitKey,
    waitFor,
    phase: "gathering",
    open: null,
    members: new Map(),
    version: 0,
    changed: true,
    evaluating: new Set(),
    counts: {},
    forwards: 0,
    signal: null,
  };
}

/** Changes `round` in place and returns the effects, to be performed in order. */
export function reduce(round: Round, event: RoundEvent): RoundEffect[] {
  switch (event.kind) {
    case "started":
      return onStarted(round, event.nowMs);
    case "joined":
      return onJoined(round, event);
    case "left":
      return onLeft(round, event.peerId, event.nowMs);
    case "heartbeat":
      return onHeartbeat(round, event);
    case "result":
      return onResult(round, event);
    case "deadline":
      return onDeadline(round, event);
    case "announced":
      return onAnnounced(round, event.bytes, event.nowMs);
    case "evaluated":
      return onEvaluated(round, event);
  }
}

/** Workers that can measure now. */
export function activeMembers(round: Round): Member[] {
  return [...round.members.values()].filter(({ state }) => state === "ready" || state === "evaluating");
}

function onStarted(round: Round, nowMs: number): RoundEffect[] {
  const { history } = round.replica;
  const here = stepOf(history.branch);
  const evaluate = (here === -1 || isCheckpoint(round.replica, here)) && !history.evaluations.some(({ step }) => step === here);
  const effects: RoundEffect[] = evaluate ? startEvaluation(round, here) : [];
  if (history.open !== null) return [...effects, ...openStep(round, nowMs)];
  if (history.lastStep >= round.manifest.job.steps - 1) {
    round.phase = "ending";
    return [...effects, ...endIfDone(round)];
  }
  return effects;
}

function startEvaluation(round: Round, step: number): RoundEffect[] {
  round.evaluating.add(step);
  return [{ kind: "evaluate", step }];
}

function onJoined(round: Round, { peerId, hello }: Extract<RoundEvent, { kind: "joined" }>): RoundEffect[] {
  const before = round.members.get(peerId);
  const { name, device, threads } = hello;
  round.members.delete(peerId);
  round.members.set(peerId, {
    peerId,
    name,
    device,
    threads,
    state: "joining",
    checkpoint: null,
    runs: [],
    offered: before?.offered ?? new Set(),
    offeredMs: before?.offeredMs ?? 0,
    speed: before?.speed ?? null,
    counts: before?.counts ?? {},
  });
  round.changed = true;
  if (round.phase === "finished") return [{ kind: "dismiss", peerId, code: "finished", message: "The job is finished. Thank you." }];
  return [];
}

function onLeft(round: Round, peerId: string, nowMs: number): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined) return [];
  member.state = "gone";
  round.changed = true;
  forgetGone(round);
  return release(round, member, nowMs);
}

/** Members that left are shown for a while; the longest known go first. */
const GONE_MAX = 1_000;
function forgetGone(round: Round): void {
  const gone = [...round.members.values()].filter(({ state }) => state === "gone");
  for (const { peerId } of gone.slice(0, Math.max(0, gone.length - GONE_MAX))) round.members.delete(peerId);
}

/** Offers what a member leaves unanswered in the open step to the others. */
function release(round: Round, member: Member, nowMs: number): RoundEffect[] {
  const { open } = round;
  member.runs = [];
  if (open === null) return [];
  const covered = new Set(activeMembers(round).flatMap(({ runs }) => slotsIn(runs)));
  const left = pending(open, member.offered).filter((slot) => !covered.has(slot));
  return left.length === 0 ? [] : offer(round, open, left, activeMembers(round), nowMs);
}

function pending(open: OpenStep, slots: Iterable<number>): number[] {
  return [...slots].filter((slot) => slot < open.total && !open.answers.has(slot)).sort((one, other) => one - other);
}

/** Gives `slots` of the open step to members on top of what they have, and tells them. */
function offer(round: Round, open: OpenStep, slots: readonly number[], members: readonly Member[], nowMs: number): RoundEffect[] {
  const shares = shareSlots(slots, members.map(candidateOf), false);
  round.version++;
  round.changed = true;
  return members.flatMap((member) => {
    const share = shares.get(member.peerId) ?? [];
    if (share.length === 0) return [];
    for (const slot of share) member.offered.add(slot);
    member.runs = runsOf(new Set([...slotsIn(member.runs), ...share]));
    member.offeredMs = nowMs;
    return [slotsFrame(round, member, open.task.step)];
  });
}

const candidateOf = ({ peerId, speed }: Member): Candidate => ({ id: peerId, speed });

function slotsFrame(round: Round, { peerId, runs }: Member, fromStep: number): RoundEffect {
  const frame = { kind: "slots" as const, version: round.version, fromStep, deadlineMs: round.manifest.job.deadlineMs, runs };
  return { kind: "send", peerId, frame };
}

function onHeartbeat(round: Round, { peerId, frame, nowMs }: Extract<RoundEvent, { kind: "heartbeat" }>): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined || member.state === "gone") return [];
  const was = member.state === "ready" || member.state === "evaluating";
  member.state = frame.state;
  member.checkpoint = frame.checkpoint ?? member.checkpoint;
  const is = frame.state === "ready" || frame.state === "evaluating";
  if (was && !is) {
    round.changed = true;
    return release(round, member, nowMs);
  }
  return is && !was ? enlist(round, member, nowMs) : [];
}

/** A member has become ready: into the open step, or the first step may open. */
function enlist(round: Round, member: Member, nowMs: number): RoundEffect[] {
  round.changed = true;
  const { open } = round;
  if (open === null) return openFirst(round);
  const covered = new Set(activeMembers(round).flatMap((other) => (other === member ? [] : slotsIn(other.runs))));
  const unclaimed = pending(open, allSlots(open)).filter((slot) => !covered.has(slot));
  const busiest = activeMembers(round)
    .filter((other) => other !== member)
    .map((other) => pending(open, slotsIn(other.runs)))
    .reduce((most, slots) => (slots.length > most.length ? slots : most), []);
  const slots = unclaimed.length > 0 ? unclaimed : busiest.slice(Math.ceil(busiest.length / 2));
  const effects = slots.length > 0 ? offer(round, open, slots, [member], nowMs) : [];
  return activeMembers(round).length === 1 ? [...effects, deadlineOf(round, open)] : effects;
}

const allSlots = ({ total }: OpenStep) => Array.from({ length: total }, (_, slot) => slot);

function deadlineOf(round: Round, open: OpenStep): RoundEffect {
  return { kind: "deadline", step: open.task.step, afterMs: round.manifest.job.deadlineMs };
}

/** Opens step 0 once the initial state is evaluated and enough workers are ready. */
function openFirst(round: Round): RoundEffect[] {
  const { history } = round.replica;
  if (round.phase !== "gathering" || history.evaluations.length === 0 || activeMembers(round).length < round.waitFor) return [];
  round.phase = "announcing";
  const { rate, epsilonLog2 } = round.manifest.job;
  return [{ kind: "announce", entry: { kind: "rate", rate, epsilonLog2 }, task: taskOf(round.manifest, history.lastStep + 1) }];
}

function onAnnounced(round: Round, bytes: Uint8Array, nowMs: number): RoundEffect[] {
  const { code, effects } = receive(round.replica, bytes, round.commitKey, true);
  if (code !== "applied") throw new Error(`the coordinator's own announcement was not applied: ${code}`);
  const out: RoundEffect[] = [];
  for (const effect of effects) {
    if (effect.kind === "checkpoint") out.push(...startEvaluation(round, effect.step));
    else if (effect.kind === "task") out.push(...openStep(round, nowMs));
    else out.push(effect);
  }
  const { history } = round.replica;
  if (history.open === null && history.lastStep >= round.manifest.job.steps - 1) {
    round.phase = "ending";
    out.push(...endIfDone(round));
  } else if (round.phase === "gathering") out.push(...openFirst(round));
  return out;
}

function openStep(round: Round, nowMs: number): RoundEffect[] {
  const announced = round.replica.history.open;
  if (announced === null) return [];
  const { task, head } = announced;
  const open: OpenStep = { task, head, total: slotsOf(task.groups), answers: new Map(), openedMs: nowMs };
  round.open = open;
  round.phase = "open";
  const effects = assign(round, open);
  for (const member of round.members.values()) {
    member.offered = new Set(slotsIn(member.runs));
    member.offeredMs = nowMs;
  }
  return [...effects, deadlineOf(round, open)];
}

/** A new assignment pays when it shortens the slowest share by this much; slots persist otherwise. */
const WORTH = 0.8;

/** Shares all slots anew where the roster changed, or where what is known of speeds makes it worth it. */
function assign(round: Round, open: OpenStep): RoundEffect[] {
  const members = activeMembers(round);
  if (members.length === 0) return [];
  const candidates = members.map(candidateOf);
  const shares = shareSlots(allSlots(open), candidates, open.task.estimator === "one-sided");
  if (!round.changed) {
    const now = new Map(members.map(({ peerId, runs }) => [peerId, slotsIn(runs)]));
    if (slowestOf(shares, candidates) >= WORTH * slowestOf(now, candidates)) return [];
  }
  round.changed = false;
  round.version++;
  return members.map((member) => {
    member.runs = runsOf(shares.get(member.peerId) ?? []);
    return slotsFrame(round, member, open.task.step);
  });
}

function onResult(round: Round, { peerId, frame, nowMs }: Extract<RoundEvent, { kind: "result" }>): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined || member.state === "gone") return [];
  member.checkpoint = frame.checkpoint ?? member.checkpoint;
  const worker = { offered: member.offered, diverged: agreementOf(round, member) === "differs" };
  const { code, counts, accepted, fresh } = judgeResult(frame, peerId, round.open, round.replica.history.lastStep, worker);
  for (const [each, n] of Object.entries(counts) as [ResultCode, number][]) {
    member.counts[each] = (member.counts[each] ?? 0) + n;
    round.counts[each] = (round.counts[each] ?? 0) + n;
  }
  const effects: RoundEffect[] = [{ kind: "send", peerId, frame: { kind: "verdict", step: frame.step, code, accepted } }];
  if (code === "diverged") {
    member.state = "diverged";
    round.changed = true;
    return [...effects, ...release(round, member, nowMs)];
  }
  if (fresh === 0 || round.open === null) return effects;
  round.forwards += frame.losses.reduce((n, { minus }) => n + (minus === null ? 1 : 2), 0);
  const speed = frame.losses.length / Math.max(0.001, (nowMs - member.offeredMs) / 1000);
  member.speed = member.speed === null ? speed : (member.speed + speed) / 2;
  return round.open.answers.size === round.open.total ? [...effects, ...commitStep(round)] : effects;
}

/** Whether a member's last reported checkpoint is the state that the ledger states. */
export function agreementOf(round: Round, { checkpoint }: Pick<Member, "checkpoint">): "agrees" | "differs" | "unknown" {
  const stated = checkpoint && round.replica.history.evaluations.findLast(({ step }) => step === checkpoint.step);
  if (!stated) return "unknown";
  return stated.stateHash === checkpoint.stateHash ? "agrees" : "differs";
}

function onDeadline(round: Round, { step, nowMs }: Extract<RoundEvent, { kind: "deadline" }>): RoundEffect[] {
  const { open } = round;
  if (open === null || open.task.step !== step) return [];
  const members = activeMembers(round);
  const answered = [...open.answers.values()].filter(({ losses }) => losses !== null).length;
  if (answered > 0 && answered >= Math.ceil(round.manifest.job.quorum * open.total)) return commitStep(round);
  if (members.length === 0) return [];
  const done = members.filter(({ offered }) => pending(open, offered).length === 0);
  const left = pending(open, allSlots(open));
  return [...(done.length > 0 ? offer(round, open, left, done, nowMs) : []), deadlineOf(round, open)];
}

function commitStep(round: Round): RoundEffect[] {
  const { open, manifest, replica } = round;
  if (open === null) return [];
  round.open = null;
  round.phase = "announcing";
  const names = new Map([...round.members.values()].map(({ peerId, name }) => [peerId, name]));
  const { rosters, commit, signal } = commitOf(manifest, replica.history.roster, open, (peerId) => names.get(peerId) ?? "");
  round.signal = signal;
  const task = commit.step + 1 < manifest.job.steps ? taskOf(manifest, commit.step + 1) : null;
  return [...rosters.map((entry) => ({ kind: "announce" as const, entry, task: null })), { kind: "announce", entry: commit, task }];
}

function onEvaluated(
  round: Round,
  { step, stateHash, loss, accuracy, examples }: Extract<RoundEvent, { kind: "evaluated" }>,
): RoundEffect[] {
  round.evaluating.delete(step);
  return [{ kind: "announce", entry: { kind: "evaluation", step, stateHash, loss, accuracy, examples }, task: null }];
}

/** The job is over when its last state's evaluation stands in the ledger. */
function endIfDone(round: Round): RoundEffect[] {
  const { history } = round.replica;
  if (round.phase !== "ending" || round.evaluating.size > 0 || history.evaluations.at(-1)?.step !== stepOf(history.branch)) return [];
  round.phase = "finished";
  const here = [...round.members.values()].filter(({ state }) => state !== "gone");
  return [
    ...here.map(({ peerId }) => ({
      kind: "dismiss" as const,
      peerId,
      code: "finished" as const,
      message: "The job is finished. Thank you.",
    })),
    { kind: "finish" },
  ];
}
