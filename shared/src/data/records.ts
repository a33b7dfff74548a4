/**
 * Reads a file of training data, whatever its format, as records that know their place. The file comes from whoever creates a job; it is
 * read as it is or refused, with the places of its first faults.
 */
import { extname } from "node:path";
import { type DataRecord, type Records, ROWS_MAX, refused } from "./collect.ts";
import { type Delimiter, readCsv } from "./csv.ts";
import { readJsonl } from "./jsonl.ts";
import { readParquet } from "./parquet.ts";
import { readText, type TextUnit } from "./text.ts";

export type { DataRecord, Records };

export type RecordFormat = "jsonl" | "csv" | "tsv" | "parquet" | "text";

export interface ReadOptions {
  /** Default: what the file's extension says. */
  format?: RecordFormat;
  /** The columns to read, all of which must be there; the others are not looked at. Default: all. */
  columns?: readonly string[];
  /** Between cells. Default: "," of CSV, a tab of TSV. */
  delimiter?: Delimiter;
  /** Whether cells of CSV and TSV may be quoted. Default: true. */
  quotes?: boolean;
  /** What becomes a record of plain text. Default: each line. */
  by?: TextUnit;
  /** Refuse a file of more rows, 1 to ROWS_MAX. Default: ROWS_MAX. */
  rowsMax?: number;
}

const FORMATS: Record<string, RecordFormat> = {
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".csv": "csv",
  ".tsv": "tsv",
  ".parquet": "parquet",
  ".txt": "text",
};

/**
 * All records of a file, in its order, with at least one; each format's reader says what becomes a record. Errors are values:
 * `records-unreadable` (the file), `records-unsupported` (format, type or compression), `records-malformed` (at most five faults, each
 * `file:line: column: what`), `records-too-large` (rows, columns), `records-empty`. Throws a RangeError where rowsMax is out of range.
 */
export async function readRecords(file: string, options: ReadOptions = {}): Promise<Records> {
  const { columns, delimiter, quotes = true, by = "line", rowsMax = ROWS_MAX } = options;
  if (!Number.isInteger(rowsMax) || rowsMax < 1 || rowsMax > ROWS_MAX)
    throw new RangeError(`rowsMax is ${rowsMax}; it must be 1 to ${ROWS_MAX}`);
  const extension = extname(file).toLowerCase();
  const format = options.format ?? FORMATS[extension];
  if (format === undefined) {
    const known = Object.keys(FORMATS).join(", ");
    return refused("records-unsupported", `${file}: its extension is "${extension}", none of ${known}; convert it, or give its format`);
  }
  const reading = { columns, rowsMax };
  try {
    if (format === "jsonl") return await readJsonl(file, reading);
    if (format === "parquet") return await readParquet(file, reading);
    if (format === "text") return await readText(file, reading, by);
    return await readCsv(file, reading, { delimiter: delimiter ?? (format === "tsv" ? "\t" : ","), quotes });
  } catch (cause) {
    if (!(cause instanceof Error) || !("syscall" in cause)) throw cause;
    return refused("records-unreadable", `${file}: cannot be read (${cause.message}); check the path`);
  }
}
