/**
 * Where a tokenizer's patterns match, and what is cut there: Hugging Face's `tokenizers` 0.23.3 (the reference) to the letter.
 * A regular expression is translated from Oniguruma's syntax by the library; what it would translate into something else is refused.
 */
import * as z from "zod";
import { regexOf } from "./library.ts";

/** Classes of characters as the reference has them. JavaScript's own \s and \w are others. */
export const SPACE = String.raw`\p{White_Space}`;
export const WORD = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;
export const PUNCTUATION = String.raw`\p{P}$+<=>^${"`"}|~`;

export const PATTERN_CHARACTERS_MAX = 4_096;

/** A part of a text; the parts of a text in order cover it. */
export interface Span {
  start: number;
  end: number;
  isMatch: boolean;
}

/** `{String}` or `{Regex}` of a tokenizer.json, as a regular expression. */
export const patternSchema = z
  .union(
    [z.object({ String: z.string().min(1).max(PATTERN_CHARACTERS_MAX) }), z.object({ Regex: z.string().max(PATTERN_CHARACTERS_MAX) })],
    {
      error: `must be {"String": text} or {"Regex": text} of up to ${PATTERN_CHARACTERS_MAX} characters`,
    },
  )
  .transform((pattern, context) => {
    const translated =
      "String" in pattern ? new RegExp(pattern.String.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "gu") : translate(pattern.Regex);
    if (translated instanceof RegExp) return translated;
    context.issues.push({ code: "custom", input: pattern, message: translated });
    return z.NEVER;
  });

/** The reference's `find_matches`: the text as spans. An empty match right behind another match is none; nothing matches an empty text. */
export function spansOf(pattern: RegExp, text: string): Span[] {
  if (text === "") return [];
  const spans: Span[] = [];
  let last = 0;
  let matched = -1;
  for (const { index: start, 0: match } of text.matchAll(pattern)) {
    const end = start + match.length;
    if (start === end && start === matched) continue;
    if (last < start) spans.push({ start: last, end: start, isMatch: false });
    spans.push({ start, end, isMatch: true });
    last = end;
    matched = end;
  }
  if (last < text.length) spans.push({ start: last, end: text.length, isMatch: false });
  return spans;
}

export const BEHAVIORS = ["Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"] as const;
export type Behavior = (typeof BEHAVIORS)[number];

/** What is left of the spans when matches are treated so; the reference's `NormalizedString::split`. */
export function cut(spans: readonly Span[], behavior: Behavior): Span[] {
  if (behavior === "Removed") return spans.filter(({ isMatch }) => !isMatch);
  if (behavior === "Isolated") return [...spans];
  const ordered = behavior === "MergedWithNext" ? spans.toReversed() : spans;
  const merged: Span[] = [];
  let previous = false;
  for (const span of ordered) {
    const last = merged.at(-1);
    const joins = behavior === "Contiguous" ? span.isMatch === previous : span.isMatch && !previous;
    previous = span.isMatch;
    if (joins && last !== undefined)
      merged[merged.length - 1] = { ...last, start: Math.min(last.start, span.start), end: Math.max(last.end, span.end) };
    else merged.push(span);
  }
  return behavior === "MergedWithNext" ? merged.reverse() : merged;
}

/** What the library would drop or weaken without a word; escapes are E and classes are C when these are looked for. */
const UNTRANSLATED: readonly (readonly [RegExp, string])[] = [
  [/[+*?]\+/, "a possessive quantifier"],
  [/\(\?>/, "an atomic group"],
  [/\(\?[a-zA-Z-]*\)|\(\?(?!i:)[a-zA-Z-]+:|\(\?#|\(\?~|\(\?\(|\(\*/, "a group other than (...), (?:...), (?i:...) and looking around"],
];

function translate(regex: string): RegExp | string {
  const refused = (what: string) => `the regular expression ${JSON.stringify(regex.slice(0, 80))} has ${what}; write it without`;
  const bare = regex.replace(/\\[\s\S]/g, "E").replace(/\[(?:[^[\]]|\[[^[\]]*\])*\]/g, "C");
  const group = UNTRANSLATED.find(([pattern]) => pattern.test(bare));
  if (group !== undefined) return refused(group[1]);
  const odd = Array.from(regex.matchAll(/\\([\s\S])/g), ([found]) => found).find((found) => /[GKRXyYkg1-9]/.test(found));
  if (odd !== undefined) return refused(`the escape ${odd}`);
  const caseless = Array.from(regex.matchAll(CASELESS), ([, body]) => body as string);
  if (caseless.some((body) => !FOLDABLE.test(body))) return refused("more than letters in (?i:...)");
  try {
    return regexOf(regex.replace(CASELESS, (_, body: string) => `(?i:${folded(body)})`));
  } catch {
    return refused("what JavaScript has not");
  }
}

const CASELESS = /(?<!\\)\(\?i:([^)]*)\)/g;
/** Letters, alternatives and classes of letters; no two letters that are also one, as in a ligature or an eszett. */
const FOLDABLE = /^(?:(?!s[st]|f[fil])[A-Z'|? ]|\[[A-Z]+\])*$/i;

/** Without regard to case, s is also the long s and k the Kelvin sign; the library knows ASCII's two cases only. */
function folded(body: string): string {
  return body.replace(/\[[A-Z]+\]|[sk]/gi, (atom) => {
    const more = `${/s/i.test(atom) ? "\u017F" : ""}${/k/i.test(atom) ? "\u212A" : ""}`;
    return more === "" ? atom : `(?:${atom}|[${more}])`;
  });
}
