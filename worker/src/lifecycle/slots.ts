/** What a volunteer was told to measure: an assignment for all steps from one on, and offers for single steps on top of it. */
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { CoordinatorFrame } from "@zoswarm/shared/protocol/messages";

type SlotsFrame = Extract<CoordinatorFrame, { kind: "slots" }>;

export interface Slots {
  /** Of the newest frame. */
  version: number;
  /** In ascending `fromStep`: each holds until the next one's. */
  assigned: Pick<SlotsFrame, "fromStep" | "runs">[];
  offered: Map<number, Set<number>>;
}

/** `before` with a frame taken in; what concerns steps up to `lastStep`, which are committed, is forgotten. */
export function withFrame(before: Slots | null, { version, fromStep, toStep, runs }: SlotsFrame, lastStep: number): Slots {
  const assigned = (before?.assigned ?? []).filter((one) => toStep !== null || one.fromStep < fromStep);
  if (toStep === null) assigned.push({ fromStep, runs });
  const offered = new Map([...(before?.offered ?? [])].filter(([step]) => step > lastStep));
  if (toStep !== null) offered.set(toStep, new Set([...(offered.get(toStep) ?? []), ...slotsIn(runs)]));
  const most = LIMITS.stalenessStepsMax + 2;
  return {
    version,
    assigned: assigned.filter((_, i) => (assigned[i + 1]?.fromStep ?? Number.POSITIVE_INFINITY) > lastStep + 1).slice(-most),
    offered: new Map([...offered].slice(-most)),
  };
}

/** Slots to be measured in a step, ascending. */
export function slotsOfStep(slots: Slots | null, step: number): number[] {
  const runs = slots?.assigned.findLast(({ fromStep }) => fromStep <= step)?.runs ?? [];
  return [...new Set([...slotsIn(runs), ...(slots?.offered.get(step) ?? [])])].sort((one, other) => one - other);
}

const slotsIn = (runs: SlotsFrame["runs"]) => runs.flatMap(([start, count]) => Array.from({ length: count }, (_, i) => start + i));
