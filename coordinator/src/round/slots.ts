/**
 * Slots of a round: shared before a task is announced, offered again when somebody leaves, given to newcomers. Every change is told to
 * those whom it concerns; each open step remembers what each peer may answer in it and was asked for.
 */
import { slotsOf, type Task } from "@zoswarm/shared/protocol/announcement";
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";
import type { OpenStep } from "./accept.ts";
import { type Candidate, type Run, runsOf, shareSlots, slotsIn, slowestOf } from "./assign.ts";
import { deadlineMsOf, isOnProbation } from "./pace.ts";
import { activeMembers, type Member, type Round, type RoundEffect } from "./state.ts";

/**
 * Offers what a member leaves unanswered in the open steps to the others. In a step that is not the newest, those who have done their
 * share have moved on and would have to go back: they are not asked, and the deadline decides.
 */
export function release(round: Round, member: Member): RoundEffect[] {
  return round.open.flatMap((open) => {
    const left = pending(open, open.asked.get(member.peerId) ?? []);
    open.asked.delete(member.peerId);
    const covered = coveredIn(round, open);
    const uncovered = left.filter((slot) => covered[slot] !== 1);
    const isNewest = open === round.open.at(-1);
    const others = activeMembers(round).filter(({ peerId }) => isNewest || (open.asked.get(peerId)?.size ?? 0) > 0);
    return uncovered.length === 0 ? [] : offer(round, open, uncovered, others);
  });
}

export function pending(open: OpenStep, slots: Iterable<number>): number[] {
  return [...slots].filter((slot) => slot < open.total && !open.answers.has(slot)).sort((one, other) => one - other);
}

/** 1 for each slot that somebody who counts is at; members on probation do not. An array, since a set of 10,000 members' slots would cost more than all else. */
function coveredIn(round: Round, open: OpenStep, except?: Member): Uint8Array {
  const covered = new Uint8Array(open.total);
  for (const other of activeMembers(round))
    if (other !== except && !isOnProbation(other)) for (const slot of open.asked.get(other.peerId) ?? []) covered[slot] = 1;
  return covered;
}

function unclaimedIn(open: OpenStep, covered: Uint8Array): number[] {
  const unclaimed: number[] = [];
  for (let slot = 0; slot < open.total; slot++) if (covered[slot] !== 1 && !open.answers.has(slot)) unclaimed.push(slot);
  return unclaimed;
}

/**
 * The later half of what the member that has most to do has to do. What another one was asked for since counts as that one's: of many
 * who come at once, as after a restart, each takes half of what is left to somebody, and not all the same half.
 */
function halfOfBusiest(open: OpenStep, except: Member): number[] {
  const left = new Map<string, number[]>();
  let most: number[] = [];
  for (let slot = 0; slot < open.total; slot++) {
    const who = open.askedLast[slot];
    if (who === undefined || who === except.peerId || open.answers.has(slot) || !open.asked.get(who)?.has(slot)) continue;
    const slots = left.get(who) ?? [];
    slots.push(slot);
    left.set(who, slots);
    if (slots.length > most.length) most = slots;
  }
  return most.slice(Math.ceil(most.length / 2));
}

/** Gives `slots` of one open step to members on top of what they have, and tells them. */
export function offer(round: Round, open: OpenStep, slots: readonly number[], members: readonly Member[]): RoundEffect[] {
  const shares = shareSlots(slots, members.map(candidateOf), false);
  round.version++;
  round.changed = true;
  const frameOf = slotsFrames(round, open.task.step, open.task.step);
  return members.flatMap((member) => {
    const share = shares.get(member.peerId) ?? [];
    if (share.length === 0) return [];
    ask(open, member.peerId, share);
    open.late.add(member.peerId);
    return [frameOf(member, runsOf(share))];
  });
}

/** Remembers that a peer may answer these slots and was told to. */
export function ask(open: OpenStep, peerId: string, slots: readonly number[]): void {
  for (const each of [open.offered, open.asked]) each.set(peerId, new Set([...(each.get(peerId) ?? []), ...slots]));
  for (const slot of slots) open.askedLast[slot] = peerId;
}

const candidateOf = ({ peerId, speed }: Member): Candidate => ({ id: peerId, speed });

/** Makes the frames of one sharing, which all name the same deadline. */
function slotsFrames(round: Round, fromStep: number, toStep: number | null): (member: Member, runs: Run[]) => RoundEffect {
  const told = { kind: "slots" as const, version: round.version, fromStep, toStep, deadlineMs: deadlineMsOf(round) };
  return ({ peerId }, runs) => ({ kind: "send", peerId, frame: { ...told, runs } });
}

/**
 * Takes a member that has become ready into the newest open step; into older ones as far as it was asked before and may have the
 * answers, or where there is nobody else.
 */
export function enlist(round: Round, member: Member, nowMs: number): RoundEffect[] {
  round.changed = true;
  const oldest = round.open[0];
  const newest = round.open.at(-1);
  if (oldest === undefined) return [];
  const alone = activeMembers(round).length === 1;
  const effects = round.open.flatMap((open) => {
    const covered = coveredIn(round, open, member);
    const unclaimed = unclaimedIn(open, covered);
    if (open !== newest && !alone) {
      const before = unclaimed.filter((slot) => open.offered.get(member.peerId)?.has(slot));
      return before.length > 0 ? offer(round, open, before, [member]) : [];
    }
    const slots = unclaimed.length > 0 ? unclaimed : halfOfBusiest(open, member);
    return slots.length > 0 ? offer(round, open, slots, [member]) : [];
  });
  return alone ? [...effects, deadlineOf(round, oldest, nowMs, nowMs)] : effects;
}

export const allSlots = ({ total }: OpenStep) => Array.from({ length: total }, (_, slot) => slot);

/** The deadline of the oldest open step, counted from `sinceMs`: the others wait for their turn, since commits are in order. */
export function deadlineOf(round: Round, { task }: OpenStep, sinceMs: number, nowMs: number): RoundEffect {
  return { kind: "deadline", step: task.step, afterMs: Math.max(1, Math.round(sinceMs + deadlineMsOf(round) - nowMs)) };
}

/** A new assignment pays when it shortens the slowest share by this much; slots persist otherwise. */
const WORTH = 0.8;

/** Whether the newest assignment does not fit a task: the roster changed since, or the task has another number of slots. */
export function mustShare({ changed, shared }: Round, task: Task): boolean {
  return changed || shared !== slotsOf(task.groups);
}

/**
 * Shares all slots of a coming task anew, before it is announced, where that must be, or where what is known of speeds makes it
 * worth it. Members on probation get the first slots of the largest share as well as its owner. Only changes are told.
 */
export function assign(round: Round, task: Task): RoundEffect[] {
  const members = activeMembers(round);
  if (members.length === 0) return [];
  const counting = members.filter((member) => !isOnProbation(member));
  const candidates = (counting.length > 0 ? counting : members).map(candidateOf);
  const total = slotsOf(task.groups);
  const slots = Array.from({ length: total }, (_, slot) => slot);
  const shares = shareSlots(slots, candidates, task.estimator === "one-sided", 2 ** (task.groups[0]?.m ?? 0));
  const largest = [...shares.values()].reduce((most, share) => (share.length > most.length ? share : most), []);
  const small = largest.slice(0, task.estimator === "one-sided" ? CENTRE_MIN : 1);
  const shareOf = (member: Member) => shares.get(member.peerId) ?? (counting.length > 0 && isOnProbation(member) ? small : []);
  if (!mustShare(round, task)) {
    const now = new Map(members.map(({ peerId, runs }) => [peerId, slotsIn(runs)]));
    if (slowestOf(shares, candidates) >= WORTH * slowestOf(now, candidates)) return [];
  }
  // Shares of another size took another time.
  const each = total / candidates.length;
  if (total !== round.shared || Math.abs(Math.log2(each / round.timed)) >= 1) {
    round.times = [];
    round.timed = each;
  }
  round.changed = false;
  round.shared = total;
  round.version++;
  const frameOf = slotsFrames(round, task.step, null);
  return members.flatMap((member) => {
    const before = member.runs;
    member.runs = runsOf(shareOf(member));
    if (JSON.stringify(before) === JSON.stringify(member.runs)) return [];
    return [frameOf(member, member.runs)];
  });
}
