/**
 * The course of a job whose measure moves by jumps, as accuracy, exact matches and rewards do. One step's change is mostly chance there, so
 * no probe can tell how far is too far; and the measure has a slope only over some way. So directions are followed far, and steps go half as
 * far: what is followed is the gradient of evolution strategies (Salimans et al., 2017), whose steps are about that long. Pure.
 */
import { type EvaluationPoint, lowestOf } from "@zoswarm/shared/ledger/folds";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";

export const movesByJumps = ({ measure }: Manifest["objective"]): boolean => measure !== "loss";

/** Nearer, hardly any direction changes an answer. */
export const JUMPS_EPSILON_LOG2 = -6;

/** A step goes so far, of what its directions are followed. */
const STEP_SHARE = 0.5;

/** Normalised steps of many directions are about the rate times their root long. */
export const jumpsRate = (epsilonLog2: number, directions: number): number => (STEP_SHARE * 2 ** epsilonLog2) / Math.sqrt(directions);

export const jumpsWhy = ({ measure }: Manifest["objective"]): string =>
  `the ${measure} moves by jumps, and one step's change says little: steps go half as far as directions are followed`;

/** So many evaluations without a better one are a plateau. */
export const PLATEAU = 6;

/** Whether steps should have half their length, given the evaluations of the states that led here, and after which step the last decision came. */
export function isPlateau(evaluations: readonly EvaluationPoint[], since: number): boolean {
  const best = lowestOf(evaluations)?.step ?? since;
  return evaluations.filter(({ step }) => step > Math.max(best, since)).length >= PLATEAU;
}

/** For steps of another size: as long as before. */
export const jumpsShare = (was: number, is: number): number => Math.sqrt(was / is);
