import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { COLUMNS_MAX, VALUE_CHARACTERS_MAX } from "./collect.ts";
import { type Delimiter, readCsv } from "./csv.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-csv-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "rows.csv");

interface Options {
  columns?: string[];
  delimiter?: Delimiter;
  quotes?: boolean;
}

async function read(content: string | Uint8Array, { columns, delimiter = ",", quotes = true }: Options = {}) {
  writeFileSync(file, content);
  const records = await readCsv(file, { columns, rowsMax: 1_000 }, { delimiter, quotes });
  return records.ok ? records.records.map(({ values, at }) => [Number(at.slice(file.length + 1)), values]) : records;
}

async function faultsOf(content: string | Uint8Array, options?: Options): Promise<string[]> {
  const records = await read(content, options);
  if (!("code" in records)) throw new Error("there are no faults");
  expect(records.code).toBe("records-malformed");
  return records.message.split("\n").map((line) => line.replace(`${file}:`, ""));
}

describe("readCsv", () => {
  it("reads quoted delimiters, quotes and line ends, past a byte order mark and empty lines, and knows each row's line", async () => {
    expect(await read('\uFEFFa,"b"\r\n1,"x,\r\ny"\r\n\r\n"","z"\n"p""q","\n\n"\n last ,')).toEqual([
      [2, { a: "1", b: "x,\r\ny" }],
      [5, { a: "", b: "z" }],
      [6, { a: 'p"q', b: "\n\n" }],
      [9, { a: " last ", b: "" }],
    ]);
  });

  it("reads other delimiters, and quotes as characters where there are none", async () => {
    expect(await read("a;b\n1,5;2\n", { delimiter: ";" })).toEqual([[2, { a: "1,5", b: "2" }]]);
    expect(await read('a\tb\n"x\t"y" z\n', { delimiter: "\t", quotes: false })).toEqual([[2, { a: '"x', b: '"y" z' }]]);
  });

  it("takes an empty line for no row, and a quoted one for an empty text", async () => {
    expect(await read('a\n""\n\nx')).toEqual([
      [2, { a: "" }],
      [4, { a: "x" }],
    ]);
  });

  it("needs a name for each column that is read, and has it once", async () => {
    expect(await faultsOf("a,b,a,\n1,2,3,4\n")).toEqual([
      "1: a: is the name of 2 columns; rename all but one",
      "1: column 4: has no name; name it, or name the columns to read",
    ]);
    expect(await read("a,b,a,\n1,2,3,4\n", { columns: ["b"] })).toEqual([[2, { b: "2" }]]);
    expect(await faultsOf("text;label\nx;1\n", { columns: ["text"] })).toEqual([
      '1: text: is no column; the header has "text;label", cut at ","',
    ]);
    expect(await read("__proto__,constructor\n1,2\n", { columns: ["constructor"] })).toEqual([[2, { constructor: "2" }]]);
  });

  it("names line and column of a row that is too short or too long", async () => {
    expect(await faultsOf('a,b\n"1\n1",2\n1\n1,2,3\n')).toEqual([
      '4: b: the row has 1 cells, the header 2; quote a cell that holds ",", complete the row',
      '5: column 3: the row has 3 cells, the header 2; quote a cell that holds ",", complete the row',
    ]);
    expect(await faultsOf(`a,b\n${"1\n".repeat(100)}`)).toHaveLength(6);
  });

  it.each([
    ['b"c"', "has a quote inside a cell that does not begin with one"],
    ['"b"c', 'has a quote that is followed by neither "," nor a line end'],
    ['"bc', "begins with a quote that is never closed"],
    [`"${"b".repeat(3 * VALUE_CHARACTERS_MAX + 1)}`, "has more than 1000000 characters; close its quote"],
    ["b".repeat(VALUE_CHARACTERS_MAX + 1), "has 1000001 characters; at most 1000000 are allowed"],
  ])("names line and column of a cell at fault (%#)", async (cell, what) => {
    const faults = await faultsOf(`a,b\n1,2\n"x\r\ny",${cell}\n`);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(`4: b: ${what}`);
  });

  it("refuses what is not UTF-8", async () => {
    expect(await faultsOf(Buffer.from("a,b\n1,caf\xE9\n", "latin1"))).toEqual(["2: b: is not UTF-8; save the file as UTF-8"]);
    expect((await faultsOf(Buffer.from("\uFEFFa,b\n1,2\n", "utf16le")))[0]).toContain("1: column 1: is not UTF-8");
  });

  it("keeps its limits", async () => {
    const wide = Array.from({ length: COLUMNS_MAX + 1 }, (_, index) => `c${index}`).join();
    expect(await read(`${wide}\n`)).toMatchObject({
      code: "records-too-large",
      message: expect.stringContaining("more than 1000 columns"),
    });
    expect(await read(`a\n${"x\n".repeat(1_001)}`)).toMatchObject({
      code: "records-too-large",
      message: expect.stringContaining("1000 rows"),
    });
    for (const empty of ["", "\n\r\n", "a,b", "a,b\n"]) expect(await read(empty)).toMatchObject({ code: "records-empty" });
  });

  const special = fc.constantFrom('"', '""', ",", ";", "\t", "\n", "\r\n", "\r", " ", "é", "\uFEFF", "x".repeat(40_000));
  const cell = fc.array(fc.oneof(special, fc.string({ unit: "binary" })), { maxLength: 6 }).map((parts) => parts.join(""));
  const table = fc
    .integer({ min: 1, max: 4 })
    .chain((width) => fc.array(fc.array(cell, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 6 }));

  it("gives back any cells that were quoted, each row on its line", async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.constantFrom<Delimiter>(",", ";", "\t"), fc.constantFrom("\n", "\r\n"), async (rows, delimiter, end) => {
        const names = (rows[0] as string[]).map((_, index) => `c${index}`);
        const written = [names, ...rows].map((row) => row.map((text) => `"${text.replaceAll('"', '""')}"`).join(delimiter) + end);
        let line = 1;
        const lines = written.map((row) => {
          line += row.split("\n").length - 1;
          return line;
        });
        expect(await read(written.join(""), { delimiter })).toEqual(
          rows.map((row, index) => [lines[index], Object.fromEntries(row.map((text, column) => [names[column], text]))]),
        );
      }),
      { numRuns: 150, seed: 1 },
    );
  });
});
