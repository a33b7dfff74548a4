/** Threefry4x32 with 20 rounds (Salmon et al., Random123; shared/spec/arithmetic.md 2), as the spec writes it. */

/** The job's 128-bit key as four u32. */
export type Key = readonly [number, number, number, number];
export type Words = [number, number, number, number];

const ROTATIONS = [
  [10, 26],
  [11, 21],
  [13, 27],
  [23, 5],
  [6, 20],
  [17, 11],
  [25, 10],
  [18, 20],
] as const;

const rotl = (v: number, by: number) => (v << by) | (v >>> (32 - by));

/** F(c0,c1,c2,c3) under `key`: four u32. */
export function threefry(key: Key, c0: number, c1: number, c2: number, c3: number): Words {
  const ks = [...key, 0x1bd11bda ^ key[0] ^ key[1] ^ key[2] ^ key[3]] as [number, number, number, number, number];
  let x0 = (c0 + ks[0]) | 0;
  let x1 = (c1 + ks[1]) | 0;
  let x2 = (c2 + ks[2]) | 0;
  let x3 = (c3 + ks[3]) | 0;
  for (let r = 0; r < 20; r++) {
    const [p, s] = ROTATIONS[r % 8] as readonly [number, number];
    if (r % 2 === 0) {
      x0 = (x0 + x1) | 0;
      x1 = rotl(x1, p) ^ x0;
      x2 = (x2 + x3) | 0;
      x3 = rotl(x3, s) ^ x2;
    } else {
      x0 = (x0 + x3) | 0;
      x3 = rotl(x3, p) ^ x0;
      x2 = (x2 + x1) | 0;
      x1 = rotl(x1, s) ^ x2;
    }
    if (r % 4 === 3) {
      const j = (r + 1) / 4;
      const at = (i: number) => ks[(j + i) % 5] as number;
      x0 = (x0 + at(0)) | 0;
      x1 = (x1 + at(1)) | 0;
      x2 = (x2 + at(2)) | 0;
      x3 = (x3 + at(3) + j) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0, x2 >>> 0, x3 >>> 0];
}
