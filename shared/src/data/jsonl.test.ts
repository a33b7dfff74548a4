import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { COLUMNS_MAX, VALUE_CHARACTERS_MAX } from "./collect.ts";
import { readJsonl } from "./jsonl.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-jsonl-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "rows.jsonl");

function read(content: string, columns?: string[]) {
  writeFileSync(file, content);
  return readJsonl(file, { columns, rowsMax: 10 });
}

async function faultsOf(content: string, columns?: string[]): Promise<string[]> {
  const records = await read(content, columns);
  if (records.ok) throw new Error("there are no faults");
  expect(records.code).toBe("records-malformed");
  return records.message.split("\n").map((line) => line.replace(`${file}:`, ""));
}

describe("readJsonl", () => {
  it("reads each kind of value, and the line of each row past blank ones", async () => {
    expect(await read('{"a": "x", "b": 1.5, "c": true}\r\n\n  \n{"a": null, "b": [1, 2.5], "c": []}')).toEqual({
      ok: true,
      records: [
        { values: { a: "x", b: 1.5, c: true }, at: `${file}:1` },
        { values: { a: null, b: [1, 2.5], c: [] }, at: `${file}:4` },
      ],
    });
  });

  it("reads named columns alone, whatever the others are", async () => {
    expect(await read('{"more": {"deep": 1}, "text": "x", "huge": 1e999}', ["text"])).toMatchObject({
      records: [{ values: { text: "x" } }],
    });
    expect(await faultsOf('{"text": "x"}\n{"Text": "x", "n": 1}', ["text"])).toEqual(['2: text: is missing; the row has "Text", "n"']);
  });

  it("names line, column, and what is wrong, five times at most", async () => {
    const lines = [
      '{"a": {"b": 1}}',
      '{"a": [1, "x"]}',
      '{"a": 1e999}',
      '{"a": "\\ud83d"}',
      "nonsense",
      "[1]",
      '{"a": [1, null]}',
      '{"a": 1}',
    ];
    const faults = await faultsOf(lines.join("\n"));
    expect(faults[0]).toMatch(/^1: a: is a structure; a value is text, a number, true, false, null or a list of numbers; flatten it/);
    expect(faults[1]).toBe('2: a: holds "x" at index 1; a list may hold numbers alone');
    expect(faults[2]).toBe("3: a: is Infinity; a number must be finite; remove the row or store null");
    expect(faults[3]).toMatch(/^4: a: holds half of a surrogate pair/);
    expect(faults[4]).toMatch(/^5: is not JSON \(.*\); the file needs lines of JSON objects/);
    expect(faults.slice(5)).toEqual(["... and more"]);
    expect(await faultsOf("[1]")).toEqual([expect.stringMatching(/^1: is JSON but no object/)]);
  });

  it("keeps its limits", async () => {
    const wide = JSON.stringify(Object.fromEntries(Array.from({ length: COLUMNS_MAX + 1 }, (_, index) => [`c${index}`, 0])));
    expect(await faultsOf(wide)).toEqual(["1: has 1001 columns; at most 1000 are allowed; keep many numbers as one list"]);
    const long = JSON.stringify({ text: "x".repeat(VALUE_CHARACTERS_MAX + 1) });
    expect(await faultsOf(long)).toEqual(["1: text: has 1000001 characters; at most 1000000 are allowed; shorten or split it"]);
    expect(await read('{"a": 1}\n'.repeat(11))).toMatchObject({
      code: "records-too-large",
      message: `${file}: has more than 10 rows; split it`,
    });
    expect(await read(" \n\n")).toMatchObject({
      ok: false,
      code: "records-empty",
      message: expect.stringContaining("lines of JSON objects"),
    });
  });

  it("gives back any objects that were written", async () => {
    const text = fc.string({
      unit: fc.oneof(fc.constantFrom("\u2028", "\n", '"', "\\", "\0"), fc.string({ unit: "binary", maxLength: 1 })),
    });
    const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
    const value = fc.oneof(text, number, fc.boolean(), fc.constant(null), fc.array(number));
    const key = fc.oneof(text, fc.constantFrom("__proto__", "constructor"));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(fc.tuple(key, value)), { minLength: 1, maxLength: 5 }), async (rows) => {
        const objects = rows.map((entries) => Object.fromEntries(entries));
        const records = await read(objects.map((object) => `${JSON.stringify(object)}\n`).join(""));
        expect(records.ok && records.records.map(({ values }) => Object.entries(values))).toEqual(
          objects.map((object) => Object.entries(object)),
        );
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});
