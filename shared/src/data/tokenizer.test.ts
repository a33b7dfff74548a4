import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { CHARACTERS_PER_TOKEN, loadTokenizer, tokenizeRows, tokenizeText } from "./tokenizer.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-tokenizer-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(content: string): string {
  const file = join(folder, "tokenizer.json");
  writeFileSync(file, content);
  return file;
}

const SMALL = JSON.stringify({
  added_tokens: [],
  normalizer: { type: "Lowercase" },
  pre_tokenizer: { type: "Whitespace" },
  post_processor: null,
  decoder: null,
  model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", vocab: { "[UNK]": 0, free: 1, offer: 2, "##s": 3 } },
});

describe("loadTokenizer", () => {
  it("reads a Hugging Face tokenizer.json", async () => {
    const tokenizer = await loadTokenizer(fileOf(SMALL));
    expect(tokenizer.ok && tokenizer.tokenize("Free OFFERS now")).toEqual([1, 2, 3, 0]);
  });

  it("names the file that it cannot use", async () => {
    for (const content of ["not JSON", "{}", '{"model": {"type": "Other"}}']) {
      const file = fileOf(content);
      expect(await loadTokenizer(file)).toMatchObject({ ok: false, code: "tokenizer-unreadable", message: expect.stringContaining(file) });
    }
    expect(await loadTokenizer(join(folder, "none.json"))).toMatchObject({ ok: false });
  });
});

describe("tokenizeText and tokenizeRows", () => {
  const letters = (text: string) => Array.from(text.replaceAll(" ", ""), (letter) => letter.charCodeAt(0));

  it("cut the text before it is tokenized, and the tokens after", () => {
    const lengths: number[] = [];
    const spy = (text: string) => {
      lengths.push(text.length);
      return letters(text);
    };
    expect(tokenizeText("abcdef", spy, 4)).toEqual({ tokens: [97, 98, 99, 100], truncated: true });
    expect(tokenizeText("abcd", spy, 4)).toEqual({ tokens: [97, 98, 99, 100], truncated: false });
    expect(tokenizeText(`a${" ".repeat(1000)}b`, spy, 4)).toEqual({ tokens: [97], truncated: true });
    expect(lengths).toEqual([6, 4, 4 * CHARACTERS_PER_TOKEN]);
  });

  it("count what lost its end, and refuse a text without tokens", () => {
    const rows = [
      { text: "abc", label: 1 },
      { text: "abcdefgh", label: 0 },
    ];
    expect(tokenizeRows(rows, letters, 3)).toEqual({
      ok: true,
      examples: [
        { tokens: [97, 98, 99], label: 1 },
        { tokens: [97, 98, 99], label: 0 },
      ],
      truncated: 1,
    });
    expect(tokenizeRows([...rows, { text: "  ", label: 0 }], letters, 3)).toMatchObject({
      ok: false,
      code: "no-tokens",
      message: expect.stringContaining("row 3"),
    });
    expect(() => tokenizeRows(rows, letters, 0)).toThrow("maxTokens is 0");
  });
});
