/**
 * The models of a tokenizer.json: a piece of text into token ids. BPE and WordPiece are the library's; for Unigram it has the trie, and the
 * best path is looked for here, because the library adds scores in another order and so breaks near-ties otherwise than the reference.
 */
import * as z from "zod";
import { BYTE_CHARACTERS, byteToken } from "./bytes.ts";
import { kindsOf } from "./kinds.ts";
import { bpeOf, prefixesOf, wordPieceOf } from "./library.ts";

export interface Model {
  /** Token to id; the ids are 0 to the size - 1, each once. */
  ids: ReadonlyMap<string, number>;
  /** What stands for text that no token covers; null where such text is left out. */
  unk: number | null;
  /** Whether it covers any text only after a byte-level pre-tokenizer: it has all bytes, and nothing for what is unknown. */
  needsBytes: boolean;
  encode: (piece: string) => number[];
}

export const TOKENS_MAX = 1_000_000;
export const TOKEN_CHARACTERS_MAX = 1_024;
const BYTES = Array.from({ length: 256 }, (_, byte) => byte);

type Context = z.RefinementCtx<unknown>;

function refuse(context: Context, path: string, message: string): never {
  context.issues.push({ code: "custom", input: undefined, path: [path], message });
  return z.NEVER;
}

/** The vocabulary as a map, or what is wrong with it. Checked by hand: a schema for each of a million entries takes seconds. */
function idsOf(entries: readonly (readonly [token: unknown, id: unknown])[]): Map<string, number> | string {
  const size = entries.length;
  if (size < 1 || size > TOKENS_MAX) return `${size} tokens; there must be 1 to ${TOKENS_MAX}`;
  const ids = new Map<string, number>();
  const taken = new Uint8Array(size);
  for (const [token, id] of entries) {
    if (typeof token !== "string" || token.length > TOKEN_CHARACTERS_MAX)
      return `the token with id ${String(id).slice(0, 20)} must be text of at most ${TOKEN_CHARACTERS_MAX} characters`;
    const named = `the token ${JSON.stringify(token.slice(0, 40))}`;
    if (ids.has(token)) return `${named} is there twice; take the file from its source again`;
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= size)
      return `${named} has id ${String(id).slice(0, 20)}; ${size} tokens have the ids 0 to ${size - 1}, without holes`;
    if (taken[id] === 1) return `${named} has id ${id}, which another token has; take the file from its source again`;
    taken[id] = 1;
    ids.set(token, id);
  }
  return ids;
}

const vocabSchema = z
  .custom<Record<string, unknown>>((value) => typeof value === "object" && value !== null && !Array.isArray(value), {
    error: "must be an object of tokens and their ids",
  })
  .transform((vocab, context) => {
    const ids = idsOf(Object.entries(vocab));
    if (typeof ids !== "string") return ids;
    context.issues.push({ code: "custom", input: undefined, message: ids });
    return z.NEVER;
  });

const wordPiece = z
  .object({
    vocab: vocabSchema,
    unk_token: z.string(),
    continuing_subword_prefix: z.string().default("##"),
    max_input_chars_per_word: z.int().min(1).default(100),
  })
  .transform(({ vocab: ids, ...config }, context): Model => {
    const unk = ids.get(config.unk_token);
    if (unk === undefined) return refuse(context, "unk_token", `${JSON.stringify(config.unk_token)} is not in the vocabulary; add it`);
    const tokensOf = wordPieceOf({ ...config, vocab: Object.fromEntries(ids) });
    return { ids, unk, needsBytes: false, encode: (piece) => tokensOf(piece).map((token) => ids.get(token) as number) };
  });

const bpe = z
  .object({
    vocab: vocabSchema,
    merges: z.array(z.unknown()).max(TOKENS_MAX),
    dropout: z.number().nullish(),
    unk_token: z.string().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
    fuse_unk: z.boolean().nullish(),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
  })
  .transform((config, context): Model => {
    const ids = config.vocab;
    if (config.dropout)
      return refuse(context, "dropout", `is ${config.dropout}: a text would have other tokens every time; set it to null`);
    if (config.continuing_subword_prefix) return refuse(context, "continuing_subword_prefix", "is not supported; use another tokenizer");
    if (config.byte_fallback && !BYTES.every((byte) => ids.has(byteToken(byte))))
      return refuse(context, "byte_fallback", "needs the tokens <0x00> to <0xFF> in the vocabulary; set it to false or add them");
    const unk = config.unk_token == null ? null : (ids.get(config.unk_token) ?? null);
    const knowsBytes = BYTE_CHARACTERS.every((character) => ids.has(character));
    if (config.unk_token != null && unk === null && !knowsBytes && !config.byte_fallback)
      return refuse(context, "unk_token", `${JSON.stringify(config.unk_token)} is not in the vocabulary; add it`);
    if (config.unk_token == null && config.end_of_word_suffix)
      return refuse(context, "end_of_word_suffix", "without an unk_token is not supported; name the unknown token");
    const merges = mergesOf(config.merges, ids, config.byte_fallback === true);
    if (typeof merges === "string") return refuse(context, "merges", merges);
    const tokensOf = bpeOf({
      vocab: Object.fromEntries(ids),
      merges,
      unk_token: unk === null ? null : (config.unk_token ?? null),
      end_of_word_suffix: config.end_of_word_suffix ?? null,
      fuse_unk: config.fuse_unk ?? false,
      byte_fallback: config.byte_fallback ?? false,
    });
    // Without an unknown token the reference leaves unknown characters out before it merges, the library only after that.
    const known = (piece: string) => Array.from(piece, (character) => (ids.has(character) ? character : "")).join("");
    const dropsUnknown = unk === null && !config.byte_fallback;
    const needsBytes = config.unk_token != null && dropsUnknown;
    const encode = (piece: string) => {
      const whole = config.ignore_merges ? ids.get(piece) : undefined;
      if (whole !== undefined) return [whole];
      return tokensOf(dropsUnknown ? known(piece) : piece).map((token) => ids.get(token) as number);
    };
    return { ids, unk, needsBytes, encode };
  });

/** Pairs of tokens whose union is a token. Older files write a pair as a text with a space between. */
function mergesOf(merges: readonly unknown[], ids: ReadonlyMap<string, number>, byteFallback: boolean): [string, string][] | string {
  const pairs: [string, string][] = [];
  for (const [rank, merge] of merges.entries()) {
    if (typeof merge === "string" && merge.startsWith("#version")) continue;
    const parts: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = parts;
    if (parts.length !== 2 || typeof left !== "string" || typeof right !== "string") return `merge ${rank} is not a pair of tokens`;
    for (const token of [left, right, left + right])
      if (!ids.has(token)) return `merge ${rank} needs the token ${JSON.stringify(token.slice(0, 40))}, which is not in the vocabulary`;
    if (byteFallback && [left, right].some((token) => /^<0x[0-9A-F]{2}>$/.test(token))) return `merge ${rank} merges byte tokens`;
    pairs.push([left, right]);
  }
  return pairs;
}

const UNKNOWN_PENALTY = 10;

const unigram = z
  .object({
    vocab: z.array(z.unknown(), { error: "must be a list of [token, score]" }),
    unk_id: z.int({ error: "must be the id of the unknown token" }),
    byte_fallback: z.boolean().default(false),
  })
  .transform(({ vocab, unk_id: unk, byte_fallback }, context): Model => {
    const scores: number[] = [];
    for (const [id, entry] of vocab.slice(0, TOKENS_MAX).entries()) {
      const score: unknown = Array.isArray(entry) && entry.length === 2 ? entry[1] : undefined;
      if (typeof score !== "number" || !Number.isFinite(score)) return refuse(context, "vocab", `entry ${id} is not [token, score]`);
      scores.push(score);
    }
    const ids = idsOf(vocab.map((entry, id) => [(entry as [unknown])[0], id]));
    if (typeof ids === "string") return refuse(context, "vocab", ids);
    if (unk < 0 || unk >= ids.size) return refuse(context, "unk_id", `is ${unk}; it must be 0 to ${ids.size - 1}`);
    const bytes = byte_fallback ? BYTES.map((byte) => ids.get(byteToken(byte))) : [];
    const fallback = (text: string) => {
      const found = Array.from(new TextEncoder().encode(text), (byte) => bytes[byte]);
      return found.every((id) => id !== undefined) ? found : [unk];
    };
    const pathOf = bestPaths(ids, scores, unk);
    return { ids, unk, needsBytes: false, encode: (piece) => pathOf(piece).flatMap((token) => ids.get(token) ?? fallback(token)) };
  });

/** The reference's `encode_optimized`: the path with the largest sum, added from the left; unknown characters in a row are one token. */
function bestPaths(ids: ReadonlyMap<string, number>, scores: readonly number[], unk: number): (piece: string) => string[] {
  const prefixes = prefixesOf(ids.keys());
  const unknown = scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY) - UNKNOWN_PENALTY;
  return (piece) => {
    const characters = [...piece];
    const best = new Float64Array(characters.length + 1);
    const starts = new Int32Array(characters.length + 1).fill(-1);
    const isUnknown = new Uint8Array(characters.length + 1);
    const offer = (start: number, end: number, score: number, id: number) => {
      const sum = score + (best[start] as number);
      if (starts[end] !== -1 && sum <= (best[end] as number)) return;
      best[end] = sum;
      starts[end] = start;
      isUnknown[end] = id === unk ? 1 : 0;
    };
    for (let start = 0; start < characters.length; start++) {
      let isCovered = false;
      for (const token of prefixes(characters, start)) {
        const id = ids.get(token) as number;
        const length = [...token].length;
        offer(start, start + length, scores[id] as number, id);
        isCovered ||= length === 1;
      }
      if (!isCovered) offer(start, start + 1, unknown, unk);
    }
    const tokens: string[] = [];
    let joins = false;
    for (let end = characters.length; end > 0; end = starts[end] as number) {
      const token = characters.slice(starts[end], end).join("");
      if (isUnknown[end] === 1 && joins) tokens[tokens.length - 1] = token + tokens.at(-1);
      else tokens.push(token);
      joins = isUnknown[end] === 1;
    }
    return tokens.reverse();
  };
}

/** A piece is a token or unknown: words, or characters, as for recurrent nets. */
const wordLevel = z.object({ vocab: vocabSchema, unk_token: z.string() }).transform(({ vocab: ids, unk_token }, context): Model => {
  const unk = ids.get(unk_token);
  // Where the pieces cannot be unknown, as a byte's characters, the reference needs no such token; here there must be one.
  if (unk === undefined) return refuse(context, "unk_token", `${JSON.stringify(unk_token)} is not in the vocabulary; add it`);
  return { ids, unk, needsBytes: false, encode: (piece) => (piece === "" ? [] : [ids.get(piece) ?? unk]) };
});

const kinds = kindsOf("model", { BPE: bpe, Unigram: unigram, WordLevel: wordLevel, WordPiece: wordPiece });

/** Older files leave the model's type out; the reference tells it by the fields. */
export const modelSchema: z.ZodType<Model> = z.preprocess((config) => {
  if (typeof config !== "object" || config === null || "type" in config) return config;
  return { ...config, type: "merges" in config ? "BPE" : "unk_id" in config ? "Unigram" : "WordPiece" };
}, kinds);
