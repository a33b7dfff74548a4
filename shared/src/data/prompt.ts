/** Which tokens are given up where a text is too long. Pure: callers count what was cut. */

/**
 * The first (`side` "end") or last (`side` "start") `max` tokens: `side` is the one that is cut. `cut` is how many are gone.
 * Throws a RangeError where `max` is not a whole number from 0.
 */
export function truncate(tokens: readonly number[], max: number, side: "end" | "start"): { tokens: number[]; cut: number } {
  if (!Number.isInteger(max) || max < 0) throw new RangeError(`max is ${max}; it must be a whole number from 0`);
  const cut = Math.max(0, tokens.length - max);
  return { tokens: side === "end" ? tokens.slice(0, tokens.length - cut) : tokens.slice(cut), cut };
}
