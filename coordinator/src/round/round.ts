/**
 * A job's course as a reducer: who is here, which step is open, what was answered, what is announced next. Pure: time, results
 * and evaluations arrive inside events; the shell performs the effects in order, and announces nothing that is not durable.
 */
import { stepOf } from "@zoswarm/shared/ledger/folds";
import { slotsOf } from "@zoswarm/shared/protocol/announcement";
import type { ResultCode } from "@zoswarm/shared/protocol/codes";
import { isCheckpoint, receive } from "@zoswarm/shared/replica/replica";
import { judgeResult, type OpenStep } from "./accept.ts";
import { slotsIn } from "./assign.ts";
import { commitOf, taskOf } from "./commit.ts";
import { allSlots, assign, deadlineOf, enlist, offer, pending, release } from "./slots.ts";
import { activeMembers, type Member, type Round, type RoundEffect, type RoundEvent } from "./state.ts";

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

function onHeartbeat(round: Round, { peerId, frame, nowMs }: Extract<RoundEvent, { kind: "heartbeat" }>): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined || member.state === "gone") return [];
  const was = member.state === "ready" || member.state === "evaluating";
  if (frame.state === "diverged" && member.state !== "diverged") round.divergences++;
  member.state = frame.state;
  member.checkpoint = frame.checkpoint ?? member.checkpoint;
  const is = frame.state === "ready" || frame.state === "evaluating";
  if (was && !is) {
    round.changed = true;
    return release(round, member, nowMs);
  }
  return is && !was ? [...enlist(round, member, nowMs), ...openFirst(round)] : [];
}

/** Opens step 0 once the initial state is evaluated and enough workers are ready. */
function openFirst(round: Round): RoundEffect[] {
  const { history } = round.replica;
  if (round.phase !== "gathering" || history.evaluations.length === 0 || activeMembers(round).length < round.waitFor) return [];
  round.phase = "announcing";
  const { rate, epsilonLog2 } = round.manifest.job;
  const task = taskOf(round.manifest, history.lastStep + 1);
  return [...assign(round, task), { kind: "announce", entry: { kind: "rate", rate, epsilonLog2 }, task }];
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
  // The roster may have changed since the task was announced.
  const effects = round.changed ? assign(round, task) : [];
  for (const member of round.members.values()) {
    member.offered = new Set(slotsIn(member.runs));
    member.offeredMs = nowMs;
  }
  return [...effects, deadlineOf(round, open)];
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
    if (member.state !== "diverged") round.divergences++;
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
  return [
    ...(task === null ? [] : assign(round, task)),
    ...rosters.map((entry) => ({ kind: "announce" as const, entry, task: null })),
    { kind: "announce", entry: commit, task },
  ];
}

function onEvaluated(round: Round, { step, stateHash, loss, score, examples }: Extract<RoundEvent, { kind: "evaluated" }>): RoundEffect[] {
  round.evaluating.delete(step);
  return [{ kind: "announce", entry: { kind: "evaluation", step, stateHash, loss, score, examples }, task: null }];
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
