import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type LoadedTokenizer, loadTokenizer } from "./tokenizer.ts";

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

describe("a loaded tokenizer", () => {
  const load = async (name: string) => {
    const tokenizer = await loadTokenizer(join(import.meta.dirname, "../../vectors/tokenizers", `${name}.json`));
    if (!tokenizer.ok) throw new Error(tokenizer.message);
    return tokenizer;
  };

  it("knows its tokens by name, and how many there are", async () => {
    const { idOf, size } = await load("wordpiece-bert");
    expect([idOf("[PAD]"), idOf("[MASK]"), idOf("new"), idOf("none"), idOf("__proto__")]).toEqual([0, 4, size - 2, null, null]);
    expect((await load("bytelevel-gpt2")).size).toBe(400);
  });

  it.each<[name: string, special: Record<keyof LoadedTokenizer["special"], string | null>]>([
    ["wordpiece-bert", { pad: "[PAD]", mask: "[MASK]", bos: "[CLS]", eos: "[SEP]", unk: "[UNK]" }],
    ["bytelevel-roberta", { pad: "<pad>", mask: "<mask>", bos: "<s>", eos: "</s>", unk: null }],
    ["bytelevel-llama3", { pad: null, mask: null, bos: "<|begin_of_text|>", eos: "<|end_of_text|>", unk: null }],
    ["bytelevel-gpt2", { pad: null, mask: null, bos: null, eos: "<|endoftext|>", unk: null }],
    ["unigram-t5", { pad: "<pad>", mask: "<mask>", bos: null, eos: "</s>", unk: "<unk>" }],
    ["bpe-llama", { pad: null, mask: null, bos: "<s>", eos: "</s>", unk: "<unk>" }],
  ])("knows the special tokens of %s", async (name, names) => {
    const { special, idOf } = await load(name);
    expect(special).toEqual(Object.fromEntries(Object.entries(names).map(([role, token]) => [role, token === null ? null : idOf(token)])));
  });

  it("pads with what the file pads with", async () => {
    const padded = fileOf(JSON.stringify({ ...JSON.parse(SMALL), padding: { strategy: "BatchLongest", pad_id: 2, pad_token: "offer" } }));
    expect(await loadTokenizer(padded)).toMatchObject({ ok: true, special: { pad: 2 } });
  });

  it("reads nothing from no ids, and leaves out ids that it does not have", async () => {
    const { decode, encode, size } = await load("bytelevel-gpt2");
    expect([decode([]), decode([size, -1, 0.5])]).toEqual(["", ""]);
    expect(decode([...encode("It was", { special: false }), size])).toBe("It was");
  });

  it("takes half a character as one that cannot be read", async () => {
    const { encode } = await load("bytelevel-gpt2");
    expect(encode("a\uD83D", { special: false })).toEqual(encode("a\uFFFD", { special: false }));
  });

  it.each([
    ["bytelevel-gpt2", "\u0120the"],
    ["bytelevel-roberta", "\u0120the"],
    ["unigram-t5", "\u2581the"],
    ["bpe-llama", "\u2581the"],
    ["wordpiece-bert", "the"],
    ["bpe", "the"],
  ])("says which token a label word becomes in %s", async (name, token) => {
    const { labelWordId, idOf } = await load(name);
    expect(idOf(token)).not.toBeNull();
    expect(labelWordId("the")).toEqual({ ok: true, id: idOf(token) });
    expect(labelWordId(" the", "It was")).toEqual({ ok: true, id: idOf(token) });
  });

  it("refuses a label word that does not become one token, with what it becomes", async () => {
    const gpt2 = await load("bytelevel-gpt2");
    const message =
      'the label word "greatest" becomes 3 tokens ("\u0120great", "es", "t") behind "It was "; ' +
      "it must become one: choose a shorter or more common word";
    expect(gpt2.labelWordId("greatest")).toEqual({ ok: false, code: "label-word-tokens", message });
    expect(gpt2.labelWordId(" ")).toMatchObject({ message: expect.stringContaining("is blank") });
    expect(gpt2.labelWordId("t", "grea")).toMatchObject({ message: expect.stringContaining("changes the tokens before it, behind") });
    const bert = await load("wordpiece-bert");
    expect(bert.labelWordId("\u0E20")).toMatchObject({ message: expect.stringContaining("is unknown to the tokenizer") });
  });
});
