import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, describe, expect, it } from "vitest";
import { ROWS_MAX } from "./collect.ts";
import { readRecords } from "./records.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-records-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(name: string, content: string): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

describe("readRecords", () => {
  it("knows a format by its extension", async () => {
    const parquet = join(folder, "a.parquet");
    parquetWriteFile({ filename: parquet, columnData: [{ name: "text", data: ["x"], type: "STRING" }] });
    const files = [
      fileOf("a.jsonl", '{"text": "x"}'),
      fileOf("a.ndjson", '{"text": "x"}'),
      fileOf("a.csv", "text,n\nx,1\n"),
      fileOf("a.TSV", "text\tn\nx\t1\n"),
      fileOf("a.txt", "x"),
      parquet,
    ];
    for (const file of files) {
      const records = await readRecords(file, { columns: ["text"] });
      expect(records).toMatchObject({ ok: true, records: [{ values: { text: "x" } }] });
    }
  });

  it("does as its options say", async () => {
    expect(await readRecords(fileOf("b.data", "a;b\n1;2"), { format: "csv", delimiter: ";" })).toMatchObject({ ok: true, records: [{}] });
    expect(await readRecords(fileOf("b.tsv", 'a\n"x\n'), { quotes: false })).toMatchObject({ records: [{ values: { a: '"x' } }] });
    expect(await readRecords(fileOf("b.txt", "x\ny"), { by: "paragraph" })).toMatchObject({ records: [{ values: { text: "x\ny" } }] });
    expect(await readRecords(fileOf("c.txt", "x\ny"), { rowsMax: 1 })).toMatchObject({ ok: false, code: "records-too-large" });
    for (const rowsMax of [0, 1.5, ROWS_MAX + 1]) await expect(readRecords("c.txt", { rowsMax })).rejects.toThrow(`rowsMax is ${rowsMax}`);
  });

  it("refuses a file that is not there, is a folder, or has another format", async () => {
    for (const extension of ["jsonl", "csv", "tsv", "parquet", "txt"]) {
      const missing = join(folder, `none.${extension}`);
      const unreadable = {
        ok: false,
        code: "records-unreadable",
        message: expect.stringMatching(/none.* cannot be read .*check the path/),
      };
      expect(await readRecords(missing)).toMatchObject(unreadable);
      const directory = join(folder, `folder.${extension}`);
      mkdirSync(directory);
      expect(await readRecords(directory)).toMatchObject({ ok: false, code: "records-unreadable" });
    }
    expect(await readRecords(join(folder, "a.xlsx"))).toEqual({
      ok: false,
      code: "records-unsupported",
      message: `${join(folder, "a.xlsx")}: its extension is ".xlsx", none of .jsonl, .ndjson, .csv, .tsv, .parquet, .txt; convert it, or give its format`,
    });
  });
});
