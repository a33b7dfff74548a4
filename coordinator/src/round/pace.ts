/**
 * How fast members are and how long a step waits for them, both from what was observed. Pure. A member's speed decides how many slots
 * it gets and nothing else: who lies about it gets slots that it then misses, which halves what is believed of it.
 */
import type { OpenStep } from "./accept.ts";
import { activeMembers, type Member, type Round } from "./state.ts";

/** Shares observed before the deadline leaves its ceiling, and how many of the newest it is made from. */
const TIMES_MIN = 8;
const TIMES_MAX = 128;
/** The deadline is so many median deviations above the median: of a normal spread that is four standard deviations. */
const DEVIATIONS = 6;
/** And at least so many medians: where times hardly vary, the next hiccup is no reason to lose a share. */
const MEDIANS = 2;
/** Deadlines missed in a row that put a member on probation. */
const MISSES_MAX = 3;

/** How long a step waits from its opening, in milliseconds: median and median absolute deviation of the newest shares' times. */
export function deadlineMsOf({ times, manifest }: Pick<Round, "times" | "manifest">): number {
  const { deadlineMs, deadlineFloorMs } = manifest.job;
  if (times.length < TIMES_MIN) return deadlineMs;
  const median = medianOf(times);
  const deviation = medianOf(times.map((ms) => Math.abs(ms - median)));
  const ms = Math.round(Math.max(MEDIANS * median, median + DEVIATIONS * deviation));
  return Math.min(deadlineMs, Math.max(deadlineFloorMs, ms));
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** On probation a member gets few slots, which others are given as well: nobody waits for it until it answers in time again. */
export function isOnProbation({ missed }: Pick<Member, "missed">): boolean {
  return missed >= MISSES_MAX;
}

/** Takes in a result with `count` slots that were asked for, which was reported to have taken `elapsedMs`: it cannot have taken longer than it was away. */
export function observeSpeed(member: Member, open: OpenStep, count: number, elapsedMs: number, nowMs: number): void {
  const awayMs = nowMs - Math.max(open.openedMs, member.heardMs);
  member.heardMs = nowMs;
  const speed = count / (Math.max(1, Math.min(elapsedMs, awayMs)) / 1000);
  member.speed = member.speed === null ? speed : (member.speed + speed) / 2;
}

/** A member's share of a step is whole: it was in time. */
export function observeShare(round: Round, member: Member, { openedMs }: OpenStep, nowMs: number): void {
  round.changed ||= isOnProbation(member);
  member.missed = 0;
  observeTime(round, nowMs - openedMs);
}

/** At a commit: who was asked and has not answered has missed the step. */
export function observeMisses(round: Round, open: OpenStep, nowMs: number): void {
  for (const member of activeMembers(round)) {
    const isDone = (open.asked.get(member.peerId)?.size ?? 0) === 0;
    if (isDone || open.late.has(member.peerId) || isOnProbation(member)) continue;
    member.missed++;
    round.changed ||= isOnProbation(member);
    if (member.speed !== null) member.speed /= 2;
    observeTime(round, nowMs - open.openedMs);
  }
}

function observeTime(round: Round, ms: number): void {
  round.times.push(ms);
  if (round.times.length > TIMES_MAX) round.times.shift();
}
