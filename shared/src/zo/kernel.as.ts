// The arithmetic of arithmetic.md 2-5 in WebAssembly v128, four blocks of 128 elements at a time: theta[i] += r[i] * T[j(i)].
// Tensors are padded to whole spans of four blocks, so there is no tail code. AssemblyScript; built by build.ts.
// @ts-nocheck

@inline function rotl(x: v128, by: i32): v128 {
  return v128.or(i32x4.shl(x, by), i32x4.shr_u(x, 32 - by));
}

// Four calls of the generator side by side, for blocks b..b+3: lane l of a, b, c, d holds word 0..3 of block b + l.
// The words are stored block by block: 16 bytes a block, 64 in all.
@inline function words(block: u32, t: u32, step: u32, word3: u32, key: usize, out: usize): void {
  const k0 = load<i32>(key), k1 = load<i32>(key, 4), k2 = load<i32>(key, 8), k3 = load<i32>(key, 12);
  const k4 = 0x1BD11BDA ^ k0 ^ k1 ^ k2 ^ k3;
  let a = i32x4.add(i32x4.splat(block + k0), i32x4(0, 1, 2, 3));
  let b = i32x4.splat(t + k1), c = i32x4.splat(step + k2), d = i32x4.splat(word3 + k3);
  // Rounds 0-3, then key injection 1; rounds 4-7, injection 2; and so on (spec 2).
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 10), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 26), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 11), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 21), c);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 27), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 23), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 5), c);
  a = i32x4.add(a, i32x4.splat(k1)); b = i32x4.add(b, i32x4.splat(k2)); c = i32x4.add(c, i32x4.splat(k3)); d = i32x4.add(d, i32x4.splat(k4 + 1));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 20), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 17), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 11), c);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 25), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 10), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 18), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 20), c);
  a = i32x4.add(a, i32x4.splat(k2)); b = i32x4.add(b, i32x4.splat(k3)); c = i32x4.add(c, i32x4.splat(k4)); d = i32x4.add(d, i32x4.splat(k0 + 2));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 10), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 26), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 11), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 21), c);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 27), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 23), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 5), c);
  a = i32x4.add(a, i32x4.splat(k3)); b = i32x4.add(b, i32x4.splat(k4)); c = i32x4.add(c, i32x4.splat(k0)); d = i32x4.add(d, i32x4.splat(k1 + 3));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 20), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 17), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 11), c);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 25), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 10), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 18), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 20), c);
  a = i32x4.add(a, i32x4.splat(k4)); b = i32x4.add(b, i32x4.splat(k0)); c = i32x4.add(c, i32x4.splat(k1)); d = i32x4.add(d, i32x4.splat(k2 + 4));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 10), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 26), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 11), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 21), c);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a); c = i32x4.add(c, d); d = v128.xor(rotl(d, 27), c);
  a = i32x4.add(a, d); d = v128.xor(rotl(d, 23), a); c = i32x4.add(c, b); b = v128.xor(rotl(b, 5), c);
  a = i32x4.add(a, i32x4.splat(k0)); b = i32x4.add(b, i32x4.splat(k1)); c = i32x4.add(c, i32x4.splat(k2)); d = i32x4.add(d, i32x4.splat(k3 + 5));
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7), CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(out, v128.shuffle<i64>(ab, cd, 1, 3), 16);
  v128.store(out, v128.shuffle<i64>(AB, CD, 0, 2), 32);
  v128.store(out, v128.shuffle<i64>(AB, CD, 1, 3), 48);
}

// Four elements: the sign bit of each lane of `bits << shift` flips the sign of the table's entry.
@inline function move(p: usize, table: usize, bits: v128, shift: i32): void {
  const flip = v128.and(i32x4.shl(bits, shift), i32x4.splat(0x80000000));
  v128.store(p, f32x4.add(v128.load(p), v128.xor(v128.load(table), flip)));
}

@inline function moveClamped(p: usize, table: usize, bits: v128, shift: i32, low: v128, high: v128): void {
  const flip = v128.and(i32x4.shl(bits, shift), i32x4.splat(0x80000000));
  v128.store(p, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(p), v128.xor(v128.load(table), flip)), low), high));
}

@inline function base(block: u32, A: u32, B: u32, m: u32): u32 {
  return m ? (block * A + B) >> (32 - m) : 0;
}

/** theta[i] += r[i] * table[j(i)] over `blocks` blocks (a multiple of 4) from block `first`; `table` has K + 124 entries, wrapped. */
export function perturb(theta: usize, blocks: u32, first: u32, key: usize, t: u32, step: u32, group: u32, table: usize, m: u32, A: u32, B: u32, scratch: usize): void {
  for (let b: u32 = 0; b < blocks; b += 4) {
    words(first + b, t, step, group, key, scratch);
    for (let s: u32 = 0; s < 4; s++) {
      let bits = v128.load(scratch + (s << 4));
      let T = table + (base(first + b + s, A, B, m) << 2);
      for (let j = 0; j < 4; j++) {
        move(theta, T, bits, 0); move(theta + 16, T + 16, bits, 1); move(theta + 32, T + 32, bits, 2); move(theta + 48, T + 48, bits, 3);
        move(theta + 64, T + 64, bits, 4); move(theta + 80, T + 80, bits, 5); move(theta + 96, T + 96, bits, 6); move(theta + 112, T + 112, bits, 7);
        bits = i32x4.shl(bits, 8); theta += 128; T += 128;
      }
    }
  }
}

/** The same, each element then clamped to +-limit (spec 5). */
export function update(theta: usize, blocks: u32, first: u32, key: usize, t: u32, step: u32, group: u32, table: usize, m: u32, A: u32, B: u32, scratch: usize, limit: f32): void {
  const low = f32x4.splat(-limit), high = f32x4.splat(limit);
  for (let b: u32 = 0; b < blocks; b += 4) {
    words(first + b, t, step, group, key, scratch);
    for (let s: u32 = 0; s < 4; s++) {
      let bits = v128.load(scratch + (s << 4));
      let T = table + (base(first + b + s, A, B, m) << 2);
      for (let j = 0; j < 4; j++) {
        moveClamped(theta, T, bits, 0, low, high); moveClamped(theta + 16, T + 16, bits, 1, low, high);
        moveClamped(theta + 32, T + 32, bits, 2, low, high); moveClamped(theta + 48, T + 48, bits, 3, low, high);
        moveClamped(theta + 64, T + 64, bits, 4, low, high); moveClamped(theta + 80, T + 80, bits, 5, low, high);
        moveClamped(theta + 96, T + 96, bits, 6, low, high); moveClamped(theta + 112, T + 112, bits, 7, low, high);
        bits = i32x4.shl(bits, 8); theta += 128; T += 128;
      }
    }
  }
}

/** x[i] = theta[i] * scale as int32, for `count` elements (a multiple of 4); exact on the lattice. */
export function toIntegers(theta: usize, x: usize, count: u32, scale: f32): void {
  const by = f32x4.splat(scale);
  for (let i: u32 = 0; i < count; i += 4) v128.store(x + (i << 2), i32x4.trunc_sat_f32x4_s(f32x4.mul(v128.load(theta + (i << 2)), by)));
}

/** f[i] += c: the plain stream that the benchmark holds the perturb pass against. */
export function addConstant(f: usize, count: u32, c: f32): void {
  const by = f32x4.splat(c);
  for (let i: u32 = 0; i < count; i += 32) {
    const p = f + (i << 2);
    v128.store(p, f32x4.add(v128.load(p), by)); v128.store(p, f32x4.add(v128.load(p, 16), by), 16);
    v128.store(p, f32x4.add(v128.load(p, 32), by), 32); v128.store(p, f32x4.add(v128.load(p, 48), by), 48);
    v128.store(p, f32x4.add(v128.load(p, 64), by), 64); v128.store(p, f32x4.add(v128.load(p, 80), by), 80);
    v128.store(p, f32x4.add(v128.load(p, 96), by), 96); v128.store(p, f32x4.add(v128.load(p, 112), by), 112);
  }
}
