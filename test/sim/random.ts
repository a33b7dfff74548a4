/** Chance from one number: xoshiro128** (Blackman and Vigna), its state filled by splitmix32 from both halves of a seed below 2^53. */

export interface Random {
  /** In [0, 1). */
  next(): number;
  /** Whole, from `least` to `most` inclusive. */
  whole(least: number, most: number): number;
  between(least: number, most: number): number;
  /** Between two positive bounds, each magnitude as likely as another. */
  magnitude(least: number, most: number): number;
  chance(probability: number): boolean;
  pick<T>(all: readonly T[]): T;
}

export function createRandom(seed: number): Random {
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  const state = new Uint32Array(4);
  let mixed = low ^ Math.imul(high, 0x9e3779b1);
  for (let i = 0; i < 4; i++) {
    mixed = (mixed + 0x9e3779b9) | 0;
    let z = mixed ^ high;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    state[i] = z ^ (z >>> 15);
  }
  if (state.every((word) => word === 0)) state[0] = 1;
  const rotate = (v: number, by: number) => (v << by) | (v >>> (32 - by));
  const word = () => {
    const [a, b, c, d] = state as unknown as [number, number, number, number];
    const out = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const c2 = c ^ a;
    const d2 = d ^ b;
    state[0] = a ^ d2;
    state[1] = b ^ c2;
    state[2] = c2 ^ (b << 9);
    state[3] = rotate(d2, 11);
    return out;
  };
  const next = () => word() / 2 ** 32;
  return {
    next,
    whole: (least, most) => least + Math.floor(next() * (most - least + 1)),
    between: (least, most) => least + next() * (most - least),
    magnitude: (least, most) => least * (most / least) ** next(),
    chance: (probability) => next() < probability,
    pick: (all) => all[Math.floor(next() * all.length)] as never,
  };
}
