/** From answers to commits: what a result changes, what a deadline ends, and when the oldest open step is committed. Pure. */
import type { ResultCode } from "@zoswarm/shared/protocol/codes";
import { judgeResult, type OpenStep } from "./accept.ts";
import { commitOf, taskOf } from "./commit.ts";
import { settingsOf } from "./course.ts";
import { observeMisses, observeShare, observeSpeed } from "./pace.ts";
import { allSlots, assign, deadlineOf, offer, pending, release } from "./slots.ts";
import { activeMembers, isDeciding, type Member, type Round, type RoundEffect, type RoundEvent } from "./state.ts";

/** Takes in what a member measured, and commits where that completes the oldest step. */
export function onResult(round: Round, { peerId, frame, nowMs }: Extract<RoundEvent, { kind: "result" }>): RoundEffect[] {
  const member = round.members.get(peerId);
  if (member === undefined || member.state === "gone") return [];
  member.checkpoint = frame.checkpoint ?? member.checkpoint;
  const open = round.open.find(({ task }) => task.step === frame.step) ?? null;
  const worker = { offered: open?.offered.get(peerId) ?? new Set<number>(), diverged: agreementOf(round, member) === "differs" };
  const { code, counts, accepted, fresh } = judgeResult(frame, peerId, open, round.replica.history.lastStep, worker);
  for (const [each, n] of Object.entries(counts) as [ResultCode, number][]) {
    member.counts[each] = (member.counts[each] ?? 0) + n;
    round.counts[each] = (round.counts[each] ?? 0) + n;
  }
  const effects: RoundEffect[] = [{ kind: "send", peerId, frame: { kind: "verdict", step: frame.step, code, accepted } }];
  if (code === "diverged") {
    if (member.state !== "diverged") round.divergences++;
    member.state = "diverged";
    round.changed = true;
    return [...effects, ...release(round, member)];
  }
  if (open === null || code === "wrong-head") return effects;
  const asked = open.asked.get(peerId);
  const was = asked?.size ?? 0;
  for (const { slot } of frame.losses) asked?.delete(slot);
  // An offer has a worker answer again what it has measured of the step: that took no time.
  const told = was - (asked?.size ?? 0);
  if (told > 0) observeSpeed(member, open, told, frame.elapsedMs, nowMs);
  if (told > 0 && asked?.size === 0 && !open.late.has(peerId)) observeShare(round, member, open, nowMs);
  if (fresh === 0) return effects;
  round.forwards += frame.losses.reduce((n, { minus }) => n + (minus === null ? 1 : 2), 0);
  return [...effects, ...commitNext(round, nowMs)];
}

/** Whether a member's last reported checkpoint is the state that the ledger states. */
export function agreementOf(round: Round, { checkpoint }: Pick<Member, "checkpoint">): "agrees" | "differs" | "unknown" {
  const stated = checkpoint && round.replica.history.evaluations.findLast(({ step }) => step === checkpoint.step);
  if (!stated) return "unknown";
  return stated.stateHash === checkpoint.stateHash ? "agrees" : "differs";
}

/** Commits with a quorum; below it, offers what is missing to those who are done, and waits again. */
export function onDeadline(round: Round, { step, nowMs }: Extract<RoundEvent, { kind: "deadline" }>): RoundEffect[] {
  const open = round.open[0];
  if (open === undefined || !mayCommit(round) || open.task.step !== step) return [];
  const members = activeMembers(round);
  const answered = [...open.answers.values()].filter(({ losses }) => losses !== null).length;
  if (answered > 0 && answered >= Math.ceil(round.manifest.job.quorum * open.total)) return commitStep(round, open, nowMs);
  if (members.length === 0) return [];
  const done = members.filter(({ peerId }) => pending(open, open.asked.get(peerId) ?? []).length === 0);
  const left = pending(open, allSlots(open));
  return [...(done.length > 0 ? offer(round, open, left, done) : []), deadlineOf(round, open, nowMs, nowMs)];
}

/** Neither a commit nor a decision is on its way to the ledger: a commit stands behind what it was made with. */
const mayCommit = (round: Round) => round.phase === "open" && !isDeciding(round);

/** Commits the oldest open step where all its slots are in. */
export function commitNext(round: Round, nowMs: number): RoundEffect[] {
  const open = round.open[0];
  const complete = open !== undefined && open.answers.size === open.total;
  return complete && mayCommit(round) ? commitStep(round, open, nowMs) : [];
}

function commitStep(round: Round, open: OpenStep, nowMs: number): RoundEffect[] {
  const { manifest, replica } = round;
  const settings = settingsOf(manifest, replica.history);
  if (settings === null) throw new Error(`step ${open.task.step} is open, and nothing says what it is made with`);
  round.open.shift();
  round.phase = "announcing";
  observeMisses(round, open, nowMs);
  const names = new Map([...round.members.values()].map(({ peerId, name }) => [peerId, name]));
  const { rosters, commit, signal } = commitOf(manifest, settings, replica.history.roster, open, (peerId) => names.get(peerId) ?? "");
  round.signal = signal;
  const next = commit.step + 1 + manifest.staleness;
  // What the next trial of a probe is made with follows from this one.
  const task = next < manifest.job.steps && !settings.probing ? taskOf(manifest, next, settings) : null;
  return [
    ...(task === null ? [] : assign(round, task)),
    ...rosters.map((entry) => ({ kind: "announce" as const, entry, task: null })),
    { kind: "announce", entry: commit, task },
  ];
}
