/**
 * What the readers of data files share: the shape of a record, the limits of its values, and how a file or a record is refused.
 * A malformed row is never skipped or guessed at: a reader says where it is, and goes on only to find a few more.
 */
import { EXAMPLES_COUNT_MAX } from "./examples.ts";

export type Value = string | number | boolean | null | number[];

export interface DataRecord {
  /** By column. Look one up with `valueIn`: the names are the file's, "constructor" may be one. */
  values: Record<string, Value>;
  /** `file:line` where it begins; `file:row` in Parquet. Both count from 1. */
  at: string;
}

/** Rows of one file, columns of one file, and the length of one value. */
export const ROWS_MAX = EXAMPLES_COUNT_MAX;
export const COLUMNS_MAX = 1_000;
export const VALUE_CHARACTERS_MAX = 1_000_000;
export const VALUE_NUMBERS_MAX = 1_000_000;
/** So many faults are worth reading at once; the rest are most likely the same fault again. */
const FAULTS_SHOWN_MAX = 5;
const NAMES_SHOWN_MAX = 10;
const QUOTED_CHARACTERS_MAX = 40;

export type RecordsCode = "records-unreadable" | "records-unsupported" | "records-malformed" | "records-too-large" | "records-empty";
export type Refused = { ok: false; code: RecordsCode; message: string };
export type Records = { ok: true; records: DataRecord[] } | Refused;

/** One cell of a record, read as what a task needs. */
export type Cell<T> = { ok: true; value: T } | Refused;

export interface Reading {
  /** The columns to read; the others are not looked at. All of them must be there. Default: every column. */
  columns?: readonly string[] | undefined;
  /** At most this many rows, 1 to ROWS_MAX. */
  rowsMax: number;
}

export interface Collection {
  add(place: number, values: Record<string, Value>): void;
  /** `column` is null where a fault is the whole row's. */
  fault(place: number, column: string | null, what: string): void;
  /** Whether reading on is of no use: there are more faults than are shown, or more rows than are allowed. */
  isFull(): boolean;
  /** All records, or why there are none; `expected` says what an empty file should hold. */
  result(expected: string): Records;
}

/** Gathers the records and the faults of one file. */
export function collect(file: string, rowsMax: number): Collection {
  const records: DataRecord[] = [];
  const faults: string[] = [];
  return {
    add: (place, values) => records.push({ values, at: `${file}:${place}` }),
    fault: (place, column, what) => faults.push(faultOf(`${file}:${place}`, column, what)),
    isFull: () => faults.length > FAULTS_SHOWN_MAX || records.length > rowsMax,
    result: (expected) => {
      if (faults.length > 0) return malformed(faults);
      if (records.length > rowsMax) return refused("records-too-large", `${file}: has more than ${rowsMax} rows; split it`);
      if (records.length === 0) return refused("records-empty", `${file}: has no rows; it needs ${expected}`);
      return { ok: true, records };
    },
  };
}

export function refused(code: RecordsCode, message: string): Refused {
  return { ok: false, code, message };
}

/** Faults as one refusal, the first few of them shown. */
export function malformed(faults: readonly string[], code: RecordsCode = "records-malformed"): Refused {
  const shown = faults.slice(0, FAULTS_SHOWN_MAX);
  return refused(code, [...shown, ...(faults.length > shown.length ? ["... and more"] : [])].join("\n"));
}

/** A refusal of one cell of a record. */
export function badCell(record: DataRecord, column: string, what: string): Refused {
  return refused("records-malformed", faultOf(record.at, column, what));
}

function faultOf(at: string, column: string | null, what: string): string {
  return column === null ? `${at}: ${what}` : `${at}: ${column}: ${what}`;
}

/** Whether enough faults have been found that the rest need not be looked for. */
export function areEnough(faults: readonly string[]): boolean {
  return faults.length > FAULTS_SHOWN_MAX;
}

/** The value of a column, or undefined where the record has none. */
export function valueIn({ values }: DataRecord, column: string): Value | undefined {
  return Object.hasOwn(values, column) ? values[column] : undefined;
}

/** What a file holds in one place as a value, or what is wrong with it. Integers of 64 bits become numbers where no digit is lost. */
export function valueFrom(raw: unknown): { ok: true; value: Value } | { ok: false; what: string } {
  if (typeof raw === "string") {
    if (raw.length > VALUE_CHARACTERS_MAX) return { ok: false, what: tooLong(raw.length) };
    if (!raw.isWellFormed()) return { ok: false, what: "holds half of a surrogate pair, which is no character; remove it" };
    return { ok: true, value: raw };
  }
  if (raw === null || typeof raw === "boolean") return { ok: true, value: raw };
  if (typeof raw === "number" || typeof raw === "bigint") return numberFrom(raw);
  if (!Array.isArray(raw) && !ArrayBuffer.isView(raw)) return { ok: false, what: `is a structure; ${VALUES_EXPECTED}` };
  const list = Array.from(raw as ArrayLike<unknown>);
  if (list.length > VALUE_NUMBERS_MAX)
    return { ok: false, what: `has ${list.length} numbers; at most ${VALUE_NUMBERS_MAX} are allowed; shorten it` };
  const value: number[] = [];
  for (const [index, each] of list.entries()) {
    const number = typeof each === "number" || typeof each === "bigint" ? numberFrom(each) : undefined;
    if (number === undefined) return { ok: false, what: `holds ${quoted(each)} at index ${index}; a list may hold numbers alone` };
    if (!number.ok) return { ok: false, what: `index ${index} ${number.what}` };
    value.push(number.value);
  }
  return { ok: true, value };
}

const VALUES_EXPECTED = "a value is text, a number, true, false, null or a list of numbers; flatten it, or name the columns to read";

function numberFrom(raw: number | bigint): { ok: true; value: number } | { ok: false; what: string } {
  const value = Number(raw);
  if (typeof raw === "bigint" && !Number.isSafeInteger(value))
    return { ok: false, what: `is ${raw}, beyond the integers up to 2^53 - 1 that keep their digits; store it as text` };
  if (!Number.isFinite(value)) return { ok: false, what: `is ${value}; a number must be finite; remove the row or store null` };
  return { ok: true, value };
}

export function tooLong(characters: number): string {
  return `has ${characters} characters; at most ${VALUE_CHARACTERS_MAX} are allowed; shorten or split it`;
}

/** The columns of a file for a message. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN_MAX).map((name) => quoted(name));
  return [...shown, ...(names.length > shown.length ? [`${names.length - shown.length} more`] : [])].join(", ") || "none";
}

/** A value for a message: quoted, so that blanks are seen, and cut. */
export function quoted(value: unknown): string {
  if (typeof value === "string" && value.length > QUOTED_CHARACTERS_MAX)
    return `${JSON.stringify(value.slice(0, QUOTED_CHARACTERS_MAX))}...`;
  const text = typeof value === "bigint" ? `${value}` : (JSON.stringify(value) ?? "nothing");
  return text.length > 2 * QUOTED_CHARACTERS_MAX ? `${text.slice(0, 2 * QUOTED_CHARACTERS_MAX)}...` : text;
}
