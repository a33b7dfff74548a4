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
 * share below CENTRE_MIN would cost double, so where there are too many candidates the slowest get nothing. So would a piece of a share,
 * where the slots are whole groups of `group` each: no share then ends within CENTRE_MIN of a group's bound.
 */
export function shareSlots(
  slots: readonly number[],
  candidates: readonly Candidate[],
  oneSided: boolean,
  group = slots.length,
): Map<string, number[]> {
  const least = oneSided ? CENTRE_MIN : 1;
  const known = candidates.flatMap(({ speed }) => (speed === null ? [] : [speed]));
  const usual = known.length > 0 ? known.reduce((sum, speed) => sum + speed, 0) / known.length : 1;
  const all = candidates.map(({ id, speed }, order) => ({ id, order, speed: speed ?? usual, share: 0 }));
  const members = fastest(all, Math.max(1, Math.floor(slots.length / least)));
  for (const member of members) member.share = Math.min(least, Math.floor(slots.length / members.length));
  let left = slots.length - members.reduce((sum, { share }) => sum + share, 0);
  // One slot at a time to whoever would finish it first: proportional shares without rounding rules.
  const doneBy = (member: number) => ((members[member]?.share ?? 0) + 1) / (members[member]?.speed ?? 1);
  const heap = members.map((_, member) => member);
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, at, doneBy);
  for (; left > 0 && heap.length > 0; left--) {
    (members[heap[0] as number] as (typeof members)[number]).share++;
    sink(heap, 0, doneBy);
  }
  members.sort((one, other) => one.order - other.order);
  const shares = new Map<string, number[]>();
  const isCentred = oneSided && group % CENTRE_MIN === 0 && slots.length % group === 0;
  let [from, planned] = [0, 0];
  for (const [i, { id, share }] of members.entries()) {
    planned += share;
    const to = isCentred ? endOfShare(planned, from, slots.length - CENTRE_MIN * (members.length - 1 - i), group) : planned;
    shares.set(id, slots.slice(from, to));
    from = to;
  }
  return shares;
}

/** The nearest place to `planned` where a share from `from` on may end: at most at `most`, and no piece of a group below CENTRE_MIN on either side. */
function endOfShare(planned: number, from: number, most: number, group: number): number {
  const least = from + CENTRE_MIN;
  const isFit = (end: number) => {
    const within = end % group;
    return end >= least && end <= most && (within === 0 || (within >= CENTRE_MIN && within <= group - CENTRE_MIN));
  };
  const near = Math.min(Math.max(planned, least), most);
  for (let off = 0; off < group; off++) {
    const fits = [near - off, near + off].filter(isFit);
    if (fits.length > 0) return fits.find((end) => end % group === 0) ?? (fits[0] as number);
  }
  return near;
}

/** The `count` fastest, fastest first; of equals the earlier. Where few are wanted of many, the many are not sorted. */
function fastest<M extends { speed: number; order: number }>(members: M[], count: number): M[] {
  const compare = (one: M, other: M) => other.speed - one.speed || one.order - other.order;
  if (8 * count > members.length) return members.sort(compare).slice(0, count);
  const best: M[] = [];
  for (const member of members) {
    const worst = best.at(-1);
    if (best.length === count && worst !== undefined && compare(member, worst) > 0) continue;
    best.splice(best.findLastIndex((other) => compare(other, member) < 0) + 1, 0, member);
    if (best.length > count) best.pop();
  }
  return best;
}

/** Moves what stands at `at` down a heap to where nothing below it is less; of equals the smaller number is less. */
function sink(heap: number[], at: number, worth: (item: number) => number): void {
  const item = heap[at] as number;
  const isLess = (one: number, other: number) => worth(one) < worth(other) || (worth(one) === worth(other) && one < other);
  for (let hole = at; ; ) {
    let down = 2 * hole + 1;
    if (down + 1 < heap.length && isLess(heap[down + 1] as number, heap[down] as number)) down++;
    if (down >= heap.length || !isLess(heap[down] as number, item)) {
      heap[hole] = item;
      return;
    }
    heap[hole] = heap[down] as number;
    hole = down;
  }
}

/** The time of the slowest share in seconds, at the candidates' speeds: what a step would take. */
export function slowestOf(shares: ReadonlyMap<string, readonly number[]>, candidates: readonly Candidate[]): number {
  return candidates.reduce((most, { id, speed }) => Math.max(most, (shares.get(id)?.length ?? 0) / (speed ?? Number.POSITIVE_INFINITY)), 0);
}
