/**
 * Sets examples aside for measuring, once and for all: the same rows and seed give the same split on every machine.
 * A text never stands on both sides, nor does another text with its key.
 */
import { createHash } from "node:crypto";

/** What a row needs to be split. */
export interface Splittable {
  text?: string;
  /** 0 to classes - 1. A row without one is of class 0, so that rows without classes are split as one. */
  label?: number;
  /** Where it was read. */
  at?: string;
}

interface Draw<Row> {
  /** Any text; another seed gives another split. */
  seed: string;
  classes: number;
  /**
   * Rows with equal keys count as duplicates. Default: `lettersOf` the text; of a row without a text, all its fields but `label` and `at`,
   * as JSON. `text` is "" where a row has none.
   */
  keyOf?: (text: string, row: Row) => string;
}

/** How many distinct texts of each class to hold out: a number, or a share between 0 and 1, rounded, of at least one. */
export type SplitRequest<Row> = Draw<Row> &
  ({ heldoutPerClass: number; heldoutShare?: never } | { heldoutShare: number; heldoutPerClass?: never });

export type TooFew = { ok: false; code: "too-few-rows"; message: string };
export type Split<Row> = { ok: true; train: Row[]; heldout: Row[] } | TooFew;

/** What is left of a text when spacing, digits, punctuation and case are ignored; the text itself where that is nothing. */
export function lettersOf(text: string): string {
  return text.toLowerCase().replace(/\P{L}+/gu, "") || text;
}

/**
 * Holds out rows of each class, the ones whose SHA-256(seed, key) is smallest, in that order (so any prefix is a fair sample). Held-out
 * rows have distinct keys; a row that is left but shares a key with one of them is in neither part. By share, each class keeps a text to
 * train on. Throws a RangeError where a number or a label is out of range.
 */
export function splitHeldout<Row extends Splittable>(rows: readonly Row[], request: SplitRequest<Row>): Split<Row> {
  const { classes, heldoutPerClass, heldoutShare } = request;
  const ranked = rank(rows, request);
  const distinct = heldoutShare === undefined ? [] : distinctOf(ranked, classes);
  const lonely = distinct.findIndex((texts) => texts < 2);
  if (lonely >= 0) return tooFew(lonely, distinct[lonely] as number, "2 that a share needs; add rows or hold out a number");
  const quotas = heldoutShare === undefined ? evenly(classes, heldoutPerClass, "heldoutPerClass", 0) : shares(distinct, heldoutShare);
  const { picked, short } = pick(ranked, quotas);
  if (short >= 0) return tooFew(short, countOf(picked, short), `${quotas[short]} to hold out; add rows or hold out fewer`);
  const taken = new Set(picked.map((each) => each.rank));
  const left = new Set(ranked.filter((each) => !taken.has(each.rank)).map(({ index }) => index));
  return { ok: true, heldout: picked.map(({ row }) => row), train: rows.filter((_, index) => left.has(index)) };
}

interface Ranked<Row> {
  row: Row;
  index: number;
  label: number;
  /** SHA-256(seed, key) in hex: equal keys have equal ranks. */
  rank: string;
}

/** Rows by rank; rows of one key in their own order. */
function rank<Row extends Splittable>(rows: readonly Row[], { seed, classes, keyOf }: Draw<Row>): Ranked<Row>[] {
  const ranked = rows.map((row, index) => {
    const { text, label = 0 } = row;
    if (!Number.isInteger(label) || label < 0 || label >= classes)
      throw new RangeError(`row ${index} has label ${label}; it must be 0 to ${classes - 1}`);
    const key = keyOf ? keyOf(text ?? "", row) : text === undefined ? fieldsOf(row) : lettersOf(text);
    return { row, index, label, rank: createHash("sha256").update(`${seed}\n${key}`).digest("hex") };
  });
  return ranked.sort((one, other) => (one.rank < other.rank ? -1 : one.rank > other.rank ? 1 : 0));
}

function fieldsOf(row: Splittable): string {
  return JSON.stringify({ ...row, label: undefined, at: undefined });
}

/** The first rows of distinct keys, as many of each class as its quota; `short` is the first class that has too few, or -1. */
function pick<Row>(ranked: readonly Ranked<Row>[], quotas: readonly number[]): { picked: Ranked<Row>[]; short: number } {
  const left = [...quotas];
  const taken = new Set<string>();
  const picked = ranked.filter(({ label, rank }) => {
    const wanted = left[label] as number;
    if (wanted === 0 || taken.has(rank)) return false;
    left[label] = wanted - 1;
    taken.add(rank);
    return true;
  });
  return { picked, short: left.findIndex((wanted) => wanted > 0) };
}

function evenly(classes: number, quota: number | undefined, name: string, least: number): number[] {
  if (quota === undefined || !Number.isInteger(quota) || quota < least)
    throw new RangeError(`${name} is ${quota}; it must be a whole number from ${least}`);
  return new Array<number>(classes).fill(quota);
}

function shares(distinct: readonly number[], share: number): number[] {
  if (!(share > 0 && share < 1)) throw new RangeError(`heldoutShare is ${share}; it must be more than 0 and less than 1`);
  return distinct.map((texts) => Math.min(texts - 1, Math.max(1, Math.round(texts * share))));
}

/** How many distinct keys each class has. */
function distinctOf<Row>(ranked: readonly Ranked<Row>[], classes: number): number[] {
  const keys = Array.from({ length: classes }, () => new Set<string>());
  for (const { label, rank } of ranked) keys[label]?.add(rank);
  return keys.map(({ size }) => size);
}

function countOf<Row>(picked: readonly Ranked<Row>[], label: number): number {
  return picked.filter((each) => each.label === label).length;
}

function tooFew(label: number, found: number, need: string): TooFew {
  return { ok: false, code: "too-few-rows", message: `class ${label} has ${found} distinct texts, fewer than the ${need}` };
}
