/**
 * Records from CSV and TSV with a header. Every cell is text, an empty one "". A quoted cell may hold delimiters, line ends and doubled
 * quotes (RFC 4180). Empty lines are no rows: the empty text of a file with one column is written "".
 */
import { isUtf8 } from "node:buffer";
import { pipeline } from "node:stream/promises";
import { CsvError, parse } from "csv-parse";
import {
  COLUMNS_MAX,
  type Collection,
  collect,
  listed,
  quoted,
  type Reading,
  type Records,
  refused,
  tooLong,
  VALUE_CHARACTERS_MAX,
  type Value,
} from "./collect.ts";
import { bytesOf, NOT_UTF8 } from "./lines.ts";

export type Delimiter = "," | ";" | "\t";

export interface CsvOptions {
  delimiter: Delimiter;
  /** Whether cells may be quoted. Without, a quote is a character like any other, and no cell holds a delimiter or a line end. */
  quotes: boolean;
}

/** Ends the parser once reading on is of no use. */
const ENOUGH = new Error("enough has been read");
/** Characters of UTF-16 are at most three bytes of UTF-8, so a cell beyond this is too long whatever it holds. */
const CELL_BYTES_MAX = 3 * VALUE_CHARACTERS_MAX;
const LINE_FEED = 10;

/**
 * Reads a CSV file; `at` is `file:line` of a row's first line. A row with another number of cells than the header is a fault, as is a named
 * column that the header lacks or has twice. A fault in quoting ends the reading: nothing behind it has a certain place. Throws Node's
 * errors where the file cannot be read.
 */
export async function readCsv(file: string, { columns, rowsMax }: Reading, { delimiter, quotes }: CsvOptions): Promise<Records> {
  const collection = collect(file, rowsMax);
  const lines = lineCounter();
  let header: Header | undefined;
  let cells: string[] = []; // of the row that is being read, which begins on this line
  let rowLine = 1;
  let cellFrom = 0; // the offset of the cell that is being read
  let isEmptyLine = false;

  const nameOf = (index: number) => header?.names[index] || `column ${index + 1}`;
  const takeCell = (bytes: Uint8Array, to: number) => {
    const line = lines.at(cellFrom);
    if (cells.length === 0) rowLine = line;
    if (cells.length >= COLUMNS_MAX) throw new TooWide();
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
    if (!isUtf8(bytes)) collection.fault(line, nameOf(cells.length), NOT_UTF8);
    else if (text.length > VALUE_CHARACTERS_MAX) collection.fault(line, nameOf(cells.length), tooLong(text.length));
    cells.push(text);
    isEmptyLine = cells.length === 1 && to === cellFrom;
    cellFrom = to + 1;
  };
  const takeRow = (end: number) => {
    const row = cells;
    cells = [];
    cellFrom = end;
    if (isEmptyLine) return;
    if (header === undefined) header = headerOf(row, rowLine, columns, delimiter, collection);
    else if (row.length === header.names.length) collection.add(rowLine, valuesOf(row, header));
    else collection.fault(rowLine, nameOf(Math.min(row.length, header.names.length)), wrongWidth(row.length, header, delimiter));
    if (header === undefined || collection.isFull()) throw ENOUGH;
  };

  const parser = parse({
    delimiter,
    quote: quotes ? '"' : null,
    encoding: null, // cells come as bytes: the parser's own decoding would hide what is not UTF-8
    record_delimiter: ["\r\n", "\n"],
    relax_column_count: true,
    max_record_size: CELL_BYTES_MAX,
    cast: (bytes, { bytes: to }) => takeCell(bytes as unknown as Uint8Array, to),
    on_record: (_, { bytes: end }) => {
      takeRow(end);
      return null; // kept here, not in the parser's stream
    },
  });
  try {
    await pipeline(bytesOf(file), lines.count, parser.resume());
  } catch (cause) {
    if (cause instanceof TooWide) return refused("records-too-large", `${file}:${rowLine}: ${cause.message}`);
    if (cause instanceof CsvError) collection.fault(lines.at(cellFrom), nameOf(cells.length), faultOf(cause, delimiter));
    else if (cause !== ENOUGH) throw cause;
  }
  return collection.result("a header and rows");
}

class TooWide extends Error {
  constructor() {
    super(`has more than ${COLUMNS_MAX} columns; at most that many are allowed; keep many numbers as one JSON list in a cell`);
  }
}

/** Tells the line of an offset; offsets are asked for in ascending order, and behind the bytes that have been counted. */
function lineCounter() {
  let breaks: number[] = []; // offsets of line feeds whose line has not been passed yet
  let passed = 0;
  let line = 1;
  let offset = 0;
  return {
    async *count(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        breaks = breaks.slice(passed);
        passed = 0;
        for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) breaks.push(offset + at);
        offset += chunk.length;
        yield chunk;
      }
    },
    at(target: number): number {
      for (; (breaks[passed] ?? Number.POSITIVE_INFINITY) < target; passed++) line++;
      return line;
    },
  };
}

interface Header {
  names: string[];
  /** Of the columns that are read: name and index. */
  read: [string, number][];
}

/** The header, or undefined where it is at fault. */
function headerOf(
  names: string[],
  line: number,
  columns: readonly string[] | undefined,
  delimiter: Delimiter,
  collection: Collection,
): Header | undefined {
  const has = `the header has ${listed(names)}${names.length === 1 ? `, cut at ${quoted(delimiter)}` : ""}`;
  const faults = (columns ?? names).flatMap((name, index): [string, string][] => {
    const times = names.filter((other) => other === name).length;
    if (name === "") return [[`column ${index + 1}`, "has no name; name it, or name the columns to read"]];
    if (times === 0) return [[name, `is no column; ${has}`]];
    return times > 1 && (columns ?? names).indexOf(name) === index ? [[name, `is the name of ${times} columns; rename all but one`]] : [];
  });
  for (const [column, what] of faults) collection.fault(line, column, what);
  return faults.length > 0 ? undefined : { names, read: (columns ?? names).map((name) => [name, names.indexOf(name)]) };
}

function valuesOf(row: readonly string[], { read }: Header): Record<string, Value> {
  // As entries, because assigning to "__proto__" would not make a column.
  return Object.fromEntries(read.map(([name, index]) => [name, row[index] as string]));
}

function wrongWidth(cells: number, { names }: Header, delimiter: Delimiter): string {
  return `the row has ${cells} cells, the header ${names.length}; quote a cell that holds ${quoted(delimiter)}, complete the row`;
}

/** What the parser's fault means for whoever wrote the file. */
function faultOf({ code, message }: CsvError, delimiter: Delimiter): string {
  if (code === "INVALID_OPENING_QUOTE")
    return 'has a quote inside a cell that does not begin with one; quote the cell and double the quote (""), or read without quotes';
  if (code === "CSV_INVALID_CLOSING_QUOTE")
    return `has a quote that is followed by neither ${quoted(delimiter)} nor a line end; double it (""), or read without quotes`;
  if (code === "CSV_QUOTE_NOT_CLOSED") return 'begins with a quote that is never closed; close it, double it (""), or read without quotes';
  if (code === "CSV_MAX_RECORD_SIZE")
    return `has more than ${VALUE_CHARACTERS_MAX} characters; close its quote, check the delimiter ${quoted(delimiter)}, or shorten it`;
  return `cannot be parsed (${message}); write the file as RFC 4180 says`;
}
