/**
 * From history to what is drawn, said and listed: the lines, their ranges, a sentence for those who do not see them, a short table.
 * Pure. The horizontal axis counts steps committed: step s was measured after s of them, its evaluation shows the state after s + 1.
 */
import type { Evaluation, Job, StepPoint } from "../../src/http/schemas.ts";
import { count, isShare, loss, metricName, score } from "./format.ts";

type Line = (number | null)[];

export interface Lines {
  x: number[];
  trainLoss: Line;
  heldoutLoss: Line;
  score: Line;
  /** How many points the line of the training loss has. */
  points: number;
}

/** All lines over one ascending axis; null where a line has no point. */
export function linesOf(steps: readonly StepPoint[], evaluations: readonly Evaluation[]): Lines {
  const lines: Lines = { x: [], trainLoss: [], heldoutLoss: [], score: [], points: 0 };
  for (let s = 0, e = 0; s < steps.length || e < evaluations.length; ) {
    const step = steps[s];
    const evaluation = evaluations[e];
    const x = Math.min(step?.step ?? Number.POSITIVE_INFINITY, (evaluation?.step ?? Number.POSITIVE_INFINITY) + 1);
    const here = step?.step === x ? step : null;
    const seen = evaluation !== undefined && evaluation.step + 1 === x ? evaluation : null;
    lines.x.push(x);
    lines.trainLoss.push(here?.meanLoss ?? null);
    lines.heldoutLoss.push(seen?.loss ?? null);
    lines.score.push(seen?.score ?? null);
    if (typeof here?.meanLoss === "number") lines.points += 1;
    if (here) s += 1;
    if (seen) e += 1;
  }
  return lines;
}

/** The right end leaves room for what comes, and is the target once that is near: the line grows and the axis rests. */
export function stepRange(last: number, target: number): [number, number] {
  const room = Math.max(20, Math.ceil((last * 1.6) / 10) * 10);
  return [0, Math.max(last, Math.min(target, room), 1)];
}

/**
 * With classes, from zero to what knowing nothing costs (ln classes) or more: an axis that rests while the line moves. Without,
 * around the values.
 */
export function lossRange(low: number, high: number, classes: number): [number, number] {
  if (classes > 1 && low >= 0) return [0, 1.06 * Math.max(high, Math.log(classes))];
  const span = Math.max(high - low, 0.1 * Math.abs(high), 1e-6);
  return [low - 0.15 * span, high + 0.1 * span];
}

/** Of a share: whole tenths around the values and the baseline, up to 100 % as soon as that is in sight. Else around the values. */
export function scoreRange(low: number, high: number, { majorityBaseline: baseline, metric }: Job): [number, number] {
  if (!isShare(metric)) return lossRange(low, high, 0);
  const floor = Math.floor((Math.min(low, baseline ?? 1) - 0.05) * 10) / 10;
  const ceiling = high > 0.35 ? 1 : Math.ceil((high + 0.05) * 10) / 10;
  return [Math.max(0, floor), ceiling];
}

/** The newest value of a line at or before index `at`. */
export function lastKnown(line: Line, at: number): number | null {
  for (let i = Math.min(at, line.length - 1); i >= 0; i--) if (line[i] !== null) return line[i] as number;
  return null;
}

/** One sentence that says what the chart shows. */
export function summaryOf(lines: Lines, job: Job | null): string {
  const steps = lines.x.at(-1) ?? 0;
  const end = lines.x.length - 1;
  const firstOf = (line: Line) => line.find((value) => value !== null) ?? null;
  if (end < 0) return "No step is committed yet, so there is nothing to draw.";
  const parts = [`${count(steps)}${job?.steps ? ` of ${count(job.steps)}` : ""} steps.`];
  const [from, to] = [firstOf(lines.trainLoss), lastKnown(lines.trainLoss, end)];
  if (to !== null) parts.push(`Training loss went from ${loss(from)} to ${loss(to)}.`);
  const held = lastKnown(lines.heldoutLoss, end);
  if (held !== null) parts.push(`Held-out loss went from ${loss(firstOf(lines.heldoutLoss))} to ${loss(held)},`);
  if (held !== null && job) {
    const shown = (value: number | null) => score(value, job.metric);
    parts.push(`held-out ${metricName(job.metric)} from ${shown(firstOf(lines.score))} to ${shown(lastKnown(lines.score, end))}.`);
  }
  return parts.join(" ");
}

export interface Row {
  steps: number;
  trainLoss: number | null;
  heldoutLoss: number | null;
  score: number | null;
}

/** At most about `max` rows: those with an evaluation first of all, evenly thinned, the newest always among them. */
export function tableOf(lines: Lines, max: number): Row[] {
  const all = lines.x.map((steps, i) => ({
    steps,
    trainLoss: lines.trainLoss[i] ?? null,
    heldoutLoss: lines.heldoutLoss[i] ?? null,
    score: lines.score[i] ?? null,
  }));
  const evaluated = all.filter((row) => row.score !== null);
  const rows = evaluated.length > 1 ? evaluated : all;
  const stride = Math.ceil(rows.length / max);
  return rows.filter((_, i) => (rows.length - 1 - i) % stride === 0);
}
