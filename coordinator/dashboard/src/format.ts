/** Numbers as people read them, with their units. Null and what is not a number become a dash: never "NaN" on a page. */

import type { Job } from "../../src/http/schemas.ts";

const DASH = "–";
const NBSP = "\u00a0";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

type Maybe = number | null | undefined;
const known = (value: Maybe): value is number => typeof value === "number" && Number.isFinite(value);

export function count(value: Maybe): string {
  return known(value) ? whole.format(value) : DASH;
}

/** 6975746 -> "6.98 M"; below ten thousand the number itself. */
export function short(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value < 10_000) return count(value);
  const [size, unit] = value < 1e6 ? [1e3, "k"] : value < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${(value / size).toPrecision(3)}${NBSP}${unit}`;
}

export function percent(share: Maybe): string {
  return known(share) ? `${(100 * share).toFixed(1)}${NBSP}%` : DASH;
}

type Metric = Job["metric"];
/** Metrics that are shares of one. */
const SHARES: readonly Metric[] = ["accuracy", "f1", "exact-match"];

export function isShare(metric: Metric): boolean {
  return SHARES.includes(metric);
}

/** A metric as people call it. */
export function metricName(metric: Metric): string {
  return metric === "f1" ? "F1" : metric.replaceAll("-", " ");
}

/** A score of a metric: a share in percent, anything else as a number. */
export function score(value: Maybe, metric: Metric): string {
  return isShare(metric) ? percent(value) : loss(value);
}

export function loss(value: Maybe): string {
  if (!known(value)) return DASH;
  return Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4);
}

/** A rate: one decimal below a hundred. */
export function perSecond(value: Maybe): string {
  return known(value) ? (value < 100 ? value.toFixed(1) : count(value)) : DASH;
}

export function bytes(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value < 999.5) return `${Math.round(value)}${NBSP}B`;
  const [size, unit] = value < 999_500 ? [1e3, "kB"] : value < 999_500_000 ? [1e6, "MB"] : [1e9, "GB"];
  const scaled = value / size;
  return `${scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)}${NBSP}${unit}`;
}

/** Two units at most: "45 s", "2 min 5 s", "3 h 12 min", "2 d 4 h". */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return DASH;
  const total = Math.max(0, Math.round(seconds));
  const of = (size: number, unit: string, smaller: number, smallerUnit: string) => {
    const rest = Math.floor((total % size) / smaller);
    const head = `${count(Math.floor(total / size))}${NBSP}${unit}`;
    return rest === 0 ? head : `${head} ${rest}${NBSP}${smallerUnit}`;
  };
  if (total < 60) return `${total}${NBSP}s`;
  if (total < 3_600) return of(60, "min", 1, "s");
  if (total < 86_400) return of(3_600, "h", 60, "min");
  return of(86_400, "d", 3_600, "h");
}

/** Small parts of a second matter for a step, not for a wait. */
export function seconds(value: Maybe): string {
  return known(value) && value < 10 ? `${value.toFixed(value < 1 ? 2 : 1)}${NBSP}s` : duration(value);
}

/** Up to three significant digits, and powers of ten where zeros would have to be counted. */
export function small(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e5)) return String(Number(value.toPrecision(3)));
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${Number(digits)} × 10${raised(Number(exponent))}`;
}

/** Epsilon is a power of two, and is shown as one. */
export function powerOfTwo(value: number): string {
  const exponent = Math.log2(value);
  return Number.isInteger(exponent) ? `2${raised(exponent)}` : small(value);
}

function raised(exponent: number): string {
  return [...String(exponent)].map((digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)])).join("");
}

export function shortHash(hash: string): string {
  return `${hash.slice(0, 8)}…${hash.slice(-8)}`;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
