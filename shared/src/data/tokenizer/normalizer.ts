/** The normalizers of a tokenizer.json as functions of a text. Of those that the reference knows, `Nmt` and `ByteLevel` are refused. */
import * as z from "zod";
import { charsmapSchema } from "./charsmap.ts";
import { kindsOf } from "./kinds.ts";
import { patternSchema, SPACE, spansOf } from "./pattern.ts";

export type Normalize = (text: string) => string;

export interface Normalizer {
  normalize: Normalize;
  /** Whether it may take away the beginning of a text; then nothing tells whether what is left begins where the text began. */
  shortens: boolean;
}

/** Character by character as in the reference: without the Greek rule for a sigma at the end of a word, JavaScript's only such rule. */
const lowercase: Normalize = (text) => text.replaceAll("\u03A3", "\u03C3").toLowerCase();

const unicode = (form: "NFC" | "NFD" | "NFKC" | "NFKD") =>
  z.object({}).transform((): Normalizer => ({ normalize: (text) => text.normalize(form), shortens: false }));

const bert = z
  .object({
    clean_text: z.boolean(),
    handle_chinese_chars: z.boolean(),
    strip_accents: z.boolean().nullish(),
    lowercase: z.boolean(),
  })
  .transform((config): Normalizer => {
    const steps: Normalize[] = [];
    if (config.clean_text) steps.push((text) => text.replace(UNCLEAN, "").replace(ANY_SPACE, " "));
    if (config.handle_chinese_chars) steps.push((text) => text.replace(CHINESE, " $& "));
    if (config.strip_accents ?? config.lowercase) steps.push((text) => text.normalize("NFD").replace(/\p{Mn}/gu, ""));
    if (config.lowercase) steps.push(lowercase);
    return { normalize: inTurn(steps), shortens: true };
  });

const UNCLEAN = /[\0\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu;
const ANY_SPACE = new RegExp(SPACE, "gu");
/** With the reference's slip: 2B920, where the block begins at 2B820. */
const CHINESE = /[\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

const strip = z.object({ strip_left: z.boolean(), strip_right: z.boolean() }).transform(
  ({ strip_left, strip_right }): Normalizer => ({
    normalize: (text) => {
      const right = strip_right ? text.replace(SPACE_AT_END, "") : text;
      return strip_left ? right.replace(SPACE_AT_START, "") : right;
    },
    shortens: strip_left,
  }),
);

const SPACE_AT_START = new RegExp(`^${SPACE}+`, "u");
/** Looked for only where no space is before it: the time stays linear in the text. */
const SPACE_AT_END = new RegExp(`(?<!${SPACE})${SPACE}+$`, "u");

const replace = z.object({ pattern: patternSchema, content: z.string() }).transform(
  ({ pattern, content }): Normalizer => ({
    normalize: (text) => replaced(text, pattern, content),
    shortens: content === "",
  }),
);

/** Every match as `content`, which is taken as it is: no `$1` in it means anything. */
export function replaced(text: string, pattern: RegExp, content: string): string {
  return spansOf(pattern, text)
    .map(({ start, end, isMatch }) => (isMatch ? content : text.slice(start, end)))
    .join("");
}

const sequence = z.object({ normalizers: z.array(z.lazy(() => normalizerSchema)) }).transform(
  ({ normalizers }): Normalizer => ({
    normalize: inTurn(normalizers.map(({ normalize }) => normalize)),
    shortens: normalizers.some(({ shortens }) => shortens),
  }),
);

export const normalizerSchema: z.ZodType<Normalizer> = kindsOf("normalizer", {
  BertNormalizer: bert,
  Lowercase: z.object({}).transform((): Normalizer => ({ normalize: lowercase, shortens: false })),
  NFC: unicode("NFC"),
  NFD: unicode("NFD"),
  NFKC: unicode("NFKC"),
  NFKD: unicode("NFKD"),
  Precompiled: charsmapSchema.transform((normalize): Normalizer => ({ normalize, shortens: true })),
  Prepend: z
    .object({ prepend: z.string() })
    .transform(({ prepend }): Normalizer => ({ normalize: (text) => (text === "" ? "" : prepend + text), shortens: false })),
  Replace: replace,
  Sequence: sequence,
  Strip: strip,
  StripAccents: z.object({}).transform((): Normalizer => ({ normalize: (text) => text.replace(/\p{M}/gu, ""), shortens: true })),
});

function inTurn(steps: readonly Normalize[]): Normalize {
  return (text) => steps.reduce((soFar, step) => step(soFar), text);
}
