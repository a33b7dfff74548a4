/**
 * From losses to the integers of a commit: the estimators and the step rules (shared/spec/arithmetic.md 5, last part). Only the
 * one who makes the commit runs this, in floating point; everyone else uses the recorded integers.
 */
import type { GroupCommit } from "./commit.ts";

export interface Measured {
  /** Direction, 0..2^m-1. */
  k: number;
  /** Mean loss at theta + epsilon z_k. */
  plus: number;
  /** Mean loss at theta - epsilon z_k; null for a one-sided measurement. */
  minus: number | null;
  /** Who measured it: one-sided losses are centred on the mean of the same source. */
  source: number;
}

export interface StepEstimate {
  groups: GroupCommit[];
  /** Root mean square of the projected gradients, per effective direction. */
  signal: number;
  /** Committed directions less centres. */
  effective: number;
  /** Mean of all losses measured, null where none was or where they add up to no finite number: the ledger holds none. */
  meanLoss: number | null;
}

/** What came in of one group of 2^m directions. */
export interface MeasuredGroup {
  g: number;
  m: number;
  measured: readonly Measured[];
}

export interface StepRule {
  epsilonLog2: number;
  rule: "plain" | "normalised";
  /** theta += -rate * sum_k g_k z_k, with g_k divided by the step's rms under `normalised`. */
  rate: number;
  /** Bounds of q + gain over the tensors: they bound the commit's exponent p. */
  effectiveExponents: { min: number; max: number };
  /** Under `normalised`: a step whose rms is below this is shorter (`lengthShare`); null where all are of one length. */
  reference?: number | null;
  /** A normalised projected gradient is clipped to this many rms; bounds one worker's influence. */
  clip?: number;
  /** A rms of loss differences at or below this is noise: nothing moves. Default 1e-9. */
  noiseFloor?: number;
}

/** One-sided losses of one source in one group need this many to be centred (spec 5). */
export const CENTRE_MIN = 4;

/**
 * How long a normalised step of this rms is, as a share of the longest: the square root of what the slope has left of the reference. The
 * best length is in proportion to the slope where batches agree; where their noise is most of it, it does not change with it.
 */
export function lengthShare(signal: number, reference: number | null): number {
  return reference === null ? 1 : Math.sqrt(Math.min(1, signal / reference));
}

/** Chooses the integers of a step's commit. Missing, tied and non-finite measurements give zeros, never NaN. */
export function estimateStep(rule: StepRule, groups: readonly MeasuredGroup[]): StepEstimate {
  const epsilon = 2 ** rule.epsilonLog2;
  let centres = 0;
  let lossSum = 0;
  let lossCount = 0;
  const gradients = groups.map(({ measured }) => {
    const finite = measured.filter(({ plus, minus }) => Number.isFinite(plus) && (minus === null || Number.isFinite(minus)));
    for (const { plus, minus } of finite) {
      lossSum += minus === null ? plus : (plus + minus) / 2;
      lossCount++;
    }
    const projected = new Map<number, number>();
    for (const { k, plus, minus } of finite) if (minus !== null) projected.set(k, (plus - minus) / (2 * epsilon));
    for (const own of centredSources(finite)) {
      centres++;
      const mean = own.reduce((sum, { plus }) => sum + plus, 0) / own.length;
      for (const { k, plus } of own) projected.set(k, (plus - mean) / epsilon);
    }
    return projected;
  });
  const committed = gradients.reduce((n, projected) => n + projected.size, 0);
  const effective = Math.max(0, committed - centres);
  const squares = gradients.reduce((sum, projected) => sum + [...projected.values()].reduce((s, g) => s + g * g, 0), 0);
  const signal = effective > 0 ? Math.sqrt(squares / effective) : 0;
  const moves = Number.isFinite(signal) && signal * epsilon > (rule.noiseFloor ?? 1e-9);
  const clip = rule.clip ?? 2;
  const flat = lengthShare(signal, rule.reference ?? null);
  const coefficient = (g: number) => -rule.rate * (rule.rule === "plain" ? g : flat * Math.min(Math.max(g / signal, -clip), clip));
  return {
    groups: groups.map(({ g, m }, i) => {
      const c = new Float64Array(2 ** m);
      if (moves) for (const [k, gradient] of gradients[i] ?? []) c[k] = coefficient(gradient);
      return { g, m, ...toIntegers(c, rule.effectiveExponents) };
    }),
    signal,
    effective,
    meanLoss: lossCount > 0 && Number.isFinite(lossSum) ? lossSum / lossCount : null,
  };
}

/** One-sided measurements by source, where there are enough to centre. */
function centredSources(measured: readonly Measured[]): Measured[][] {
  const bySource = new Map<number, Measured[]>();
  for (const one of measured) {
    if (one.minus !== null) continue;
    const own = bySource.get(one.source);
    if (own) own.push(one);
    else bySource.set(one.source, [one]);
  }
  return [...bySource.values()].filter((own) => own.length >= CENTRE_MIN);
}

/** The largest p with max|a_k| < 2^15, within what the tensors' exponents allow; a_k = round(c_k * 2^p), kept in int32. */
function toIntegers(c: Float64Array, { min, max }: { min: number; max: number }): { p: number; a: Int32Array } {
  const largest = c.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  let p = largest > 0 ? Math.floor(15 - Math.log2(largest)) : min;
  while (Math.round(largest * 2 ** p) >= 2 ** 15) p--;
  p = Math.max(Math.min(p, min + 32), max - 8);
  const bound = 2 ** 31 - 1;
  return { p, a: Int32Array.from(c, (v) => Math.min(Math.max(Math.round(v * 2 ** p), -bound), bound)) };
}
