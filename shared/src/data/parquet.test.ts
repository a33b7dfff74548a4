import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, describe, expect, it } from "vitest";
import { COLUMNS_MAX, VALUE_CHARACTERS_MAX } from "./collect.ts";
import { readParquet } from "./parquet.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-parquet-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "rows.parquet");

type Written = Omit<Parameters<typeof parquetWriteFile>[0], "filename">;
type SchemaElement = NonNullable<Written["schema"]>[number];

async function read(written: Written, columns?: string[], rowsMax = 100) {
  parquetWriteFile({ filename: file, ...written });
  return await readAgain(columns, rowsMax);
}

async function readAgain(columns?: string[], rowsMax = 100) {
  const records = await readParquet(file, { columns, rowsMax });
  return records.ok ? records.records : records;
}

/** A file of one column `v` whose schema the writer does not guess. */
function ofType(element: Partial<SchemaElement>, data: unknown[]): Written {
  return {
    schema: [
      { name: "root", num_children: 1 },
      { name: "v", repetition_type: "OPTIONAL", ...element },
    ],
    columnData: [{ name: "v", data }],
  };
}

function ofLists(element: Partial<SchemaElement>, data: unknown[]): Written {
  const levels: SchemaElement[] = [
    { name: "root", num_children: 1 },
    { name: "v", repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    { name: "element", repetition_type: "OPTIONAL", ...element },
  ];
  return { schema: levels, columnData: [{ name: "v", data }] };
}

const valuesOf = (records: Awaited<ReturnType<typeof readAgain>>) =>
  Array.isArray(records) ? records.map(({ values }) => values.v) : records;
const at = (row: number) => `${file}:${row}`;

describe("readParquet", () => {
  it("reads text, numbers, booleans and nulls, over row groups, and counts rows from 1", async () => {
    const columnData = [
      { name: "t", data: ["a", "ü", null, "d", ""], type: "STRING" as const },
      { name: "i", data: [1n, -2n, BigInt(Number.MAX_SAFE_INTEGER), null, 5n], type: "INT64" as const },
      { name: "d", data: [0.1, 2, null, 4, 5], type: "DOUBLE" as const },
      { name: "b", data: [true, false, null, true, true], type: "BOOLEAN" as const },
      { name: "__proto__", data: [1, 2, 3, 4, 5], type: "INT32" as const },
    ];
    const records = await read({ rowGroupSize: 2, columnData });
    expect(records).toHaveLength(5);
    expect(Array.isArray(records) && records.map(({ at, values }) => [at, ...Object.entries(values).flat()])).toEqual([
      [at(1), "t", "a", "i", 1, "d", 0.1, "b", true, "__proto__", 1],
      [at(2), "t", "ü", "i", -2, "d", 2, "b", false, "__proto__", 2],
      [at(3), "t", null, "i", Number.MAX_SAFE_INTEGER, "d", null, "b", null, "__proto__", 3],
      [at(4), "t", "d", "i", null, "d", 4, "b", true, "__proto__", 4],
      [at(5), "t", "", "i", 5, "d", 5, "b", true, "__proto__", 5],
    ]);
    expect(await readAgain(["d", "t"])).toMatchObject([{ values: { d: 0.1, t: "a" } }, {}, {}, {}, {}]);
  });

  it("reads lists of numbers, empty and missing ones too", async () => {
    expect(valuesOf(await read(ofLists({ type: "FLOAT" }, [[1, 2.5], [], null, [3]])))).toEqual([[1, 2.5], [], null, [3]]);
    expect(valuesOf(await read(ofLists({ type: "INT64" }, [[1n, 2n]])))).toEqual([[1, 2]]);
    expect(await read(ofLists({ type: "INT64" }, [[1n], [0n, 2n ** 60n]]))).toMatchObject({
      message: expect.stringContaining(`${at(2)}: v: index 1 is 1152921504606846976`),
    });
    expect(await read(ofLists({ type: "DOUBLE" }, [[1, null]]))).toMatchObject({
      message: expect.stringContaining("v: holds null at index 1"),
    });
  });

  it("reads unsigned integers, decimals, half floats, JSON and identifiers", async () => {
    expect(valuesOf(await read(ofType({ type: "INT32", converted_type: "UINT_8" }, [7, 255])))).toEqual([7, 255]);
    const decimal = { type: "INT32", converted_type: "DECIMAL", scale: 2, precision: 5 } as const;
    expect(valuesOf(await read(ofType(decimal, [1.25, -2])))).toEqual([1.25, -2]);
    expect(valuesOf(await read({ columnData: [{ name: "v", data: [1.5], type: "FLOAT16" }] }))).toEqual([1.5]);
    expect(valuesOf(await read({ columnData: [{ name: "v", data: [{ a: 1 }], type: "JSON" }] }))).toEqual(['{"a":1}']);
    const id = "123e4567-e89b-12d3-a456-426614174000";
    expect(valuesOf(await read({ columnData: [{ name: "v", data: [id], type: "UUID" }] }))).toEqual([id]);
  });

  it.each([
    ["TIMESTAMP_MILLIS", { columnData: [{ name: "v", data: [new Date(0)], type: "TIMESTAMP" as const }] }],
    ["DATE", ofType({ type: "INT32", converted_type: "DATE" }, [new Date(0)])],
    ["LIST of BYTE_ARRAY", ofLists({ type: "BYTE_ARRAY", converted_type: "UTF8" }, [["a"]])],
    ["LIST of DATE", ofLists({ type: "INT32", converted_type: "DATE" }, [[new Date(0)]])],
    ["FIXED_LEN_BYTE_ARRAY", ofType({ type: "FIXED_LEN_BYTE_ARRAY", type_length: 2 }, [new Uint8Array(2)])],
    [
      "STRUCT",
      {
        schema: [
          { name: "root", num_children: 1 },
          { name: "v", repetition_type: "OPTIONAL", num_children: 1 },
          { name: "a", type: "INT32", repetition_type: "OPTIONAL" },
        ] satisfies SchemaElement[],
        columnData: [{ name: "v", data: [{ a: 1 }] }],
      },
    ],
  ])("refuses a column of type %s, unless it is not read", async (type, written) => {
    const what = `v: has the type ${type}; text, booleans, numbers and lists of numbers can be read: convert it, or name the columns to read`;
    expect(await read(written)).toEqual({ ok: false, code: "records-unsupported", message: `${file}: ${what}` });
    expect(await readAgain([])).toEqual([{ values: {}, at: at(1) }]);
  });

  it.each([
    ["GZIP", gzipSync],
    ["ZSTD", zstdCompressSync],
    ["BROTLI", brotliCompressSync],
    ["UNCOMPRESSED", undefined],
  ] as const)("reads what is compressed with %s", async (codec, compress) => {
    const data = ["hello hello hello", "world", ""];
    const compressors = compress === undefined ? {} : { [codec]: compress };
    expect(valuesOf(await read({ codec, compressors, columnData: [{ name: "v", data, type: "STRING" }] }))).toEqual(data);
  });

  it("names the remedy for another compression", async () => {
    const written: Written = { codec: "LZ4_RAW", compressors: { LZ4_RAW: (bytes) => bytes }, columnData: [{ name: "v", data: ["x"] }] };
    const message = `${file}: v: is compressed with LZ4_RAW; write the file with one of UNCOMPRESSED, SNAPPY, GZIP, ZSTD, BROTLI`;
    expect(await read(written)).toEqual({ ok: false, code: "records-unsupported", message });
  });

  it("names row and column of what is no value", async () => {
    expect(await read({ columnData: [{ name: "v", data: [1n, 2n ** 53n], type: "INT64" }] })).toMatchObject({
      code: "records-malformed",
      message: `${at(2)}: v: is 9007199254740992, beyond the integers up to 2^53 - 1 that keep their digits; store it as text`,
    });
    expect(await read({ rowGroupSize: 1, columnData: [{ name: "v", data: [0, NaN, Infinity], type: "DOUBLE" }] })).toMatchObject({
      message: expect.stringMatching(/:2: v: is NaN; .*\n.*:3: v: is Infinity; a number must be finite/),
    });
    const bytes = [Buffer.from("fine"), Buffer.from([0x61, 0xff])];
    expect(await read({ columnData: [{ name: "v", data: bytes, type: "BYTE_ARRAY" }] })).toMatchObject({
      message: `${at(2)}: v: is not UTF-8; save the file as UTF-8`,
    });
  });

  it("keeps its limits", async () => {
    const one = { name: "v", data: [1, 2, 3], type: "INT32" as const };
    expect(await read({ columnData: [one] }, ["v", "w"])).toMatchObject({ message: `${file}: w: is no column; the file has "v"` });
    expect(await read({ columnData: [one] }, undefined, 2)).toMatchObject({
      code: "records-too-large",
      message: `${file}: has 3 rows; at most 2 are allowed; split it`,
    });
    const wide = Array.from({ length: COLUMNS_MAX + 1 }, (_, index) => ({ name: `c${index}`, data: [1], type: "INT32" as const }));
    expect(await read({ columnData: wide })).toMatchObject({ code: "records-too-large", message: expect.stringContaining("1001 columns") });
    const long = [{ name: "v", data: ["x".repeat(VALUE_CHARACTERS_MAX + 1)], type: "STRING" as const }];
    expect(await read({ columnData: long })).toMatchObject({ message: expect.stringContaining(`${at(1)}: v: has 1000001 characters`) });
    expect(await read({ columnData: [{ ...one, data: [] }] })).toMatchObject({ code: "records-empty" });
  });

  it("ends with an answer whichever byte of a file is damaged", async () => {
    const data = Array.from({ length: 40 }, (_, index) => `text ${index ** 3}`);
    await read({ rowGroupSize: 20, pageSize: 100, columnData: [{ name: "v", data, type: "STRING" }] });
    const whole = readFileSync(file);
    const messages: string[] = [];
    for (const [index, byte] of whole.entries()) {
      const damaged = Buffer.from(whole);
      damaged[index] = byte ^ 0x55;
      writeFileSync(file, damaged);
      const records = await readAgain();
      if (Array.isArray(records)) expect(records).toHaveLength(40);
      else {
        expect(records.code).toBe("records-malformed");
        messages.push(records.message);
      }
    }
    for (const what of [
      "is not a Parquet file",
      "a page has no length",
      "a page is longer",
      "is missing from the row's group",
      "cannot be decoded",
    ])
      expect(messages.filter((message) => message.includes(what))).not.toEqual([]);
    for (const length of [0, 7, 100, whole.length - 1]) {
      writeFileSync(file, whole.subarray(0, length));
      expect(await readAgain()).toMatchObject({ code: "records-malformed", message: expect.stringContaining("is not a Parquet file") });
    }
  });
});
