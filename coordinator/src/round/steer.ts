/**
 * How a chosen rate changes while the job runs, from the ledger's held-out evaluations alone: shorter steps once progress no longer pays
 * for the noise that steps bring, and back to the best state with shorter steps where the loss rises. Pure.
 */
import { type EvaluationPoint, lowestOf } from "@zoswarm/shared/ledger/folds";
import { SHARE_OF_BEST } from "./probe.ts";

/** Evaluations in a row above the best one, beyond the noise, that count as divergence. */
export const RISES = 2;
/** Noise of an evaluation where too few tell it: this share of the loss. */
const NOISE_SHARE = 0.003;
/** So many standard deviations are beyond the noise. */
const SIGMAS = 3;
/** Intervals between evaluations that progress is averaged over. */
const INTERVALS = 2;
/** A rate is changed where the better one is less than this share of it. */
const WORTH = 0.8;

/** What the curvature is taken from at an evaluation. */
export const CURVATURE_BY = { directions: 4, examplesMax: 32 } as const;

export interface Course {
  rate: number;
  /** Directions of a step. */
  directions: number;
  /** Mean second derivative along a direction; null where it was not taken yet, and NaN where it cannot be told. */
  curvature: number | null;
}

export type Turn =
  | { kind: "shorter"; share: number; gain: number; cost: number }
  | { kind: "back"; from: number; loss: number; noise: number };

/** What the loss rises by in a step for the noise of its directions: half the curvature along each. */
export function noiseOf({ rate, directions, curvature }: Course): number {
  return (Math.max(0, curvature ?? 0) * rate * rate * directions) / 2;
}

/** Standard deviation of held-out losses about their trend, from their second differences; robust against single jumps. */
export function lossNoise(points: readonly { loss: number }[]): number {
  const losses = points.map(({ loss }) => loss);
  const bends = losses.slice(2).map((loss, i) => Math.abs(loss - 2 * (losses[i + 1] as number) + (losses[i] as number)));
  const usual = NOISE_SHARE * Math.abs(losses.at(-1) ?? 0);
  if (bends.length < 3) return usual;
  bends.sort((one, other) => one - other);
  return Math.min(usual, (1.4826 * (bends[bends.length >> 1] as number)) / Math.sqrt(6));
}

/**
 * What to change, given the held-out evaluations made with this course, oldest first, and the one of the state that it set out from or of
 * the nearest before that; null where nothing. A step gains
 * slope x rate - cost, with a cost that grows with the square of the rate: so it gains most at rate x (1 + gain / cost) / 2, which is what
 * it has where gain and cost are equal, and half of it where there is no gain.
 */
export function turnOf(course: Course, points: readonly EvaluationPoint[], start?: EvaluationPoint): Turn | null {
  const best = lowestOf(start === undefined ? points : [start, ...points]);
  const last = points.at(-1);
  if (best === undefined || last === undefined) return null;
  const noise = lossNoise(points);
  const newest = points.slice(-RISES);
  if (newest.length === RISES && newest.every(({ loss }) => loss > best.loss + SIGMAS * noise))
    return { kind: "back", from: best.loss, loss: last.loss, noise };
  const from = points.at(-1 - INTERVALS);
  if (from === undefined || course.curvature === null) return null;
  const gain = (from.loss - last.loss) / (last.step - from.step);
  const cost = noiseOf(course);
  const isStill = from.loss - last.loss < noise;
  const share = cost > 0 ? (SHARE_OF_BEST * (1 + gain / cost)) / 2 : isStill ? 0.5 : 1;
  return share < WORTH ? { kind: "shorter", share: Math.max(0.5, share), gain, cost } : null;
}
