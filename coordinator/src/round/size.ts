/**
 * How many directions a step has, for the shortest time to a given loss with the workers that are there. Pure. With V directions a second
 * and o seconds that a step costs besides, K directions take o + K / V; up to a knee Kc they replace as many steps, beyond it fewer: a
 * given loss takes (1 + K / Kc) / K steps (the critical batch size of McCandlish et al., 2018, for directions). That is least at
 * K = sqrt(o V Kc).
 */
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";
import { DIRECTIONS_KNEE } from "./steer.ts";

/** Directions of a group: more directions are more groups, each with a batch of its own, which gains more than one batch for all (measured: shared/spec/training.md). */
const GROUP_LOG2 = 4;
const LOG2_MAX = 10;
/** A job has so many steps at least: fewer cannot be steered. */
const STEPS_MIN = 24;

export interface Swarm {
  workers: number;
  /** Directions that all workers measure in a second. */
  speed: number;
  /** Seconds of a step besides measuring. */
  overhead: number;
}

export interface Size {
  groups: number;
  directionsLog2: number;
}

/** The size for a swarm. `budget`: directions that the whole job may have, null where nothing says it. */
export function sizeFor({ workers, speed, overhead }: Swarm, oneSided: boolean, budget: number | null): Size {
  const fastest = Math.sqrt(overhead * speed * DIRECTIONS_KNEE);
  const busy = workers * (oneSided ? CENTRE_MIN : 1);
  const wanted = Math.max(fastest, busy, 1);
  const affordable = budget === null ? Number.POSITIVE_INFINITY : budget / STEPS_MIN;
  const log2 = Math.min(Math.max(Math.round(Math.log2(Math.min(wanted, affordable))), GROUP_LOG2), LOG2_MAX);
  const directionsLog2 = Math.min(log2, GROUP_LOG2);
  return { groups: 2 ** (log2 - directionsLog2), directionsLog2 };
}

/** Seconds that a step of `directions` takes. */
export function stepSeconds({ speed, overhead }: Swarm, directions: number): number {
  return overhead + directions / speed;
}

/** How much longer a step may be with `directions` than with few. */
export function shareOfRate(directions: number): number {
  return 1 / (1 + directions / DIRECTIONS_KNEE);
}
