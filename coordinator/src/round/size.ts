/**
 * How many directions a step has, for the shortest time to a given loss with the workers that are there. Pure. With V directions a second
 * and o seconds that a step costs besides, K directions take o + K / V; up to a knee Kc they replace as many steps, beyond it fewer: a
 * given loss takes (1 + K / Kc) / K steps (the critical batch size of McCandlish et al., 2018, for directions). That is least at
 * K = sqrt(o V Kc).
 */
import type { Settings } from "@zoswarm/shared/ledger/folds";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";

/** From so many directions on the curvature that their sum runs into, the gradient's own, counts as much as their noise (measured on stories260K: shared/spec/training.md). */
const DIRECTIONS_KNEE = 512;

/** A group has 2^this directions: more are more groups, each with a batch of its own, which gains more than one batch for all (measured: shared/spec/training.md). */
const GROUP_LOG2 = 4;
const DIRECTIONS_MAX = 1024;
/** A job has so many steps at least: fewer cannot be steered. */
const STEPS_MIN = 24;

export interface Swarm {
  workers: number;
  /** Directions that all workers measure in a second. */
  speed: number;
  /** Seconds of a step besides measuring. */
  overhead: number;
}

export type Size = Pick<Settings, "groups" | "directionsLog2">;

export const directionsOf = ({ groups, directionsLog2 }: Size): number => groups * 2 ** directionsLog2;

/** The size of a step for a swarm, as far as the job file leaves it open. */
export function sizeFor({ workers, speed, overhead }: Swarm, job: Manifest["job"]): Size {
  const isOneSided = job.estimator === "one-sided";
  const fastest = Math.sqrt(overhead * speed * DIRECTIONS_KNEE);
  // Who has nothing to do is of no use.
  const busy = workers * (isOneSided ? CENTRE_MIN : 1);
  const affordable = (job.stop.forwards ?? Number.POSITIVE_INFINITY) / (isOneSided ? 1 : 2) / STEPS_MIN;
  const wanted = Math.min(Math.max(fastest, busy), affordable, DIRECTIONS_MAX);
  const log2 = Math.max(Math.round(Math.log2(wanted)), GROUP_LOG2);
  const groups = job.groups ?? Math.min(Math.max(1, 2 ** (log2 - (job.directionsLog2 ?? GROUP_LOG2))), LIMITS.groupsPerStepMax);
  return { groups, directionsLog2: job.directionsLog2 ?? Math.max(2, Math.round(log2 - Math.log2(groups))) };
}

/** Seconds that a step of `directions` takes. */
export function stepSeconds({ speed, overhead }: Swarm, directions: number): number {
  return overhead + directions / speed;
}

/** How much of the rate for few directions is right for `directions`. */
export function shareOfRate(directions: number): number {
  return 1 / (1 + directions / DIRECTIONS_KNEE);
}
