/** Which tokens are given up where a text or a prompt is too long. Pure: callers count what was cut. */

/**
 * The first (`side` "end") or last (`side` "start") `max` tokens: `side` is the one that is cut. `cut` is how many are gone.
 * Throws a RangeError where `max` is not a whole number from 0.
 */
export function truncate(tokens: readonly number[], max: number, side: "end" | "start"): { tokens: number[]; cut: number } {
  checkMax(max);
  const cut = Math.max(0, tokens.length - max);
  return { tokens: side === "end" ? tokens.slice(0, tokens.length - cut) : tokens.slice(cut), cut };
}

export interface PromptPart {
  tokens: readonly number[];
  /** Whether it may be cut: the texts of a row may, the words of a template may not. */
  cuttable: boolean;
}

export type FittedPrompt =
  | { ok: true; tokens: number[] /** How many tokens are gone. */; cut: number }
  | { ok: false; code: "prompt-too-long"; message: string };

/**
 * The parts of a prompt in a row, in at most `max` tokens. The rule: what is not cuttable stays whole, so that a template's end, behind
 * which a model answers, survives a long text in its middle. Token by token, the longest cuttable part loses its last; of equally long
 * parts the later one does. A cuttable part keeps its first token at least; a prompt that does not fit even then is refused.
 * Special tokens are parts too. Throws a RangeError where `max` is not a whole number from 0.
 */
export function fitPrompt(parts: readonly PromptPart[], max: number): FittedPrompt {
  checkMax(max);
  const total = parts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const least = parts.reduce((sum, { tokens, cuttable }) => sum + (cuttable ? Math.min(1, tokens.length) : tokens.length), 0);
  if (least > max) {
    const needs = `the prompt needs at least ${least} tokens without most of its text, more than ${max}`;
    const message = `${needs}; shorten the template or raise maxTokens`;
    return { ok: false, code: "prompt-too-long", message };
  }
  const room = max - (total - lengthAt(parts, Number.POSITIVE_INFINITY));
  let height = 1;
  for (let above = max + 1; above - height > 1; ) {
    const middle = Math.floor((height + above) / 2);
    if (lengthAt(parts, middle) <= room) height = middle;
    else above = middle;
  }
  // At this height all fit; the earliest of the longer parts share what is left.
  let left = Math.max(0, room - lengthAt(parts, height));
  const tokens = parts.flatMap(({ tokens: part, cuttable }) => {
    if (!cuttable || part.length <= height) return part;
    return part.slice(0, height + (left-- > 0 ? 1 : 0));
  });
  return { ok: true, tokens, cut: total - tokens.length };
}

/** How many tokens the cuttable parts have when none is longer than `height`. */
function lengthAt(parts: readonly PromptPart[], height: number): number {
  return parts.reduce((sum, { tokens, cuttable }) => sum + (cuttable ? Math.min(tokens.length, height) : 0), 0);
}

function checkMax(max: number): void {
  if (!Number.isInteger(max) || max < 0) throw new RangeError(`max is ${max}; it must be a whole number from 0`);
}
