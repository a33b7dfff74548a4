import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { collect } from "./collect.ts";
import { invalidByteOf, LINE_BYTES_MAX, readLines } from "./lines.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-lines-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "lines.txt");

async function linesOf(content: string | Uint8Array): Promise<{ lines: [number, string][]; message: string }> {
  writeFileSync(file, content);
  const lines: [number, string][] = [];
  const collection = collect(file, 10);
  await readLines(file, collection, (text, line) => lines.push([line, text]));
  const result = collection.result("lines");
  return { lines, message: result.ok ? "" : result.message };
}

describe("readLines", () => {
  it("cuts at line feeds alone, with or without a carriage return, past a byte order mark", async () => {
    const { lines } = await linesOf("\uFEFFone\r\n\ntwo \u2028 three\rfour\n\uFEFFlast");
    expect(lines).toEqual([
      [1, "one"],
      [2, ""],
      [3, "two \u2028 three\rfour"],
      [4, "\uFEFFlast"],
    ]);
  });

  it("gives back any lines that were joined, over the chunks in which a file is read", async () => {
    const line = fc.oneof(fc.string({ unit: "binary" }), fc.constant("é".repeat(70_000))).map((text) => text.replace(/[\n\r\uFEFF]/g, ""));
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 5 }), fc.constantFrom("\n", "\r\n"), async (texts, end) => {
        const { lines } = await linesOf(texts.map((text) => text + end).join(""));
        expect(lines).toEqual(texts.map((text, index) => [index + 1, text]));
      }),
      { numRuns: 50, seed: 1 },
    );
  });

  it("says in which line and at which byte a file stops being UTF-8", async () => {
    const { lines, message } = await linesOf(Buffer.from("good\nb\xE4d\n\xFF\nalso good", "latin1"));
    expect(lines).toEqual([
      [1, "good"],
      [4, "also good"],
    ]);
    expect(message).toBe(
      [
        `${file}:2: byte 3: is not UTF-8; save the file as UTF-8`, // "d" cannot follow the byte 0xE4
        `${file}:3: byte 1: is not UTF-8; save the file as UTF-8`,
      ].join("\n"),
    );
  });

  it("does not keep a file without line ends", async () => {
    expect((await linesOf(Buffer.alloc(LINE_BYTES_MAX + 65_536, "x"))).message).toContain(
      `:1: the line is longer than ${LINE_BYTES_MAX} bytes`,
    );
  });
});

describe("invalidByteOf", () => {
  it("finds the byte", () => {
    expect(invalidByteOf(Buffer.from([0x61, 0xc3, 0xa4, 0xff, 0x61]))).toBe(4);
    expect(invalidByteOf(Buffer.from([0x61, 0xc3]))).toBe(2);
  });
});
