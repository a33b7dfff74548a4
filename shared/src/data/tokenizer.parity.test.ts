/** The ids, texts and pieces of Hugging Face's own `tokenizers`, as shared/vectors/tokenizers holds them (shared/vectors/README.md). */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { decoderSchema } from "./tokenizer/decoder.ts";
import { normalizerSchema } from "./tokenizer/normalizer.ts";
import { preTokenizerSchema } from "./tokenizer/pretokenizer.ts";
import { type LoadedTokenizer, loadTokenizer } from "./tokenizer.ts";

const FOLDER = join(import.meta.dirname, "../../vectors/tokenizers");

interface Vectors {
  texts: string[];
  /** Tokenizer, text, ids without and with special tokens, the latter decoded without and with them. */
  cases: [name: string, text: number, plain: number[], special: number[], decoded: string, decodedSpecial: string][];
}

type Kind = "normalizer" | "pre_tokenizer" | "decoder";

interface Components {
  texts: string[];
  tokens: string[][];
  /** What a component makes of each of `texts`; a decoder, of each of `tokens`. */
  cases: [kind: Kind, config: { type: string }, results: (string | string[])[]][];
  /** Texts where the reference's Unicode is older than ours. */
  newer: [kind: Kind, type: string, text: string, result: string | string[]][];
}

const vectors = read<Vectors>("vectors.json");
const components = read<Components>("components.json");
const names = [...new Set(vectors.cases.map(([name]) => name))];

function read<Content>(file: string): Content {
  return JSON.parse(readFileSync(join(FOLDER, file), "utf8")) as Content;
}

function run(kind: Kind, config: { type: string }, given: string | string[]): string | string[] {
  if (kind === "normalizer") return normalizerSchema.parse(config).normalize(given as string);
  if (kind === "decoder")
    return decoderSchema
      .parse(config)(given as string[])
      .join("");
  // The reference has no pieces of an empty text; ours are never asked for one.
  const pieces = given === "" ? [] : preTokenizerSchema.parse(config).split({ text: given as string, atStart: true });
  return pieces.map(({ text }) => text);
}

/**
 * Where we differ, and why. Which characters are letters, punctuation or marks, and what they decompose to, is JavaScript's Unicode here
 * (15 in Node 20, 17 in Node 24) and a table of the reference's there: 8 for punctuation and BERT's marks, 10 to 16 elsewhere. So the
 * characters that Unicode added between the two are classed otherwise, and two that it reclassified (U+166D, U+111C9). Compared over all
 * of Unicode these are 143 signs, about 500 marks, 192 decompositions (the era U+32FF is the best known), and the letters of new scripts.
 */
const NEWER_RESULTS: Readonly<Record<string, (string | string[])[]>> = {
  "BertPreTokenizer a\u061Db": [["a", "\u061D", "b"]],
  "Punctuation a\u2E4Fb": [["a", "\u2E4F", "b"]],
  "Punctuation a\u166Db": [["a\u166Db"]],
  // Unicode 17's: Node 20 and 22 do not know it either.
  "Whitespace a\u088Fb": [["a\u088Fb"], ["a", "\u088F", "b"]],
  "NFKC \u32FF": ["\u4EE4\u548C"],
  "StripAccents a\u0D00": ["a"],
};

describe.each(names)("the tokenizer %s", (name) => {
  const cases = vectors.cases.filter(([other]) => other === name);
  const textOf = (index: number) => vectors.texts[index] as string;
  let tokenizer: LoadedTokenizer;
  beforeAll(async () => {
    const loaded = await loadTokenizer(join(FOLDER, `${name}.json`));
    if (!loaded.ok) throw new Error(loaded.message);
    tokenizer = loaded;
  });

  it("has vectors of many texts and tokens", () => {
    expect(cases.length).toBeGreaterThanOrEqual(25);
    expect(new Set(cases.flatMap(([, , plain]) => plain)).size).toBeGreaterThan(50);
  });

  it("gives the reference's ids, without and with special tokens", () => {
    const ids = cases.map(([, text]) => [textOf(text), ...[false, true].map((special) => tokenizer.encode(textOf(text), { special }))]);
    expect(ids).toEqual(cases.map(([, text, plain, special]) => [textOf(text), plain, special]));
    expect(cases.map(([, text]) => tokenizer.tokenize(textOf(text)))).toEqual(cases.map(([, , , special]) => special));
  });

  it("reads ids back as the reference does, without and with special tokens", () => {
    const read = cases.map(([, text, , ids]) => [textOf(text), tokenizer.decode(ids), tokenizer.decode(ids, { special: true })]);
    expect(read).toEqual(cases.map(([, text, , , decoded, decodedSpecial]) => [textOf(text), decoded, decodedSpecial]));
  });
});

describe("the components", () => {
  it.each(components.cases)("%s %j", (kind, config, results) => {
    const given = kind === "decoder" ? components.tokens : components.texts;
    expect(given.map((one) => run(kind, config, one))).toEqual(results);
  });

  it.each(components.newer)("%s %s of %j differs from the reference only by Unicode's age", (kind, type, text, reference) => {
    const known = NEWER_RESULTS[`${type} ${text}`];
    expect(known).toContainEqual(run(kind, { type }, text));
    expect(known?.[0]).not.toEqual(reference);
  });
});

it("every tokenizer of the folder has vectors", () => {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(".json") && !["vectors.json", "components.json"].includes(file));
  expect(files.sort()).toEqual(names.map((name) => `${name}.json`).sort());
});
