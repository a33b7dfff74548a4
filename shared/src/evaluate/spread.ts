/** A part of the held-out examples that stands for all of them. Pure. */

const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * So many of the items at most, each once and always the same: spread over all, whether classes come in turns or one after the other (the
 * multiples of the golden section, as in Fibonacci hashing). All of them come as they are.
 */
export function spreadOver<T>(items: readonly T[], countMax: number): readonly T[] {
  const { length } = items;
  if (countMax >= length) return items;
  let stride = Math.max(1, Math.round(GOLDEN * length));
  while (commonDivisor(stride, length) > 1) stride++;
  return Array.from({ length: countMax }, (_, i) => items[(i * stride) % length] as T);
}

function commonDivisor(one: number, other: number): number {
  return other === 0 ? one : commonDivisor(other, one % other);
}
