/**
 * Records from JSONL: one object a line, its keys the columns. Blank lines stand between records and are none.
 * Values are text, finite numbers, booleans, null and lists of numbers; what else is wanted has to be flattened by whoever wrote the file.
 */
import { COLUMNS_MAX, type Collection, collect, listed, type Reading, type Records, type Value, valueFrom } from "./collect.ts";
import { readLines } from "./lines.ts";

const EXPECTED = 'lines of JSON objects, as {"text": "...", "label": 0}';

/**
 * Reads a JSONL file; `at` is `file:line`. A named column that a row lacks is a fault of that row; without names each row has its own keys.
 * Throws Node's errors where the file cannot be read.
 */
export async function readJsonl(file: string, { columns, rowsMax }: Reading): Promise<Records> {
  const collection = collect(file, rowsMax);
  await readLines(file, collection, (text, line) => {
    if (!/\S/.test(text)) return;
    const values = valuesOf(text, line, columns, collection);
    if (values !== undefined) collection.add(line, values);
  });
  return collection.result(EXPECTED);
}

/** The values of a line, or undefined where it has faults, which the collection then has. */
function valuesOf(
  text: string,
  line: number,
  columns: readonly string[] | undefined,
  collection: Collection,
): Record<string, Value> | undefined {
  let object: unknown;
  try {
    object = JSON.parse(text);
  } catch (cause) {
    collection.fault(line, null, `is not JSON (${(cause as Error).message}); the file needs ${EXPECTED}`);
    return undefined;
  }
  if (typeof object !== "object" || object === null || Array.isArray(object)) {
    collection.fault(line, null, `is JSON but no object; the file needs ${EXPECTED}`);
    return undefined;
  }
  const keys = Object.keys(object);
  if (keys.length > COLUMNS_MAX) {
    collection.fault(line, null, `has ${keys.length} columns; at most ${COLUMNS_MAX} are allowed; keep many numbers as one list`);
    return undefined;
  }
  const entries: [string, Value][] = [];
  let isWhole = true;
  for (const column of columns ?? keys) {
    const read = Object.hasOwn(object, column)
      ? valueFrom((object as Record<string, unknown>)[column])
      : { ok: false as const, what: `is missing; the row has ${listed(keys)}` };
    if (read.ok) entries.push([column, read.value]);
    else collection.fault(line, column, read.what);
    isWhole &&= read.ok;
  }
  // As entries, because assigning to "__proto__" would not make a column.
  return isWhole ? Object.fromEntries(entries) : undefined;
}
