/** The decoders of a tokenizer.json: tokens back into text. Of those that the reference knows, `CTC` (speech) is refused. */
import * as z from "zod";
import { CHARACTER_BYTES } from "./bytes.ts";
import { kindsOf } from "./kinds.ts";
import { replaced } from "./normalizer.ts";
import { patternSchema } from "./pattern.ts";
import { metaspaceSchema } from "./pretokenizer.ts";

/** A list of strings into another; joined, the last is the text. */
export type Decode = (tokens: readonly string[]) => readonly string[];

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const strictUtf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** A token with a character that stands for no byte is text. Bytes that are no UTF-8 become U+FFFD. */
const byteLevel: Decode = (tokens) => {
  const encoder = new TextEncoder();
  const bytes = tokens.flatMap((token) => {
    const spelled = Array.from(token, (character) => CHARACTER_BYTES.get(character));
    return spelled.every((byte) => byte !== undefined) ? spelled : [...encoder.encode(token)];
  });
  return [utf8.decode(Uint8Array.from(bytes))];
};

/** Runs of byte tokens become the characters that they spell, or one U+FFFD for each of their bytes. */
const byteFallback: Decode = (tokens) => {
  const result: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    try {
      result.push(strictUtf8.decode(Uint8Array.from(bytes)));
    } catch {
      result.push(...bytes.map(() => "\uFFFD"));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (byte !== undefined) bytes.push(Number.parseInt(byte, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
};

const CLEANUP = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " do not", " 's", " 've", " 're"] as const;

function cleaned(text: string): string {
  return CLEANUP.reduce((soFar, loose) => soFar.replaceAll(loose, loose === " do not" ? " don't" : loose.trim()), text);
}

const wordPiece = z.object({ prefix: z.string(), cleanup: z.boolean() }).transform(
  ({ prefix, cleanup }): Decode =>
    (tokens) =>
      tokens.map((token, index) => {
        const joined = index === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
        return cleanup ? cleaned(joined) : joined;
      }),
);

const metaspace = metaspaceSchema.transform(
  ({ replacement, prepend_scheme }): Decode =>
    (tokens) =>
      tokens.map((token, index) => token.replaceAll(replacement, index === 0 && prepend_scheme !== "never" ? "" : " ")),
);

const strip = z
  .object({
    content: z.string().refine((text) => [...text].length === 1, "must be one character"),
    start: z.int().min(0),
    stop: z.int().min(0),
  })
  .transform(
    ({ content, start, stop }): Decode =>
      (tokens) =>
        tokens.map((token) => {
          const characters = [...token];
          const others = (character: string) => character !== content;
          const first = characters.findIndex(others);
          const last = characters.findLastIndex(others);
          const from = Math.min(start, first < 0 ? characters.length : first);
          const to = Math.max(characters.length - stop, last + 1);
          return characters.slice(from, to).join("");
        }),
  );

export const decoderSchema: z.ZodType<Decode> = kindsOf("decoder", {
  BPEDecoder: z.object({ suffix: z.string().min(1) }).transform(
    ({ suffix }): Decode =>
      (tokens) =>
        tokens.map((token, index) => token.replaceAll(suffix, index === tokens.length - 1 ? "" : " ")),
  ),
  ByteFallback: z.object({}).transform((): Decode => byteFallback),
  ByteLevel: z.object({}).transform((): Decode => byteLevel),
  Fuse: z.object({}).transform((): Decode => (tokens) => [tokens.join("")]),
  Metaspace: metaspace,
  Replace: z.object({ pattern: patternSchema, content: z.string() }).transform(
    ({ pattern, content }): Decode =>
      (tokens) =>
        tokens.map((token) => replaced(token, pattern, content)),
  ),
  Sequence: z.object({ decoders: z.array(z.lazy(() => decoderSchema)) }).transform(
    ({ decoders }): Decode =>
      (tokens) =>
        decoders.reduce((soFar, decode) => decode(soFar), tokens),
  ),
  Strip: strip,
  WordPiece: wordPiece,
});
