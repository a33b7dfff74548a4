/**
 * A tokenizer.json, read without trust: its size and depth are limited before it is parsed, every part is checked, and what would give
 * other tokens than the reference does is refused. The file's own truncation and padding are not applied: a job says how long texts are.
 */
import { readFile, stat } from "node:fs/promises";
import * as z from "zod";
import { type AddedToken, addedTokensSchema, cutterOf, type Section } from "./added.ts";
import { type Decode, decoderSchema } from "./decoder.ts";
import { type Model, modelSchema } from "./model.ts";
import { type Normalize, normalizerSchema } from "./normalizer.ts";
import { type Frame, frameSchema } from "./postprocessor.ts";
import { type PreTokenizer, preTokenizerSchema } from "./pretokenizer.ts";

/** Gemma's, among the largest, has 33 MiB. */
export const FILE_BYTES_MAX = 64 * 1024 * 1024;
/** A pattern in a step of a sequence in a sequence lies 8 deep. */
export const FILE_DEPTH_MAX = 32;
const FAULTS_SHOWN_MAX = 5;

/** A tokenizer's parts, ready for use. */
export interface Parts {
  model: Model;
  added: readonly AddedToken[];
  /** Tokens that the model does not know have the ids behind the model's. */
  size: number;
  normalize: Normalize;
  preTokenize: PreTokenizer;
  /** Null joins tokens with spaces. */
  decode: Decode | null;
  frame: Frame;
  /** Cuts a text at the added tokens that stand in it as they are, and in its normalized form. */
  cutRaw: (text: string) => Section[];
  cutNormalized: (text: string) => Section[];
  /** The id that the file pads with, if it says so. */
  padId: number | null;
}

export type Read = { ok: true; parts: Parts } | { ok: false; message: string };

const nothing = { normalize: (text: string) => text, shortens: false };
const whole: PreTokenizer = { split: (piece) => [piece], needsStart: false, givesBytes: false };

const fileSchema = z.object({
  version: z.literal("1.0").optional(),
  added_tokens: addedTokensSchema.default([]),
  normalizer: normalizerSchema.nullish(),
  pre_tokenizer: preTokenizerSchema.nullish(),
  post_processor: frameSchema.nullish(),
  decoder: decoderSchema.nullish(),
  padding: z.looseObject({ pad_id: z.int().min(0).optional() }).nullish(),
  model: modelSchema,
});

/** Reads a tokenizer.json. A message says what is wrong with it, where, and what to do; it does not name the file. */
export async function readTokenizerFile(file: string): Promise<Read> {
  let bytes: Buffer;
  try {
    const found = await stat(file);
    if (!found.isFile()) return refused("it is not a file; check the path");
    const { size } = found;
    if (size > FILE_BYTES_MAX) return refused(`${size} bytes are more than ${FILE_BYTES_MAX}; use another tokenizer`);
    bytes = await readFile(file);
  } catch (cause) {
    return refused((cause as Error).message);
  }
  const depth = depthOf(bytes);
  if (depth > FILE_DEPTH_MAX) return refused(`it is nested more than ${FILE_DEPTH_MAX} deep; use another tokenizer`);
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString("utf8"));
  } catch {
    return refused("it is not JSON; take the file from its source again");
  }
  const parsed = fileSchema.safeParse(content);
  if (parsed.success) return partsOf(parsed.data);
  const faults = parsed.error.issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`));
  return refused([...faults.slice(0, FAULTS_SHOWN_MAX), ...(faults.length > FAULTS_SHOWN_MAX ? ["... and more"] : [])].join("; "));
}

/** What the schema cannot see: parts that do not fit each other. */
function partsOf(file: z.infer<typeof fileSchema>): Read {
  const { model, added_tokens: added } = file;
  const { normalize, shortens } = file.normalizer ?? nothing;
  const preTokenize = file.pre_tokenizer ?? whole;
  const frame = file.post_processor ?? { before: [], after: [] };
  const size = sizeWith(added, model);
  if (typeof size === "string") return refused(size);
  const stray = [...frame.before, ...frame.after].find((id) => id >= size);
  if (stray !== undefined) return refused(`post_processor: adds id ${stray}, but the vocabulary ends at ${size - 1}; correct it`);
  if (model.needsBytes && !preTokenize.givesBytes)
    return refused("model.unk_token: is not in the vocabulary, and nothing before the model turns text into bytes; add it");
  if (preTokenize.needsStart && shortens)
    return refused('pre_tokenizer: "first" after a normalizer that may shorten a text is not supported; use "always" or "never"');
  try {
    const cutRaw = cutterOf(
      added.filter(({ normalized }) => !normalized),
      ({ content }) => content,
    );
    const cutNormalized = cutterOf(
      added.filter(({ normalized }) => normalized),
      ({ content }) => normalize(content),
    );
    const padId = file.padding?.pad_id;
    const parts = { model, added, size, normalize, preTokenize, decode: file.decoder ?? null, frame, cutRaw, cutNormalized };
    return { ok: true, parts: { ...parts, padId: padId !== undefined && padId < size ? padId : null } };
  } catch (cause) {
    if (cause instanceof RangeError) return refused(`added_tokens: ${cause.message}`);
    throw cause;
  }
}

/** How many ids there are, or what is wrong. The reference numbers added tokens itself, whatever the file says; both must agree. */
function sizeWith(added: readonly AddedToken[], model: Model): number | string {
  let size = model.ids.size;
  const seen = new Set<string>();
  for (const { id, content } of added) {
    const named = JSON.stringify(content.slice(0, 40));
    if (seen.has(content)) return `added_tokens: ${named} is there twice; remove one`;
    seen.add(content);
    const expected = model.ids.get(content) ?? size++;
    if (id !== expected) return `added_tokens: ${named} has id ${id}, but its place in the vocabulary is ${expected}; correct it`;
  }
  return size;
}

/** How deep objects and arrays are nested, counted without parsing. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inText = false;
  for (let at = 0; at < bytes.length && deepest <= FILE_DEPTH_MAX; at++) {
    const byte = bytes[at];
    if (inText) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) inText = false;
    } else if (byte === 0x22) inText = true;
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return deepest;
}

function refused(message: string): Read {
  return { ok: false, message };
}
