/**
 * Records from Parquet, one row group at a time and of it the named columns alone. Strings, booleans, integers, floats, decimals and lists
 * of numbers are read. What has no plain value (times, structures, maps) is refused by the schema, before any data is read.
 */
import { isUtf8 } from "node:buffer";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type CompressionCodec,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
  type RowGroup,
  type SchemaTree,
} from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import {
  COLUMNS_MAX,
  type Collection,
  collect,
  listed,
  malformed,
  type Reading,
  type Records,
  refused,
  type Value,
  valueFrom,
} from "./collect.ts";
import { NOT_UTF8 } from "./lines.ts";

/** Stands for a string that is not UTF-8: where it is decoded its row is not known yet. */
const BROKEN_TEXT = Symbol("not UTF-8");
const textFrom = (bytes: Uint8Array | undefined) =>
  bytes && (isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8") : BROKEN_TEXT);
const PARSERS = { stringFromBytes: textFrom, jsonFromBytes: textFrom };

/** Node's own, held to the size that the page's header says. hyparquet brings SNAPPY. */
const COMPRESSORS: Compressors = {
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: Math.max(1, length) }),
  ZSTD: (input, length) => zstdDecompressSync(input, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(1, length) }),
};
const CODECS: readonly CompressionCodec[] = ["UNCOMPRESSED", "SNAPPY", ...(Object.keys(COMPRESSORS) as CompressionCodec[])];

/**
 * Reads a Parquet file; `at` is `file:row`, rows counted from 1. A missing value is null. Throws Node's errors where the file cannot be
 * read.
 */
export async function readParquet(file: string, { columns, rowsMax }: Reading): Promise<Records> {
  const buffer = await asyncBufferFromFile(file);
  const opened = await attempt(() => parquetMetadataAsync(buffer, { geoparquet: false }));
  if (!opened.ok) return refused("records-malformed", `${file}: is not a Parquet file that can be read (${opened.why}); write it again`);
  const metadata = opened.value;
  const schema = parquetSchema(metadata).children;
  const names = schema.map(({ element }) => element.name);
  if (names.length > COLUMNS_MAX)
    return refused(
      "records-too-large",
      `${file}: has ${names.length} columns; at most ${COLUMNS_MAX} are allowed; keep many numbers as a list`,
    );
  if (Number(metadata.num_rows) > rowsMax)
    return refused("records-too-large", `${file}: has ${metadata.num_rows} rows; at most ${rowsMax} are allowed; split it`);
  const grouped = metadata.row_groups.reduce((sum, { num_rows }) => sum + Number(num_rows), 0);
  if (grouped !== Number(metadata.num_rows))
    return refused("records-malformed", `${file}: says that it has ${metadata.num_rows} rows and lists ${grouped}; write it again`);
  const wanted = [...new Set(columns ?? names)];
  const faults = wanted.flatMap((name) => columnFault(name, schema, metadata) ?? []);
  if (faults.length > 0)
    return malformed(
      faults.map(({ what }) => `${file}: ${what}`),
      faults[0]?.code,
    );

  const collection = collect(file, rowsMax);
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    const read = await attempt(async () => {
      await checkPages(buffer, group, wanted);
      return rowsOf(buffer, metadata, wanted, rowStart, rowEnd);
    });
    if (!read.ok) {
      collection.fault(rowStart + 1, null, `the rows up to ${rowEnd} cannot be decoded (${read.why}); write the file again`);
      break;
    }
    takeRows(read.value, rowStart, wanted, collection);
    rowStart = rowEnd;
    if (collection.isFull()) break;
  }
  return collection.result("at least one row");
}

/** Throws where a page's header lacks a length or leads out of its column: hyparquet would read such a page for ever. */
async function checkPages(file: AsyncBuffer, { columns }: RowGroup, wanted: readonly string[]): Promise<void> {
  for (const { meta_data } of columns) {
    if (meta_data === undefined || !wanted.includes(meta_data.path_in_schema[0] ?? "")) continue;
    const start = Number(meta_data.dictionary_page_offset || meta_data.data_page_offset);
    const bytes = await file.slice(start, start + Number(meta_data.total_compressed_size));
    const reader = { view: new DataView(bytes), offset: 0 };
    while (reader.offset < bytes.byteLength - 1) {
      const { uncompressed_page_size, compressed_page_size, data_page_header_v2: levels } = parquetHeader(reader);
      const lengths = [uncompressed_page_size, compressed_page_size];
      if (levels) lengths.push(levels.definition_levels_byte_length, levels.repetition_levels_byte_length);
      if (!lengths.every((length) => Number.isInteger(length) && length >= 0)) throw new Error("a page has no length");
      reader.offset += compressed_page_size;
      if (reader.offset > bytes.byteLength) throw new Error("a page is longer than its column");
    }
  }
}

/** The cells of a row group's rows, in the order of the columns. */
function rowsOf(file: AsyncBuffer, metadata: FileMetaData, columns: string[], rowStart: number, rowEnd: number): Promise<unknown[][]> {
  return new Promise((resolve, reject) => {
    const rest = { file, metadata, columns, rowStart, rowEnd, compressors: COMPRESSORS, parsers: PARSERS };
    parquetRead({ ...rest, rowFormat: "array", onComplete: resolve }).catch(reject);
  });
}

function takeRows(rows: readonly unknown[][], rowStart: number, columns: readonly string[], collection: Collection): void {
  for (const [index, row] of rows.entries()) {
    const entries: [string, Value][] = [];
    for (const [at, column] of columns.entries()) {
      const raw = row[at];
      const read = raw === BROKEN_TEXT ? { ok: false as const, what: NOT_UTF8 } : raw === undefined ? DAMAGED : valueFrom(raw);
      if (read.ok) entries.push([column, read.value]);
      else collection.fault(rowStart + index + 1, column, read.what);
    }
    if (entries.length === columns.length) collection.add(rowStart + index + 1, Object.fromEntries(entries));
    if (collection.isFull()) return;
  }
}

const DAMAGED = { ok: false as const, what: "is missing from the row's group: the file is damaged; write it again" };

const READABLE = "text, booleans, numbers and lists of numbers can be read: convert it, or name the columns to read";

/** Why a column cannot be read, or undefined where it can. */
function columnFault(
  name: string,
  schema: readonly SchemaTree[],
  { row_groups }: FileMetaData,
): { code: "records-malformed" | "records-unsupported"; what: string } | undefined {
  const [column, ...others] = schema.filter(({ element }) => element.name === name);
  const names = schema.map(({ element }) => element.name);
  if (column === undefined) return { code: "records-malformed", what: `${name}: is no column; the file has ${listed(names)}` };
  if (others.length > 0) return { code: "records-malformed", what: `${name}: is the name of several columns; rename all but one` };
  const type = unreadable(column);
  if (type !== undefined) return { code: "records-unsupported", what: `${name}: has the type ${type}; ${READABLE}` };
  const chunks = row_groups.flatMap((group) => group.columns.filter(({ meta_data }) => meta_data?.path_in_schema[0] === name));
  const codec = chunks.map(({ meta_data }) => meta_data?.codec).find((each) => each !== undefined && !CODECS.includes(each));
  if (codec === undefined) return undefined;
  return { code: "records-unsupported", what: `${name}: is compressed with ${codec}; write the file with one of ${CODECS.join(", ")}` };
}

/** Annotations under which a primitive type is read as it is, as hyparquet decodes it. A decimal without the older one is not scaled. */
const PLAIN = /^(U?INT_(8|16|32|64)|INTEGER|NULL|UTF8|STRING|ENUM|JSON)$/;

/** The name of a type that has no plain value, or undefined. Of lists, those of three levels that all writers of today make are read. */
function unreadable({ element, children }: SchemaTree): string | undefined {
  const annotation = element.converted_type ?? element.logical_type?.type;
  if (children.length > 0) {
    const [repeated] = children;
    const item = repeated?.children[0];
    const isList = element.converted_type === "LIST" && repeated?.element.repetition_type === "REPEATED";
    if (!isList || item === undefined || item.children.length > 0 || children.length + repeated.children.length !== 2)
      return annotation ?? "STRUCT";
    return isNumeric(item) && unreadable(item) === undefined ? undefined : `LIST of ${unreadable(item) ?? item.element.type}`;
  }
  if (element.repetition_type === "REPEATED") return `REPEATED ${element.type}`;
  if (element.converted_type === "DECIMAL") return undefined;
  if (element.type === "FIXED_LEN_BYTE_ARRAY" && (annotation === "FLOAT16" || annotation === "UUID")) return undefined;
  const isPlain = annotation === undefined || PLAIN.test(annotation);
  if (isPlain && element.type !== "FIXED_LEN_BYTE_ARRAY" && element.type !== "INT96") return undefined;
  return annotation ?? element.type;
}

function isNumeric({ element: { type, converted_type, logical_type } }: Pick<SchemaTree, "element">): boolean {
  if (converted_type === "DECIMAL" || logical_type?.type === "FLOAT16") return true;
  return type === "INT32" || type === "INT64" || type === "FLOAT" || type === "DOUBLE";
}

/** What hyparquet makes of bytes, or why it cannot: it throws at whatever it did not expect. What Node says of the file itself goes on. */
async function attempt<T>(decode: () => Promise<T>): Promise<{ ok: true; value: T } | { ok: false; why: string }> {
  try {
    return { ok: true, value: await decode() };
  } catch (cause) {
    if (cause instanceof Error && "syscall" in cause) throw cause;
    return { ok: false, why: cause instanceof Error ? cause.message : `${cause}` };
  }
}
