import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { VALUE_CHARACTERS_MAX } from "./collect.ts";
import { readText, type TextUnit } from "./text.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-text-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "book.txt");

async function read(content: string, by: TextUnit, columns?: string[]) {
  writeFileSync(file, content);
  const records = await readText(file, { columns, rowsMax: 5 }, by);
  return records.ok ? records.records.map(({ values, at }) => [at.replace(`${file}:`, ""), values.text]) : records;
}

describe("readText", () => {
  const book = "\n One\r\ntwo  \n \t\n\nthree\n";

  it("reads lines, paragraphs or the file", async () => {
    expect(await read(book, "line")).toEqual([
      ["2", " One"],
      ["3", "two  "],
      ["6", "three"],
    ]);
    expect(await read(book, "paragraph", ["text"])).toEqual([
      ["2", " One\ntwo  "],
      ["6", "three"],
    ]);
    expect(await read(book, "file")).toEqual([["1", "\n One\ntwo  \n \t\n\nthree"]]);
  });

  it("says what is too long, and how to read it in smaller pieces", async () => {
    const line = "x".repeat(VALUE_CHARACTERS_MAX / 2);
    expect(await read(`y\n\n${line}\n${line}\n`, "paragraph")).toMatchObject({
      code: "records-malformed",
      message: `${file}:3: text: a paragraph has 1000001 characters; at most 1000000 are allowed; shorten or split it, or read it by line`,
    });
    expect(await read(`${line}\n\n${line}`, "file")).toMatchObject({ message: expect.stringContaining("read it by paragraph") });
    expect(await read(`${line}${line}x`, "line")).toMatchObject({
      message: expect.stringMatching(/:1: text: a line has 1000001 .* split it$/),
    });
    expect(await read(`${line}${line}`, "line")).toHaveLength(1);
  });

  it("refuses other columns, blank files, and too many records", async () => {
    expect(await read("x", "line", ["text", "label"])).toMatchObject({
      message: `${file}: label: is no column; plain text has one, "text"`,
    });
    for (const by of ["line", "paragraph", "file"] as const)
      expect(await read(" \n\n", by)).toMatchObject({ code: "records-empty", message: `${file}: has no rows; it needs text` });
    expect(await read("x\n".repeat(6), "line")).toMatchObject({ code: "records-too-large" });
  });
});
