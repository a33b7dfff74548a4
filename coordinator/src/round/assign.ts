/**
 * Who measures which slots of a step. Slots are the directions of all groups in order; runs are contiguous, so that a worker's
 * share of a group is one piece that can be centred on its own mean. Pure.
 */
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";

/** [first slot, count]. */
export type Run = [start: number, count: number];

export interface Candidate {
  id: string;
  /** Slots per second; null where nothing is known yet: counted as the mean of the others. */
  speed: number | null;
}

/** Ascending slots as runs. */
export function runsOf(slots: Iterable<number>): Run[] {
  const runs: Run[] = [];
  for (const slot of [...slots].sort((one, other) => one - other)) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === slot) last[1]++;
    else runs.push([slot, 1]);
  }
  return runs;
}

/** Every slot of the runs, ascending. */
export function slotsIn(runs: readonly Run[]): number[] {
  return runs.flatMap(([start, count]) => Array.from({ length: count }, (_, i) => start + i));
}

/**
 * Shares `slots` (ascending) among candidates in proportion to their speed, each share contiguous. Under a one-sided estimator a
 * share below CENTRE_MIN would cost double, so where there are too many candidates the slowest get nothing.
 */
export function shareSlots(slots: readonly number[], candidates: readonly Candidate[], oneSided: boolean): Map<string, number[]> {
  const least = oneSided ? CENTRE_MIN : 1;
  const known = candidates.flatMap(({ speed }) => (speed === null ? [] : [speed]));
  const usual = known.length > 0 ? known.reduce((sum, speed) => sum + speed, 0) / known.length : 1;
  const members = candidates
    .map(({ id, speed }, order) => ({ id, order, speed: speed ?? usual, share: 0 }))
    .sort((one, other) => other.speed - one.speed || one.order - other.order)
    .slice(0, Math.max(1, Math.floor(slots.length / least)));
  for (const member of members) member.share = Math.min(least, Math.floor(slots.length / members.length));
  let left = slots.length - members.reduce((sum, { share }) => sum + share, 0);
  // One slot at a time to whoever would finish it first: proportional shares without rounding rules.
  for (; left > 0 && members.length > 0; left--) {
    let first = members[0] as (typeof members)[number];
    for (const member of members) if ((member.share + 1) / member.speed < (first.share + 1) / first.speed) first = member;
    first.share++;
  }
  members.sort((one, other) => one.order - other.order);
  const shares = new Map<string, number[]>();
  let from = 0;
  for (const { id, share } of members) {
    shares.set(id, slots.slice(from, from + share));
    from += share;
  }
  return shares;
}

/** The time of the slowest share in seconds, at the candidates' speeds: what a step would take. */
export function slowestOf(shares: ReadonlyMap<string, readonly number[]>, candidates: readonly Candidate[]): number {
  return candidates.reduce((most, { id, speed }) => Math.max(most, (shares.get(id)?.length ?? 0) / (speed ?? Number.POSITIVE_INFINITY)), 0);
}
