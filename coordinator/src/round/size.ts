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
import { effectiveExponents } from "@zoswarm/shared/zo/lattice";
import { figure } from "./decisions.ts";
import { JUMPS_EPSILON_LOG2, jumpsShare, movesByJumps } from "./jumps.ts";
import { medianOf } from "./pace.ts";
import { activeMembers, type Round } from "./state.ts";

/** From so many directions on the curvature that their sum runs into, the gradient's own, counts as much as their noise (measured on stories260K: shared/spec/training.md). */
const DIRECTIONS_KNEE = 512;

/** A group has 2^this directions: more are more groups, each with a batch of its own, which gains more than one batch for all (measured: shared/spec/training.md). */
const GROUP_LOG2 = 4;
const DIRECTIONS_MAX = 1024;
/** A job has so many steps at least: fewer cannot be steered. */
const STEPS_MIN = 24;
/** A budget holds so many of a probe's steps: it may make 14 of them, and the most of it is for training. */
const PROBES_MIN = 100;

export interface Swarm {
  workers: number;
  /** Directions that all workers measure in a second. */
  speed: number;
  /** Seconds of a step besides measuring. */
  overhead: number;
}

export type Size = Pick<Settings, "groups" | "directionsLog2">;

export const directionsOf = ({ groups, directionsLog2 }: Size): number => groups * 2 ** directionsLog2;

/** The directions of a step that suit a swarm and a budget. */
export function directionsFor({ workers, speed, overhead }: Swarm, job: Manifest["job"]): number {
  const fastest = Math.sqrt(overhead * speed * DIRECTIONS_KNEE);
  return Math.max(Math.min(Math.max(fastest, busyAt(workers, job)), affordable(job, STEPS_MIN), DIRECTIONS_MAX), 2 ** GROUP_LOG2);
}

/** The size of a step for a swarm, as far as the job file leaves it open. */
export const sizeFor = (swarm: Swarm, job: Manifest["job"]): Size => sizeNear(directionsFor(swarm, job), job);

/** The size of the first steps, of which there are few: everybody there measures, where the budget is large enough for it. */
export function firstSize(workers: number, job: Manifest["job"]): Size {
  const usual = { groups: job.groups ?? 1, directionsLog2: job.directionsLog2 ?? GROUP_LOG2 };
  const wanted = Math.min(busyAt(workers, job), affordable(job, PROBES_MIN), DIRECTIONS_MAX);
  return wanted > directionsOf(usual) ? sizeNear(wanted, job) : usual;
}

/** Directions for so many workers: who has nothing to do is of no use. Rounding may leave out the slowest. */
const busyAt = (workers: number, { estimator }: Manifest["job"]) => workers * (estimator === "one-sided" ? CENTRE_MIN : 1);

/** Directions of a step of which the budget holds so many. */
const affordable = ({ estimator, stop }: Manifest["job"], steps: number) =>
  (stop.forwards ?? Number.POSITIVE_INFINITY) / (estimator === "one-sided" ? 1 : 2) / steps;

/** About so many directions, as a power of two and with what is pinned. */
function sizeNear(directions: number, job: Manifest["job"]): Size {
  const log2 = Math.max(Math.round(Math.log2(directions)), GROUP_LOG2);
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

/** Steps of another size: longer or shorter as far as that is worth it, and measured as far away as they are long. */
export function resized(settings: Settings, size: Size, manifest: Manifest): Settings {
  const [was, is] = [directionsOf(settings), directionsOf(size)];
  const share = movesByJumps(manifest.objective) ? jumpsShare(was, is) : shareOfRate(is) / shareOfRate(was);
  const rate = settings.rate * share;
  return { ...settings, ...size, rate, epsilonLog2: epsilonFor(manifest, rate, is) };
}

/** Nearer, rounding of the losses shows; further, the loss is no parabola any more (measured on four jobs). */
const EPSILON_LOG2_MIN = -12;
const EPSILON_LOG2_MAX = -7;

/** Directions are followed about as far as a step moves, within what the lattice holds (spec 1). */
export function epsilonFor({ job, objective, tensors }: Manifest, rate: number, directions: number): number {
  if (job.epsilonLog2 !== null) return job.epsilonLog2;
  const { min, max } = effectiveExponents(tensors);
  const followed = Math.round(Math.log2(rate * Math.sqrt(directions)));
  const wanted = movesByJumps(objective) ? JUMPS_EPSILON_LOG2 : Math.min(Math.max(followed, EPSILON_LOG2_MIN), EPSILON_LOG2_MAX);
  return Math.min(Math.max(wanted, -min), 20 - max);
}

/** A step costs this at least besides measuring: a commit is signed, written, sent and applied. */
const OVERHEAD_MIN_S = 0.01;

/** The swarm as steps of `directions` have shown it; null where nothing is known of its speed or of how long such steps take. */
export function swarmOf(round: Round, directions: number): Swarm | null {
  const members = activeMembers(round);
  const known = members.flatMap(({ speed }) => (speed === null ? [] : [speed]));
  if (known.length === 0 || round.times.length === 0) return null;
  const speed = (known.reduce((sum, one) => sum + one, 0) / known.length) * members.length;
  return { workers: members.length, speed, overhead: Math.max(OVERHEAD_MIN_S, medianOf(round.times) / 1000 - directions / speed) };
}

/** Of a commit besides its coefficients. */
const COMMIT_BYTES = 230;

/** A swarm and the size of its steps, for people. */
export function sizeWords({ job }: Manifest, swarm: Swarm, size: Size): string {
  const directions = directionsOf(size);
  const seconds = stepSeconds(swarm, directions);
  const { forwards } = job.stop;
  const whole = forwards === null ? "" : `, ${forwards} forward passes about ${Math.ceil(((forwards / directions) * seconds) / 60)} min`;
  return `${swarm.workers} ${swarm.workers === 1 ? "worker measures" : "workers measure"} ${figure(swarm.speed)} directions a second and a step costs ${figure(swarm.overhead)} s besides: ${directions} directions take ${figure(seconds)} s and bring each worker ${figure((2 * directions + COMMIT_BYTES) / 1000)} kB${whole}`;
}
