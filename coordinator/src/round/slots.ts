/**
 * Slots of a round: shared before a task is announced, offered again when somebody leaves, given to newcomers. Every change is told to
 * those whom it concerns; `offered` remembers what each may answer in the open step.
 */
import { slotsOf, type Task } from "@zoswarm/shared/protocol/announcement";
import type { OpenStep } from "./accept.ts";
import { type Candidate, runsOf, shareSlots, slotsIn, slowestOf } from "./assign.ts";
import { activeMembers, type Member, type Round, type RoundEffect } from "./state.ts";

/** Offers what a member leaves unanswered in the open step to the others. */
export function release(round: Round, member: Member, nowMs: number): RoundEffect[] {
  const { open } = round;
  member.runs = [];
  if (open === null) return [];
  const covered = new Set(activeMembers(round).flatMap(({ runs }) => slotsIn(runs)));
  const left = pending(open, member.offered).filter((slot) => !covered.has(slot));
  return left.length === 0 ? [] : offer(round, open, left, activeMembers(round), nowMs);
}

export function pending(open: OpenStep, slots: Iterable<number>): number[] {
  return [...slots].filter((slot) => slot < open.total && !open.answers.has(slot)).sort((one, other) => one - other);
}

/** Gives `slots` of the open step to members on top of what they have, and tells them. */
export function offer(round: Round, open: OpenStep, slots: readonly number[], members: readonly Member[], nowMs: number): RoundEffect[] {
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

export function slotsFrame(round: Round, { peerId, runs }: Member, fromStep: number): RoundEffect {
  const frame = { kind: "slots" as const, version: round.version, fromStep, deadlineMs: round.manifest.job.deadlineMs, runs };
  return { kind: "send", peerId, frame };
}

/** Takes a member that has become ready into the open step. */
export function enlist(round: Round, member: Member, nowMs: number): RoundEffect[] {
  round.changed = true;
  const { open } = round;
  if (open === null) return [];
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

export const allSlots = ({ total }: OpenStep) => Array.from({ length: total }, (_, slot) => slot);

export function deadlineOf(round: Round, open: OpenStep): RoundEffect {
  return { kind: "deadline", step: open.task.step, afterMs: round.manifest.job.deadlineMs };
}

/** A new assignment pays when it shortens the slowest share by this much; slots persist otherwise. */
const WORTH = 0.8;

/** Shares all slots of a coming task anew, before it is announced, where the roster changed, or where what is known of speeds makes it worth it. */
export function assign(round: Round, task: Task): RoundEffect[] {
  const members = activeMembers(round);
  if (members.length === 0) return [];
  const candidates = members.map(candidateOf);
  const slots = Array.from({ length: slotsOf(task.groups) }, (_, slot) => slot);
  const shares = shareSlots(slots, candidates, task.estimator === "one-sided");
  if (!round.changed) {
    const now = new Map(members.map(({ peerId, runs }) => [peerId, slotsIn(runs)]));
    if (slowestOf(shares, candidates) >= WORTH * slowestOf(now, candidates)) return [];
  }
  round.changed = false;
  round.version++;
  return members.map((member) => {
    member.runs = runsOf(shares.get(member.peerId) ?? []);
    return slotsFrame(round, member, task.step);
  });
}
