/** When a job is over before its last step, by the rules of its job file, and in which state it ends. Pure. */
import { type EvaluationPoint, evaluationsHere, type History, isAsGood, lowestOf, stepOf } from "@zoswarm/shared/ledger/folds";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { endEntry, restoreEntry } from "./decisions.ts";
import type { RoundEffect } from "./state.ts";

/** The end that the job file's rules call for; nothing where none does. No state that a restore has left is the best, or a target. */
export function endOf({ job, objective }: Manifest, history: History): RoundEffect[] {
  const { target, patience, forwards: budget } = job.stop;
  const evaluations = evaluationsHere(history);
  const newest = evaluations.at(-1);
  const best = lowestOf(evaluations);
  if (newest === undefined || best === undefined) return [];
  if (target !== null && isAsGood(newest.score, target, objective.metric))
    return [endEntry("target", `the held-out score ${newest.score.toPrecision(4)} reaches the target ${target}`)];
  if (budget !== null && history.forwards >= budget)
    return [endEntry("forwards", `${history.forwards} forward passes are spent, of ${budget}`)];
  // States that were left count as evaluations without progress, those of a probe do not.
  const lastTrial = 1 + (history.decisions.findLast(({ entry }) => entry.kind === "rate" && entry.probing)?.afterStep ?? -2);
  const since = history.evaluations.filter(({ step }) => step > Math.max(best.step, lastTrial)).length;
  if (patience === null || since < patience || history.settings?.probing === true) return [];
  const why = `no lower held-out loss in ${since} evaluations; the lowest was ${best.loss.toPrecision(4)}, after step ${best.step + 1}`;
  return [endEntry("patience", why)];
}

/** Where a job ends whose course is chosen: in the state that reached its target, else in its best one; nothing where the ledger stands at it. */
export function toLast({ job, objective }: Manifest, history: History): RoundEffect[] {
  if (job.rate !== null) return [];
  const { target } = job.stop;
  const evaluations = evaluationsHere(history);
  const isGood = ({ score }: EvaluationPoint) => target !== null && isAsGood(score, target, objective.metric);
  const reached = history.ended?.reason === "target" ? evaluations.findLast(isGood) : undefined;
  // Of states that tie, as those of few examples do, the one that has learned longest.
  const least = lowestOf(evaluations)?.loss;
  return restoreTo(history, reached ?? evaluations.findLast(({ loss }) => loss === least));
}

/** Back to the best state that was evaluated, of those that led to the present one. */
export const toBest = (history: History): RoundEffect[] => restoreTo(history, lowestOf(evaluationsHere(history)));

const restoreTo = (history: History, point: EvaluationPoint | undefined) =>
  point === undefined || point.step === stepOf(history.branch) ? [] : [restoreEntry(point)];
