/**
 * Text to token ids and back, with any Hugging Face tokenizer.json that gives the ids of Hugging Face's own `tokenizers` (0.23.3).
 * Long texts are cut before they are tokenized: a tokenizer's time grows with the text, and a model sees only its first tokens.
 */
import { type Parts, readTokenizerFile } from "./tokenizer/file.ts";
import { type SpecialIds, specialIdsOf } from "./tokenizer/special.ts";

/** A text's ids, with the special tokens around it. */
export interface Tokenize {
  (text: string): number[];
  /** How many of the last ids are special tokens that end every text, such as [SEP]. Default: 0. */
  readonly closing?: number;
}

export type LabelWordId = { ok: true; id: number } | { ok: false; code: "label-word-tokens"; message: string };

export interface LoadedTokenizer {
  tokenize: Tokenize;
  /** A text's ids; with `special`, also those that the file's post-processor puts around a text. */
  encode(text: string, options: { special: boolean }): number[];
  /** The text of ids. Special tokens are left out unless `special`; ids outside the vocabulary always are. */
  decode(ids: readonly number[], options?: { special: boolean }): string;
  /** The id of a token by its spelling in the vocabulary (such as "[MASK]" or "\u0120the"), or null. */
  idOf(token: string): number | null;
  special: SpecialIds;
  /** How many ids there are: 0 to size - 1. A model may have more. */
  size: number;
  /**
   * The one token that a label word becomes behind a prompt, as MeZO needs it: " great" behind "It was" is not "great" at the start of a
   * text. `before` is what stands before the word, with its space if there is one; the prompt given to the model ends before that space.
   * A word of several tokens, or an unknown one, is refused.
   */
  labelWordId(word: string, before?: string): LabelWordId;
}

/** Reads a tokenizer.json. Special tokens are added as the file's post-processor says. */
export async function loadTokenizer(
  file: string,
): Promise<({ ok: true } & LoadedTokenizer) | { ok: false; code: "tokenizer-unreadable"; message: string }> {
  const read = await readTokenizerFile(file);
  if (read.ok) return { ok: true, ...tokenizerOf(read.parts) };
  const message = `${file}: is not a Hugging Face tokenizer.json that can be used (${read.message})`;
  return { ok: false, code: "tokenizer-unreadable", message };
}

function tokenizerOf(parts: Parts): LoadedTokenizer {
  const { model, frame } = parts;
  const tokens: string[] = [];
  for (const [token, id] of model.ids) tokens[id] = token;
  // Read back as the reference does: an added token by its normalized form.
  for (const { id, content, normalized } of parts.added) tokens[id] = normalized ? parts.normalize(content) : content;
  const ids = new Map([...model.ids, ...parts.added.map(({ content, id }) => [content, id] as const)]);
  const skipped = new Set(parts.added.filter(({ special }) => special).map(({ content }) => content));

  const encode = (text: string, { special }: { special: boolean }) => {
    const plain = plainIdsOf(parts, text.toWellFormed());
    return special ? [...frame.before, ...plain, ...frame.after] : plain;
  };
  const decode = (list: readonly number[], { special } = { special: false }) => {
    const known = list.flatMap((id) => tokens[id] ?? []).filter((token) => special || !skipped.has(token));
    if (known.length === 0) return "";
    return parts.decode === null ? known.join(" ") : parts.decode(known).join("");
  };
  const labelWordId = (word: string, before = "It was "): LabelWordId => {
    const head = encode(before.trimEnd(), { special: false });
    const all = encode(before + word, { special: false });
    const [id, ...more] = all.slice(head.length);
    const keeps = word.trim() !== "" && head.every((other, index) => other === all[index]);
    if (keeps && id !== undefined && more.length === 0 && id !== model.unk) return { ok: true, id };
    const spelled = all.slice(head.length).map((other) => JSON.stringify(tokens[other]));
    const fault = !keeps
      ? "is blank or changes the tokens before it,"
      : spelled.length === 1
        ? "is unknown to the tokenizer"
        : `becomes ${spelled.length} tokens (${spelled.join(", ")})`;
    const remedy = "it must become one: choose a shorter or more common word";
    const message = `the label word ${JSON.stringify(word)} ${fault} behind ${JSON.stringify(before)}; ${remedy}`;
    return { ok: false, code: "label-word-tokens", message };
  };
  return {
    tokenize: Object.assign((text: string) => encode(text, { special: true }), { closing: frame.after.length }),
    encode,
    decode,
    idOf: (token) => ids.get(token) ?? null,
    special: specialIdsOf(parts),
    size: parts.size,
    labelWordId,
  };
}

function plainIdsOf(parts: Parts, text: string): number[] {
  return parts.cutRaw(text).flatMap((section) => {
    if (section.id !== undefined) return section.id;
    return parts.cutNormalized(parts.normalize(section.text)).flatMap((inner) => {
      if (inner.id !== undefined) return inner.id;
      const atStart = section.start === 0 && inner.start === 0;
      return parts.preTokenize.split({ text: inner.text, atStart }).flatMap(({ text: piece }) => parts.model.encode(piece));
    });
  });
}

/** Characters read for each token that is kept. Words are shorter than this, so the cut is never among the kept tokens of real text. */
export const CHARACTERS_PER_TOKEN = 16;
