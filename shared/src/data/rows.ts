/**
 * Records as the rows that a task needs: each field read from its column by `textOf`, `labelOf`, `numberOf`, `numbersOf`, or from a
 * template (`render`). A cell that is not exactly that is a fault with its place; nothing is trimmed, rounded or filled in.
 */
import { areEnough, badCell, type Cell, type DataRecord, malformed, quoted, type Refused, refused, valueIn } from "./collect.ts";
import { CLASSES_MAX } from "./examples.ts";
import { textIn } from "./template.ts";

export type Reader<T> = (record: DataRecord) => Cell<T>;

/** A column as text that is not blank. Numbers and booleans are taken as JavaScript writes them. */
export function textOf(column: string): Reader<string> {
  return (record) => {
    const read = textIn(record, column);
    if (read.ok && !/\S/.test(read.value)) return badCell(record, column, "is blank; a text was expected: fill it in or remove the row");
    return read;
  };
}

const INDEX = /^(0|[1-9]\d*)$/;

/**
 * A column as a class, the index in `labels` (`labelsIn` finds them). A cell is one of the names, case-sensitive; where no name is a whole
 * number, a cell may also be the index itself. Throws a RangeError where two labels are equal.
 */
export function labelOf(column: string, labels: readonly string[]): Reader<number> {
  const indices = new Map(labels.map((name, index) => [name, index]));
  if (indices.size !== labels.length) throw new RangeError("two labels are equal");
  if (!labels.some((name) => INDEX.test(name))) for (const index of labels.keys()) indices.set(`${index}`, index);
  return (record) => {
    const read = textIn(record, column);
    if (!read.ok) return read;
    const value = indices.get(read.value);
    if (value === undefined) return badCell(record, column, `${quoted(valueIn(record, column))} is no label; ${expectation(labels)}`);
    return { ok: true, value };
  };
}

function expectation(labels: readonly string[]): string {
  const shown = labels.slice(0, 10).map((name) => quoted(name));
  return `the ${labels.length} labels are ${shown.join(", ")}${labels.length > shown.length ? ", ..." : ""}`;
}

/**
 * The labels of a column. `given` ones are checked and returned. Else, where every cell is a whole number from 0, they are "0", "1", ... up
 * to the largest, each of which must occur; and where none is, they are the names that occur, sorted by UTF-16 code units. Refused are a
 * mixture, names that differ only in case or spaces around them, blank ones, and more than CLASSES_MAX.
 */
export function labelsIn(
  records: readonly DataRecord[],
  column: string,
  given?: readonly string[],
): { ok: true; labels: string[] } | Refused {
  const found = given === undefined ? namesIn(records, column) : { ok: true as const, names: [...given] };
  if (!found.ok) return found;
  const { names } = found;
  const refusal = (what: string) => refused("records-malformed", `${column}: ${what}`);
  if (names.length < 1 || names.length > CLASSES_MAX)
    return refusal(`has ${countOf(names.length)}; 1 to ${CLASSES_MAX} labels are possible`);
  const blank = names.find((name) => !/\S/.test(name));
  if (blank !== undefined) return refusal(`${quoted(blank)} is a label; a label must not be blank: name it`);
  if (given !== undefined) {
    const seen = new Set<string>();
    const twice = names.find((name) => seen.size === seen.add(name).size);
    return twice === undefined ? { ok: true, labels: names } : refusal(`the label ${quoted(twice)} is given twice; give each once`);
  }
  const numbers = names.filter((name) => INDEX.test(name));
  const other = names.find((name) => !INDEX.test(name));
  if (other === undefined) return wholeLabels(numbers, refusal);
  if (numbers.length > 0) return refusal(`holds whole numbers, as ${numbers[0]}, and other labels, as ${quoted(other)}; give the labels`);
  const alike = new Map<string, string>();
  for (const name of names) {
    const twin = alike.get(name.trim().toLowerCase());
    if (twin !== undefined)
      return refusal(`${quoted(twin)} and ${quoted(name)} differ only in case or spaces; make them one, or give the labels`);
    alike.set(name.trim().toLowerCase(), name);
  }
  return { ok: true, labels: names.sort() };
}

/** "0", "1", ... where each of them occurs. */
function wholeLabels(numbers: readonly string[], refusal: (what: string) => Refused): { ok: true; labels: string[] } | Refused {
  const known = new Set(numbers);
  const missing = numbers.findIndex((_, index) => !known.has(`${index}`));
  if (missing < 0) return { ok: true, labels: numbers.map((_, index) => `${index}`) };
  return refusal(`has ${numbers.length} labels, and ${missing} is not among them; labels count from 0 without a gap, or give the labels`);
}

/** The distinct cells of a label column, in the order of their first. */
function namesIn(records: readonly DataRecord[], column: string): { ok: true; names: string[] } | Refused {
  const names = new Set<string>();
  const faults: string[] = [];
  for (const record of records) {
    const value = valueIn(record, column);
    const read = textIn(record, column);
    if (!read.ok) faults.push(read.message);
    else if (typeof value === "number" && !Number.isInteger(value))
      faults.push(
        badCell(record, column, `is ${value}; a label is a whole number or a name: name another column, or fit a number`).message,
      );
    else names.add(read.value);
    if (areEnough(faults) || names.size > CLASSES_MAX) break;
  }
  return faults.length > 0 ? malformed(faults) : { ok: true, names: [...names] };
}

function countOf(labels: number): string {
  return labels > CLASSES_MAX ? `more than ${CLASSES_MAX} labels` : `${labels} labels`;
}

/** Decimal digits with a point and an exponent, so that no other text that JavaScript takes for a number passes. */
const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/** A column as a finite number: a number, or decimal text of at most 64 characters. */
export function numberOf(column: string): Reader<number> {
  return (record) => {
    const read = textIn(record, column);
    if (!read.ok) return read;
    const value = read.value.length <= 64 && DECIMAL.test(read.value) ? Number(read.value) : Number.NaN;
    if (Number.isFinite(value)) return { ok: true, value };
    return badCell(record, column, `is ${quoted(valueIn(record, column))}; a finite number with a decimal point was expected, as 0.5`);
  };
}

/** A column as a list of `length` finite numbers: a list, or text that is one in JSON. */
export function numbersOf(column: string, length: number): Reader<number[]> {
  return (record) => {
    const cell = valueIn(record, column);
    const value = typeof cell === "string" ? fromJson(cell) : cell;
    if (!Array.isArray(value) || !value.every((each) => typeof each === "number" && Number.isFinite(each)))
      return badCell(record, column, `is ${quoted(cell)}; a list of ${length} finite numbers was expected, as [0.5, 1]`);
    if (value.length !== length) return badCell(record, column, `has ${value.length} numbers; ${length} were expected`);
    return { ok: true, value };
  };
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
