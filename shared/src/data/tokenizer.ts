/**
 * Text to token ids, with any Hugging Face tokenizer.json.
 * Long texts are cut before they are tokenized: a tokenizer's time grows with the text, and a model sees only its first tokens.
 */
import { readFile } from "node:fs/promises";
import { Tokenizer } from "@huggingface/tokenizers";
import type { Row } from "./dataset.ts";
import { EXAMPLE_TOKENS_MAX, type Example } from "./examples.ts";

export type Tokenize = (text: string) => number[];

/** Reads a tokenizer.json. Special tokens are added as the file's post-processor says. */
export async function loadTokenizer(
  file: string,
): Promise<{ ok: true; tokenize: Tokenize } | { ok: false; code: "tokenizer-unreadable"; message: string }> {
  try {
    const tokenizer = new Tokenizer(JSON.parse(await readFile(file, "utf8")) as object, {});
    return { ok: true, tokenize: (text) => tokenizer.encode(text).ids };
  } catch (cause) {
    const message = `${file}: is not a Hugging Face tokenizer.json that can be used (${(cause as Error).message})`;
    return { ok: false, code: "tokenizer-unreadable", message };
  }
}

/** Characters read for each token that is kept. Words are shorter than this, so the cut is never among the kept tokens of real text. */
export const CHARACTERS_PER_TOKEN = 16;

/** The first `maxTokens` ids of a text's first 16 * `maxTokens` characters. */
export function tokenizeText(text: string, tokenize: Tokenize, maxTokens: number): { tokens: number[]; truncated: boolean } {
  const cut = text.slice(0, CHARACTERS_PER_TOKEN * maxTokens);
  const tokens = tokenize(cut);
  return { tokens: tokens.slice(0, maxTokens), truncated: cut.length < text.length || tokens.length > maxTokens };
}

export type Tokenized =
  | { ok: true; examples: Example[] /** How many texts lost their end. */; truncated: number }
  | { ok: false; code: "no-tokens"; message: string };

/** Rows as examples of 1 to `maxTokens` tokens, in order. A text without a single token is refused: the row is named, counted from 1. */
export function tokenizeRows(rows: readonly Row[], tokenize: Tokenize, maxTokens: number): Tokenized {
  if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > EXAMPLE_TOKENS_MAX)
    throw new RangeError(`maxTokens is ${maxTokens}; it must be 1 to ${EXAMPLE_TOKENS_MAX}`);
  const examples: Example[] = [];
  let truncations = 0;
  for (const [index, { text, label }] of rows.entries()) {
    const { tokens, truncated } = tokenizeText(text, tokenize, maxTokens);
    if (tokens.length === 0)
      return {
        ok: false,
        code: "no-tokens",
        message: `row ${index + 1} has no token ("${text.slice(0, 40)}"); remove it or use another tokenizer`,
      };
    examples.push({ tokens, label });
    if (truncated) truncations++;
  }
  return { ok: true, examples, truncated: truncations };
}
