import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FILE_BYTES_MAX, readTokenizerFile } from "./file.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-tokenizerfile-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "tokenizer.json");

const WORDPIECE = { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", vocab: { "[UNK]": 0, a: 1, b: 2 } };
const BPE = { type: "BPE", unk_token: "[UNK]", vocab: { "[UNK]": 0, a: 1, b: 2, ab: 3 }, merges: [["a", "b"]] };
const UNIGRAM = { type: "Unigram", unk_id: 0, vocab: [["<unk>", 0], ["a", -1]] }; // biome-ignore format: one line is a table
const WORDLEVEL = { type: "WordLevel", unk_token: "?", vocab: { "?": 0, a: 1, "\n": 2 } };
const METASPACE = { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first", split: false };
const METASPACE_FIRST = { pre_tokenizer: METASPACE, normalizer: { type: "Strip", strip_left: true, strip_right: true } };

/** What is said of a file with this content; undefined where it is read. */
async function faultOf(content: object | string): Promise<string | undefined> {
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify({ model: WORDPIECE, ...content }));
  const read = await readTokenizerFile(file);
  return read.ok ? undefined : read.message;
}

const regex = (Regex: string) => ({ pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false } });
const added = (...tokens: object[]) => ({ added_tokens: tokens });

describe("readTokenizerFile", () => {
  it.each<[what: string, content: object]>([
    ["only a model", {}],
    ["a BPE model", { model: { ...BPE, merges: ["#version: 0.2", "a b"] } }],
    ["a model without a type", { model: { ...BPE, type: undefined } }],
    ["a Unigram model without a type", { model: { ...UNIGRAM, type: undefined } }],
    ["a WordLevel model", { model: WORDLEVEL }],
    ["an added token behind the vocabulary, and one in it", added({ id: 3, content: "<x>" }, { id: 1, content: "a" })],
    ["a pattern of Llama 3's kind", regex("(?i:'s|'LL|'[dm])|[^\\r\\n\\p{L}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)")],
  ])("reads a file with %s", async (_, content) => {
    expect(await faultOf(content)).toBeUndefined();
  });

  it("refuses what is too large or too deep before it is parsed", async () => {
    writeFileSync(file, "{");
    truncateSync(file, FILE_BYTES_MAX + 1);
    expect(await readTokenizerFile(file)).toEqual({
      ok: false,
      message: `67108865 bytes are more than ${FILE_BYTES_MAX}; use another tokenizer`,
    });
    expect(await readTokenizerFile(folder)).toEqual({ ok: false, message: "it is not a file; check the path" });
    expect(await faultOf("[".repeat(1_000_000))).toBe("it is nested more than 32 deep; use another tokenizer");
    expect(await faultOf(`{"a": ${"[".repeat(40)}${"]".repeat(40)}, "model": {}}`)).toContain("more than 32 deep");
    expect(await faultOf({ comment: `\\"${"[".repeat(100)}` })).toBeUndefined();
  });

  it.each<[content: string, fault: string]>([
    ["", "it is not JSON"],
    ["{", "it is not JSON"],
    ["[]", "expected object"],
    ["null", "expected object"],
    ["{}", "model: the model must be an object"],
    ['{"version": "2.0", "model": {}}', "version: "],
  ])("refuses the content %j", async (content, fault) => {
    expect(await faultOf(content)).toContain(fault);
  });

  it.each<[fault: string, content: object]>([
    ['model.type: the model "Other" is not supported (supported: BPE, Unigram, WordLevel, WordPiece)', { model: { type: "Other" } }],
    ['model.type: the model "constructor" is not supported', { model: { type: "constructor" } }],
    ["model.vocab: must be an object of tokens", { model: { ...WORDPIECE, vocab: ["a"] } }],
    ["model.vocab: 0 tokens; there must be 1 to 1000000", { model: { ...WORDPIECE, vocab: {} } }],
    [
      'model.vocab: the token "b" has id 3; 3 tokens have the ids 0 to 2, without holes',
      { model: { ...WORDPIECE, vocab: { "[UNK]": 0, a: 1, b: 3 } } },
    ],
    ['model.vocab: the token "b" has id 1, which another token has', { model: { ...WORDPIECE, vocab: { "[UNK]": 0, a: 1, b: 1 } } }],
    ['model.vocab: the token "a" has id -1', { model: { ...WORDPIECE, vocab: { "[UNK]": 0, a: -1 } } }],
    ['model.vocab: the token "a" has id 0.5', { model: { ...WORDPIECE, vocab: { "[UNK]": 0, a: 0.5 } } }],
    ['model.vocab: the token "a" has id 1', { model: { ...WORDPIECE, vocab: { "[UNK]": 0, a: "1" } } }],
    [
      "model.vocab: the token with id 1 must be text of at most 1024",
      { model: { ...WORDPIECE, vocab: { "[UNK]": 0, ["x".repeat(1025)]: 1 } } },
    ],
    ['model.unk_token: "no" is not in the vocabulary', { model: { ...WORDPIECE, unk_token: "no" } }],
    ["model.max_input_chars_per_word: ", { model: { ...WORDPIECE, max_input_chars_per_word: "9" } }],
    ['model.unk_token: "no" is not in the vocabulary', { model: { ...BPE, unk_token: "no" } }],
    ["model.merges: merge 0 is not a pair", { model: { ...BPE, merges: ["a b c"] } }],
    ["model.merges: merge 0 is not a pair", { model: { ...BPE, merges: [["a", 1]] } }],
    ['model.merges: merge 0 needs the token "ba"', { model: { ...BPE, merges: [["b", "a"]] } }],
    ["model.dropout: is 0.1: a text would have other tokens every time", { model: { ...BPE, dropout: 0.1 } }],
    ["model.byte_fallback: needs the tokens <0x00> to <0xFF>", { model: { ...BPE, byte_fallback: true } }],
    ["model.continuing_subword_prefix: is not supported", { model: { ...BPE, continuing_subword_prefix: "##" } }],
    [
      "model.vocab: entry 1 is not [token, score]",
      {
        model: {
          ...UNIGRAM,
          vocab: [
            ["<unk>", 0],
            ["a", null],
          ],
        },
      },
    ],
    [
      'model.vocab: the token "a" is there twice',
      {
        model: {
          ...UNIGRAM,
          vocab: [
            ["a", 0],
            ["a", 0],
          ],
        },
      },
    ],
    ["model.unk_id: is 2; it must be 0 to 1", { model: { ...UNIGRAM, unk_id: 2 } }],
    ["model.unk_id: must be the id", { model: { ...UNIGRAM, unk_id: null } }],
    ['added_tokens: "<x>" has id 9, but its place in the vocabulary is 3', added({ id: 9, content: "<x>" })],
    ['added_tokens: "a" has id 3, but its place in the vocabulary is 1', added({ id: 3, content: "a" })],
    ['added_tokens: "<x>" is there twice', added({ id: 3, content: "<x>" }, { id: 4, content: "<x>" })],
    ["added_tokens.0.content: ", added({ id: 3, content: "" })],
    [
      'added_tokens: the added token "X" is there twice once it is normalized',
      { ...added({ id: 3, content: "x" }, { id: 4, content: "X" }), normalizer: { type: "Lowercase" } },
    ],
    [
      'added_tokens: the added token " " is nothing once it is normalized',
      { ...added({ id: 3, content: " " }), normalizer: METASPACE_FIRST.normalizer },
    ],
    ['normalizer.type: the normalizer "Nmt" is not supported (supported: BertNormalizer', { normalizer: { type: "Nmt" } }],
    [
      "normalizer.normalizers.1: the normalizer must be an object",
      { normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, "NFC"] } },
    ],
    ["normalizer.precompiled_charsmap: its 3 bytes are not a trie", { normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } }],
    ['pre_tokenizer.type: the pre_tokenizer "UnicodeScripts" is not supported', { pre_tokenizer: { type: "UnicodeScripts" } }],
    ["pre_tokenizer.behavior: must be one of Removed, Isolated", { pre_tokenizer: { type: "Punctuation", behavior: "Other" } }],
    ['pre_tokenizer: "first" after a normalizer that may shorten', METASPACE_FIRST],
    ['pre_tokenizer.pattern: the regular expression "a++" has a possessive quantifier', regex("a++")],
    ["has an atomic group", regex("(?>a)b")],
    ["has a group other than", regex("(?i)a")],
    ["has the escape \\\\K", regex("a\\Kb")],
    ["has more than letters in (?i:...)", regex("(?i:stra\u00DFe)")],
    ["has more than letters in (?i:...)", regex("(?i:'st)")],
    ["has what JavaScript has not", regex("(a")],
    ["pre_tokenizer.pattern: must be", { pre_tokenizer: { type: "Split", pattern: "a", behavior: "Isolated", invert: false } }],
    [
      "post_processor: adds id 3, but the vocabulary ends at 2",
      { post_processor: { type: "BertProcessing", cls: ["x", 3], sep: ["y", 0] } },
    ],
    [
      "post_processor.single: must have the text exactly once",
      { post_processor: { type: "TemplateProcessing", single: [], special_tokens: {} } },
    ],
    [
      "post_processor.special_tokens: lacks a token",
      {
        post_processor: {
          type: "TemplateProcessing",
          single: [{ Sequence: { id: "A" } }, { SpecialToken: { id: "toString" } }],
          special_tokens: {},
        },
      },
    ],
    ['decoder.type: the decoder "CTC" is not supported', { decoder: { type: "CTC" } }],
  ])("says: %s", async (fault, content) => {
    expect(await faultOf(content)).toContain(fault.replaceAll("\\\\", "\\"));
  });

  it("shows the first faults of many", async () => {
    const fault = await faultOf(added(...Array.from({ length: 9 }, () => ({ id: "x", content: "a" }))));
    expect(fault?.split("; ")).toHaveLength(6);
    expect(fault).toContain("... and more");
  });
});
