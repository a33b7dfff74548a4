/**
 * A job's course as a reducer: who is here, which step is open, what was answered, what is announced next. Pure: time, results
 * and evaluations arrive inside events; the shell performs the effects in order, and announces nothing that is not durable.
 */
import { descendsFrom, evaluationHere, isDecision, type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import { slotsOf } from "@zoswarm/shared/protocol/announcement";
import { isCheckpoint, receive } from "@zoswarm/shared/replica/replica";
import type { OpenStep } from "./accept.ts";
import { commitNext, onDeadline, onResult } from "./answers.ts";
import { slotsIn } from "./assign.ts";
import { taskOf } from "./commit.ts";
import { canBegin, decide, mayOpen, settingsOf } from "./course.ts";
import { toLast } from "./end.ts";
import { onTried } from "./probing.ts";
import { ask, assign, deadlineOf, enlist, mustShare, release } from "./slots.ts";
import { activeMembers, isDeciding, type Round, type RoundEffect, type RoundEvent } from "./state.ts";

/** Changes `round` in place and returns the effects, to be performed in order. */
export function reduce(round: Round, event: RoundEvent): RoundEffect[] {
  switch (event.kind) {
    case "started":
      return onStarted(round, event.nowMs);
    case "joined":
      return onJoined(round, event);
    case "left":
      return onLeft(round, event.peerId);
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
    case "tried":
      onTried(round, event);
      return [...takeCourse(round), ...openFirst(round)];
  }
}

function onStarted(round: Round, nowMs: number): RoundEffect[] {
  const { history } = round.replica;
  const here = stepOf(history.branch);
  const isWorthIt = isCheckpoint(round.replica, here) || history.ended !== null || isSettingOut(round);
  const effects: RoundEffect[] = isWorthIt && evaluationHere(history) === undefined ? startEvaluation(round, here) : [];
  if (isOver(round)) {
    round.phase = "ending";
    return [...effects, ...endIfDone(round)];
  }
  // Reopened as they were announced; tasks that a crash at the beginning left out follow.
  for (const { task } of history.open) effects.push(...openStep(round, task.step, nowMs));
  const settings = settingsOf(round.manifest, history);
  if (history.open.length > 0 && settings !== null) effects.push(...openMore(round, settings));
  return [...effects, ...takeCourse(round)];
}

/** Training stands where its probe has left it: that state is what it is measured by. */
function isSettingOut({ manifest, replica: { history } }: Round): boolean {
  const isTraining = manifest.job.rate === null && history.settings?.probing === false;
  return isTraining && history.decisions.at(-1)?.afterStep === history.lastStep;
}

/** Nothing is trained any more: the last step is committed, or the ledger says so. */
function isOver({ manifest, replica: { history } }: Round): boolean {
  return history.ended !== null || (history.open.length === 0 && history.lastStep >= manifest.job.steps - 1);
}

/** Announces what the course wants the ledger to say, if anything. */
function takeCourse(round: Round): RoundEffect[] {
  if (isDeciding(round) || (round.phase !== "gathering" && round.phase !== "open")) return [];
  const effects = decide(round);
  const decisions = effects.filter((effect) => effect.kind === "announce" && isDecision(effect.entry));
  round.decided = round.replica.history.decisions.length + decisions.length;
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
    speed: before?.speed ?? null,
    heardMs: 0,
    missed: before?.missed ?? 0,
    counts: before?.counts ?? {},
  });
  for (const open of round.open) open.asked.delete(peerId);
  round.changed = true;
  if (round.phase === "finished") return [{ kind: "dismiss", peerId, code: "finished", message: "The job is finished. Thank you." }];
  return [];
}

function onLeft(round: Round, peerId: string): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined) return [];
  member.state = "gone";
  round.changed = true;
  forgetGone(round);
  return release(round, member);
}

/** Members that left are shown for a while; the longest known go first. */
const GONE_MAX = 1_000;
function forgetGone(round: Round): void {
  const gone = [...round.members.values()].filter(({ state }) => state === "gone");
  for (const { peerId } of gone.slice(0, Math.max(0, gone.length - GONE_MAX))) {
    round.members.delete(peerId);
    // What they might still answer goes as well: a step may stay open for long, and a peer costs nothing to name.
    for (const { offered, late } of round.open) {
      offered.delete(peerId);
      late.delete(peerId);
    }
  }
}

function onHeartbeat(round: Round, { peerId, frame, nowMs }: Extract<RoundEvent, { kind: "heartbeat" }>): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined || member.state === "gone") return [];
  const was = member.state === "ready" || member.state === "evaluating";
  if (frame.state === "diverged" && member.state !== "diverged") round.divergences++;
  member.state = frame.state;
  member.checkpoint = frame.checkpoint ?? member.checkpoint;
  round.hasGathered ||= activeMembers(round).length >= round.waitFor;
  const is = frame.state === "ready" || frame.state === "evaluating";
  if (was && !is) {
    round.changed = true;
    return release(round, member);
  }
  return is && !was ? [...enlist(round, member, nowMs), ...openFirst(round)] : [];
}

/** Opens the next step once the initial state is evaluated, enough workers are ready, and it is decided what the step is made with. */
function openFirst(round: Round): RoundEffect[] {
  if (round.phase !== "gathering" || !canBegin(round)) return [];
  const settings = settingsOf(round.manifest, round.replica.history);
  if (settings === null || !mayOpen(round)) return takeCourse(round);
  if (isDeciding(round)) return [];
  round.phase = "announcing";
  return [...assign(round, taskOf(round.manifest, round.replica.history.lastStep + 1, settings)), ...openMore(round, settings)];
}

/** Announces tasks until staleness + 1 are open: each on an entry that repeats the settings, so that a restart finds it in the ledger. */
function openMore({ manifest, replica: { history } }: Round, settings: Settings): RoundEffect[] {
  const first = (history.open.at(-1)?.task.step ?? history.lastStep) + 1;
  const end = Math.min(manifest.job.steps, history.lastStep + 2 + (settings.probing ? 0 : manifest.staleness));
  return Array.from({ length: Math.max(0, end - first) }, (_, i) => ({
    kind: "announce" as const,
    entry: { kind: "rate" as const, ...settings, why: "" },
    task: taskOf(manifest, first + i, settings),
  }));
}

function onAnnounced(round: Round, bytes: Uint8Array, nowMs: number): RoundEffect[] {
  const wasDeciding = isDeciding(round);
  const { history } = round.replica;
  const wasProbing = history.settings?.probing === true;
  const { code, effects } = receive(round.replica, bytes, round.commitKey, true);
  if (code !== "applied") throw new Error(`the coordinator's own announcement was not applied: ${code}`);
  const out: RoundEffect[] = [];
  for (const effect of effects) {
    if (effect.kind === "checkpoint") out.push(...startEvaluation(round, effect.step));
    else if (effect.kind === "task") out.push(...openStep(round, effect.task.step, nowMs));
    else out.push(effect);
    if (effect.kind === "apply") out.push(...onTurn(round, nowMs));
    if (effect.kind === "restore") {
      round.open = [];
      round.phase = "gathering";
    }
  }
  // What the probe came to is what training sets out from.
  if (wasProbing && history.settings?.probing === false && evaluationHere(history) === undefined)
    out.push(...startEvaluation(round, stepOf(history.branch)));
  if (isOver(round)) {
    round.open = [];
    if (round.phase !== "finished") round.phase = "ending";
    return [...out, ...endIfDone(round)];
  }
  if (effects.some(({ kind }) => kind === "apply" || kind === "compare" || kind === "restore")) out.push(...takeCourse(round));
  if (isDeciding(round)) return out;
  // A deadline that passed meanwhile was not heard.
  if (wasDeciding && round.phase === "open") out.push(...onTurn(round, nowMs));
  return [...out, ...(round.phase === "open" ? commitNext(round, nowMs) : openFirst(round))];
}

/** What stood before it is in the ledger: the oldest open step has its turn. */
function onTurn(round: Round, nowMs: number): RoundEffect[] {
  const next = round.open[0];
  round.phase = next === undefined ? "gathering" : "open";
  if (next === undefined) return [];
  return [deadlineOf(round, next, next.openedMs, nowMs)];
}

function openStep(round: Round, step: number, nowMs: number): RoundEffect[] {
  const announced = round.replica.history.open.find(({ task }) => task.step === step);
  if (announced === undefined) return [];
  const { task, head } = announced;
  const open: OpenStep = {
    ...{ task, head, total: slotsOf(task.groups), answers: new Map(), openedMs: nowMs },
    ...{ offered: new Map(), asked: new Map(), askedLast: [], late: new Set() },
  };
  round.open.push(open);
  // The roster may have changed since the task was announced.
  const effects = mustShare(round, task) ? assign(round, task) : [];
  for (const { peerId, runs } of activeMembers(round)) ask(open, peerId, slotsIn(runs));
  // Its turn comes when the one before it is committed, in the ledger and not only on the way there.
  if (step !== round.replica.history.lastStep + 1) return effects;
  round.phase = "open";
  return [...effects, deadlineOf(round, open, nowMs, nowMs)];
}

function onEvaluated(
  round: Round,
  { step, stateHash, loss, score, examples, curvature }: Extract<RoundEvent, { kind: "evaluated" }>,
): RoundEffect[] {
  const { history } = round.replica;
  round.evaluating.delete(step);
  if (descendsFrom(history, step)) round.curvature = curvature;
  if (!Number.isFinite(loss)) {
    round.notFinite = step;
    return [...takeCourse(round), ...endIfDone(round)];
  }
  return [{ kind: "announce", entry: { kind: "evaluation", step, stateHash, loss, score, examples }, task: null }];
}

/** The job is over when its last state's evaluation stands in the ledger, or was found to be no number, and the ledger is where it shall end. */
function endIfDone(round: Round): RoundEffect[] {
  const { history } = round.replica;
  const isEvaluated = evaluationHere(history) !== undefined || round.notFinite === stepOf(history.branch);
  if (round.phase !== "ending" || round.evaluating.size > 0 || !isEvaluated || isDeciding(round)) return [];
  const back = toLast(round.manifest, history);
  round.decided = history.decisions.length + back.length;
  if (back.length > 0) return back;
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
