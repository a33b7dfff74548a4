/**
 * Sets examples aside for measuring, once and for all: the same rows and seed give the same split on every machine.
 * A text never stands on both sides, nor does another text with its key.
 */
import { createHash } from "node:crypto";

export interface SplitRequest {
  /** Any text; another seed gives another split. */
  seed: string;
  classes: number;
  /** How many rows of each class to hold out. */
  heldoutPerClass: number;
  /** Texts with equal keys count as duplicates. Default: letters only, lower case. */
  keyOf?: (text: string) => string;
}

export type Split<Row> = { ok: true; train: Row[]; heldout: Row[] } | { ok: false; code: "too-few-rows"; message: string };

/** What is left of a text when spacing, digits, punctuation and case are ignored; the text itself where that is nothing. */
export function lettersOf(text: string): string {
  return text.toLowerCase().replace(/\P{L}+/gu, "") || text;
}

/**
 * Holds out `heldoutPerClass` rows of each class, the ones whose SHA-256(seed, key) is smallest, in that order (so any prefix is a fair
 * sample). Held-out rows have distinct keys; a row that is left but shares a key with one of them is in neither part.
 */
export function splitHeldout<Row extends { text: string; label: number }>(rows: readonly Row[], request: SplitRequest): Split<Row> {
  const keyOf = request.keyOf ?? lettersOf;
  const ranked = rows
    .map((row) => ({
      row,
      rank: createHash("sha256")
        .update(`${request.seed}\n${keyOf(row.text)}`)
        .digest("hex"),
    }))
    .sort((one, other) => (one.rank < other.rank ? -1 : one.rank > other.rank ? 1 : 0));
  const wanted = new Array<number>(request.classes).fill(request.heldoutPerClass);
  const taken = new Set<string>();
  const heldout: Row[] = [];
  for (const { row, rank } of ranked) {
    const left = wanted[row.label] ?? 0;
    if (left === 0 || taken.has(rank)) continue;
    wanted[row.label] = left - 1;
    taken.add(rank);
    heldout.push(row);
  }
  const short = wanted.findIndex((left) => left > 0);
  if (short >= 0) {
    const found = request.heldoutPerClass - (wanted[short] as number);
    const message = `class ${short} has ${found} distinct texts, fewer than the ${request.heldoutPerClass} to hold out; add rows or hold out fewer`;
    return { ok: false, code: "too-few-rows", message };
  }
  const ranks = new Map(ranked.map(({ row, rank }) => [row, rank]));
  return { ok: true, heldout, train: rows.filter((row) => !taken.has(ranks.get(row) as string)) };
}
