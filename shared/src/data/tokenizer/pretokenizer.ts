/**
 * The pre-tokenizers of a tokenizer.json: a text into pieces, each of which the model turns into tokens by itself. Of those that the
 * reference knows, `CharDelimiterSplit`, `FixedLength` and `UnicodeScripts` are refused.
 */
import * as z from "zod";
import { byteCharactersOf } from "./bytes.ts";
import { kindsOf } from "./kinds.ts";
import { BEHAVIORS, type Behavior, cut, PUNCTUATION, patternSchema, SPACE, type Span, spansOf, WORD } from "./pattern.ts";

export interface Piece {
  text: string;
  /** Whether it begins where the whole text began. */
  atStart: boolean;
}

export interface PreTokenizer {
  /** Never gives an empty piece. */
  split: (piece: Piece) => Piece[];
  /** Whether it asks a piece whether it is at the start. */
  needsStart: boolean;
  /** Whether what it gives are bytes as characters. */
  givesBytes: boolean;
}

const any = (characters: string) => new RegExp(`[${characters}]`, "gu");
const ANY_SPACE = any(SPACE);
const ANY_PUNCTUATION = any(PUNCTUATION);
const ANY_NUMBER = /\p{N}/gu;
const WORD_OR_SIGNS = new RegExp(`[${WORD}]+|[^${WORD}${SPACE}]+`, "gu");
/** GPT-2's, with the reference's white space. */
const BYTE_LEVEL = new RegExp(
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^${SPACE}\p{L}\p{N}]+|${SPACE}+(?!\P{White_Space})|${SPACE}+`,
  "gu",
);

function piecesOf({ text, atStart }: Piece, spans: readonly Span[]): Piece[] {
  return spans
    .filter(({ start, end }) => start < end)
    .map(({ start, end }) => ({ text: text.slice(start, end), atStart: atStart && start === 0 }));
}

function splitter(pattern: RegExp, behavior: Behavior, inverted = false): PreTokenizer {
  const split = (piece: Piece) => {
    const spans = spansOf(pattern, piece.text);
    return piecesOf(piece, cut(inverted ? spans.map((span) => ({ ...span, isMatch: !span.isMatch })) : spans, behavior));
  };
  return { split, needsStart: false, givesBytes: false };
}

function inTurn(steps: readonly PreTokenizer[]): PreTokenizer {
  return {
    split: (piece) => steps.reduce((pieces, step) => pieces.flatMap(step.split), [piece]),
    needsStart: steps.some(({ needsStart }) => needsStart),
    givesBytes: steps.some(({ givesBytes }) => givesBytes),
  };
}

const behaviorSchema = z.enum(BEHAVIORS, { error: `must be one of ${BEHAVIORS.join(", ")}` });

const byteLevel = z
  .object({ add_prefix_space: z.boolean(), use_regex: z.boolean().default(true) })
  .transform(({ add_prefix_space, use_regex }): PreTokenizer => {
    const words = use_regex ? splitter(BYTE_LEVEL, "Isolated").split : (piece: Piece) => [piece];
    const split = ({ text, atStart }: Piece) =>
      words({ text: add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text, atStart }).map((word) => ({
        text: byteCharactersOf(word.text),
        atStart: word.atStart,
      }));
    return { split, needsStart: false, givesBytes: true };
  });

/** Also the decoder's: both are written alike. Older files say `add_prefix_space` in place of a scheme. */
export const metaspaceSchema = z
  .object({
    replacement: z.string().refine((text) => [...text].length === 1, "must be one character"),
    add_prefix_space: z.boolean().nullish(),
    prepend_scheme: z.enum(["always", "first", "never"]).default("always"),
    split: z.boolean().nullish(),
  })
  .refine(({ add_prefix_space, prepend_scheme }) => add_prefix_space !== false || prepend_scheme === "never", {
    error: 'add_prefix_space is false, so prepend_scheme must be "never"',
  });

const metaspace = metaspaceSchema.transform(({ replacement, prepend_scheme, split }): PreTokenizer => {
  const words = splitter(any(`\\u{${replacement.codePointAt(0)?.toString(16)}}`), "MergedWithNext").split;
  const prepends = ({ text, atStart }: Piece) =>
    !text.startsWith(replacement) && (prepend_scheme === "always" || (prepend_scheme === "first" && atStart));
  return {
    split: (piece) => {
      const marked = { ...piece, text: piece.text.replaceAll(" ", () => replacement) };
      if (prepends(marked)) marked.text = replacement + marked.text;
      return split === false ? [marked] : words(marked);
    },
    needsStart: prepend_scheme === "first",
    givesBytes: false,
  };
});

export const preTokenizerSchema: z.ZodType<PreTokenizer> = kindsOf("pre_tokenizer", {
  BertPreTokenizer: z.object({}).transform(() => inTurn([splitter(ANY_SPACE, "Removed"), splitter(ANY_PUNCTUATION, "Isolated")])),
  ByteLevel: byteLevel,
  Digits: z
    .object({ individual_digits: z.boolean() })
    .transform(({ individual_digits }) => splitter(ANY_NUMBER, individual_digits ? "Isolated" : "Contiguous")),
  Metaspace: metaspace,
  Punctuation: z.object({ behavior: behaviorSchema.default("Isolated") }).transform(({ behavior }) => splitter(ANY_PUNCTUATION, behavior)),
  Sequence: z.object({ pretokenizers: z.array(z.lazy(() => preTokenizerSchema)) }).transform(({ pretokenizers }) => inTurn(pretokenizers)),
  Split: z
    .object({ pattern: patternSchema, behavior: behaviorSchema, invert: z.boolean() })
    .transform(({ pattern, behavior, invert }) => splitter(pattern, behavior, invert)),
  Whitespace: z.object({}).transform(() => splitter(WORD_OR_SIGNS, "Removed", true)),
  WhitespaceSplit: z.object({}).transform(() => splitter(ANY_SPACE, "Removed")),
});
