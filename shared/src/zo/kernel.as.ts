// The arithmetic of arithmetic.md 2-5 in WebAssembly v128: theta[i] += r[i] * T[j(i)] in blocks of 128 elements.
// Tensors are padded to whole spans of four blocks, so there is no tail code. AssemblyScript; built by build.ts.
// Offsets are literals (the compiler takes no others as immediates), and two chains of the generator take turns line by line: one
// alone waits for its own results half of the time, and the processor does not look far enough ahead to start the next.
// @ts-nocheck

// `work`, laid out by instance.ts: the sign bit in four lanes; the key schedule, each word in four lanes, for the start and after
// rounds 4, 8, 12, 16 and 20 (spec 2), the first of all with the block offsets of the lanes; room for 16 blocks' words; a sink.
// (The sign bit is read from memory because the runtime would build a constant anew for every use.)
const WORDS: usize = 400, SINK: usize = 256;
// A move, 24 bytes: what one group of one step adds to a tensor.
const STEP: usize = 0, GROUP: usize = 4, TABLE: usize = 8, M: usize = 12, A: usize = 16, B: usize = 20, MOVE: usize = 24;
// The farthest that `update` looks, in blocks: entries then coincide to within some 2^32 / (FARTHEST / 8) of the table.
const FARTHEST: u32 = 4096;

@inline function rotl(x: v128, by: i32): v128 {
  return v128.or(i32x4.shl(x, by), i32x4.shr_u(x, 32 - by));
}

// Four blocks' words, lane l of a, b, c, d holding word 0..3 of block l, stored block by block: 16 bytes a block.
@inline function store(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7), CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(out, v128.shuffle<i64>(ab, cd, 1, 3), 16);
  v128.store(out, v128.shuffle<i64>(AB, CD, 0, 2), 32);
  v128.store(out, v128.shuffle<i64>(AB, CD, 1, 3), 48);
}

// F(block..block+3, t, step, group) of one move, then of another: 64 bytes each.
@inline function words(t: u32, block: u32, move: usize, otherBlock: u32, otherMove: usize, work: usize, out: usize): void {
  const k0 = v128.load(work, 16), k2 = v128.load(work, 48), k3 = v128.load(work, 64);
  let a = i32x4.add(i32x4.splat(block), k0), b = i32x4.add(i32x4.splat(t), v128.load(work, 32));
  let c = i32x4.add(v128.load_splat<u32>(move, STEP), k2), d = i32x4.add(v128.load_splat<u32>(move, GROUP), k3);
  let e = i32x4.add(i32x4.splat(otherBlock), k0), f = b;
  let g = i32x4.add(v128.load_splat<u32>(otherMove, STEP), k2), h = i32x4.add(v128.load_splat<u32>(otherMove, GROUP), k3);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 10), a); f = v128.xor(rotl(f, 10), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 26), c); h = v128.xor(rotl(h, 26), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 11), a); h = v128.xor(rotl(h, 11), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 21), c); f = v128.xor(rotl(f, 21), g);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 13), a); f = v128.xor(rotl(f, 13), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 27), c); h = v128.xor(rotl(h, 27), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 23), a); h = v128.xor(rotl(h, 23), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 5), c); f = v128.xor(rotl(f, 5), g);
  a = i32x4.add(a, v128.load(work, 80)); b = i32x4.add(b, v128.load(work, 96)); c = i32x4.add(c, v128.load(work, 112)); d = i32x4.add(d, v128.load(work, 128));
  e = i32x4.add(e, v128.load(work, 80)); f = i32x4.add(f, v128.load(work, 96)); g = i32x4.add(g, v128.load(work, 112)); h = i32x4.add(h, v128.load(work, 128));
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 6), a); f = v128.xor(rotl(f, 6), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 20), c); h = v128.xor(rotl(h, 20), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 17), a); h = v128.xor(rotl(h, 17), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 11), c); f = v128.xor(rotl(f, 11), g);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 25), a); f = v128.xor(rotl(f, 25), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 10), c); h = v128.xor(rotl(h, 10), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 18), a); h = v128.xor(rotl(h, 18), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 20), c); f = v128.xor(rotl(f, 20), g);
  a = i32x4.add(a, v128.load(work, 144)); b = i32x4.add(b, v128.load(work, 160)); c = i32x4.add(c, v128.load(work, 176)); d = i32x4.add(d, v128.load(work, 192));
  e = i32x4.add(e, v128.load(work, 144)); f = i32x4.add(f, v128.load(work, 160)); g = i32x4.add(g, v128.load(work, 176)); h = i32x4.add(h, v128.load(work, 192));
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 10), a); f = v128.xor(rotl(f, 10), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 26), c); h = v128.xor(rotl(h, 26), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 11), a); h = v128.xor(rotl(h, 11), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 21), c); f = v128.xor(rotl(f, 21), g);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 13), a); f = v128.xor(rotl(f, 13), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 27), c); h = v128.xor(rotl(h, 27), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 23), a); h = v128.xor(rotl(h, 23), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 5), c); f = v128.xor(rotl(f, 5), g);
  a = i32x4.add(a, v128.load(work, 208)); b = i32x4.add(b, v128.load(work, 224)); c = i32x4.add(c, v128.load(work, 240)); d = i32x4.add(d, v128.load(work, 256));
  e = i32x4.add(e, v128.load(work, 208)); f = i32x4.add(f, v128.load(work, 224)); g = i32x4.add(g, v128.load(work, 240)); h = i32x4.add(h, v128.load(work, 256));
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 6), a); f = v128.xor(rotl(f, 6), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 20), c); h = v128.xor(rotl(h, 20), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 17), a); h = v128.xor(rotl(h, 17), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 11), c); f = v128.xor(rotl(f, 11), g);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 25), a); f = v128.xor(rotl(f, 25), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 10), c); h = v128.xor(rotl(h, 10), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 18), a); h = v128.xor(rotl(h, 18), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 20), c); f = v128.xor(rotl(f, 20), g);
  a = i32x4.add(a, v128.load(work, 272)); b = i32x4.add(b, v128.load(work, 288)); c = i32x4.add(c, v128.load(work, 304)); d = i32x4.add(d, v128.load(work, 320));
  e = i32x4.add(e, v128.load(work, 272)); f = i32x4.add(f, v128.load(work, 288)); g = i32x4.add(g, v128.load(work, 304)); h = i32x4.add(h, v128.load(work, 320));
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 10), a); f = v128.xor(rotl(f, 10), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 26), c); h = v128.xor(rotl(h, 26), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 11), a); h = v128.xor(rotl(h, 11), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 21), c); f = v128.xor(rotl(f, 21), g);
  a = i32x4.add(a, b); e = i32x4.add(e, f); b = v128.xor(rotl(b, 13), a); f = v128.xor(rotl(f, 13), e);
  c = i32x4.add(c, d); g = i32x4.add(g, h); d = v128.xor(rotl(d, 27), c); h = v128.xor(rotl(h, 27), g);
  a = i32x4.add(a, d); e = i32x4.add(e, h); d = v128.xor(rotl(d, 23), a); h = v128.xor(rotl(h, 23), e);
  c = i32x4.add(c, b); g = i32x4.add(g, f); b = v128.xor(rotl(b, 5), c); f = v128.xor(rotl(f, 5), g);
  a = i32x4.add(a, v128.load(work, 336)); b = i32x4.add(b, v128.load(work, 352)); c = i32x4.add(c, v128.load(work, 368)); d = i32x4.add(d, v128.load(work, 384));
  e = i32x4.add(e, v128.load(work, 336)); f = i32x4.add(f, v128.load(work, 352)); g = i32x4.add(g, v128.load(work, 368)); h = i32x4.add(h, v128.load(work, 384));
  store(out, a, b, c, d);
  store(out + 64, e, f, g, h);
}

// The sign bit of each lane of `bits << shift` flips the sign of the table's entry.
@inline function signed(entry: v128, bits: v128, shift: i32, sign: v128): v128 {
  return v128.xor(entry, v128.and(i32x4.shl(bits, shift), sign));
}

// Byte offset of the table's entry at which a block begins.
@inline function base(block: u32, move: usize): u32 {
  const m = load<u32>(move, M);
  return m ? ((block * load<u32>(move, A) + load<u32>(move, B)) >> (32 - m)) << 2 : 0;
}

/** theta[i] += r[i] * table[j(i)] over `blocks` blocks (a multiple of 4) from block `first`; a table has K + 124 entries, wrapped. */
export function perturb(theta: usize, blocks: u32, first: u32, t: u32, move: usize, work: usize): void {
  const sign = v128.load(work), out = work + WORDS, table = load<u32>(move, TABLE);
  for (let b: u32 = 0; b < blocks; b += 8) {
    words(t, first + b, move, first + b + 4, move, work, out);
    for (let s: u32 = 0, n = min(8, blocks - b); s < n; s++) {
      let bits = v128.load(out + (s << 4)), T = table + base(first + b + s, move);
      for (let j = 0; j < 4; j++) {
        v128.store(theta, f32x4.add(v128.load(theta), signed(v128.load(T), bits, 0, sign)));
        v128.store(theta, f32x4.add(v128.load(theta, 16), signed(v128.load(T, 16), bits, 1, sign)), 16);
        v128.store(theta, f32x4.add(v128.load(theta, 32), signed(v128.load(T, 32), bits, 2, sign)), 32);
        v128.store(theta, f32x4.add(v128.load(theta, 48), signed(v128.load(T, 48), bits, 3, sign)), 48);
        v128.store(theta, f32x4.add(v128.load(theta, 64), signed(v128.load(T, 64), bits, 4, sign)), 64);
        v128.store(theta, f32x4.add(v128.load(theta, 80), signed(v128.load(T, 80), bits, 5, sign)), 80);
        v128.store(theta, f32x4.add(v128.load(theta, 96), signed(v128.load(T, 96), bits, 6, sign)), 96);
        v128.store(theta, f32x4.add(v128.load(theta, 112), signed(v128.load(T, 112), bits, 7, sign)), 112);
        bits = i32x4.shl(bits, 8); theta += 128; T += 128;
      }
    }
  }
}

// How far apart, `most` blocks at most, two blocks lie whose entries nearly coincide: block b begins at the fraction (b * a + c) / 2^32
// of the table, so the fraction of distance * a is next to 0. Odd multiples of four, lest a store look like a load of the other block.
function apart(move: usize, most: u32): u32 {
  const a = load<u32>(move, A);
  let best: u32 = 4, nearest = u32.MAX_VALUE;
  for (let distance: u32 = 4, end = min(most, FARTHEST); distance <= end; distance += 8) {
    const offset = abs(<i32>(distance * a)) as u32;
    if (offset < nearest) { nearest = offset; best = distance; }
  }
  return best;
}

// Brings the 128 entries of the next block's table into the first cache, where a table of 4,096 does not stay by itself.
@inline function touch(touched: v128, T: usize): v128 {
  const one = v128.xor(v128.xor(v128.load(T), v128.load(T, 64)), v128.xor(v128.load(T, 128), v128.load(T, 192)));
  const other = v128.xor(v128.xor(v128.load(T, 256), v128.load(T, 320)), v128.xor(v128.load(T, 384), v128.load(T, 448)));
  return v128.xor(touched, v128.xor(one, other));
}

// One block of the pass below.
@inline function clamped(theta: usize, T: usize, bits: v128, sign: v128, low: v128, high: v128): void {
  for (let j = 0; j < 4; j++) {
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta), signed(v128.load(T), bits, 0, sign)), low), high));
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 16), signed(v128.load(T, 16), bits, 1, sign)), low), high), 16);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 32), signed(v128.load(T, 32), bits, 2, sign)), low), high), 32);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 48), signed(v128.load(T, 48), bits, 3, sign)), low), high), 48);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 64), signed(v128.load(T, 64), bits, 4, sign)), low), high), 64);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 80), signed(v128.load(T, 80), bits, 5, sign)), low), high), 80);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 96), signed(v128.load(T, 96), bits, 6, sign)), low), high), 96);
    v128.store(theta, f32x4.pmin(f32x4.pmax(f32x4.add(v128.load(theta, 112), signed(v128.load(T, 112), bits, 7, sign)), low), high), 112);
    bits = i32x4.shl(bits, 8); theta += 128; T += 128;
  }
}

/**
 * The same, each element then clamped to +-limit (spec 5). A table of 4,096 does not stay in the first cache beside theta, so blocks
 * whose entries nearly coincide take turns: the second finds them there, and the first has them fetched a block ahead.
 */
export function update(theta: usize, blocks: u32, first: u32, t: u32, move: usize, work: usize, limit: f32): void {
  const sign = v128.load(work), out = work + WORDS, table = load<u32>(move, TABLE), low = f32x4.splat(-limit), high = f32x4.splat(limit);
  let touched = sign;
  for (let b: u32 = 0; b < blocks; ) {
    const left = blocks - b, two = left >= 8, distance = apart(move, left >> 1);
    for (const end = b + distance; b < end; b += 4) {
      words(t, first + b, move, first + b + distance, move, work, out);
      for (let s: u32 = 0; s < 4; s++) {
        const block = b + s, other = block + distance, at = out + (s << 4);
        touched = touch(touched, table + base(first + block + 1, move));
        clamped(theta + (block << 9), table + base(first + block, move), v128.load(at), sign, low, high);
        if (two) clamped(theta + (other << 9), table + base(first + other, move), v128.load(at, 64), sign, low, high);
      }
    }
    if (two) b += distance;
  }
  v128.store(out + SINK, touched);
}

/** Four moves one after the other in one pass, not clamped: for blocks that they cannot take to the limit (spec 5). */
export function fuse(theta: usize, blocks: u32, first: u32, t: u32, moves: usize, work: usize): void {
  const sign = v128.load(work), out = work + WORDS;
  const move1 = moves + MOVE, move2 = moves + 2 * MOVE, move3 = moves + 3 * MOVE;
  const table0 = load<u32>(moves, TABLE), table1 = load<u32>(move1, TABLE), table2 = load<u32>(move2, TABLE), table3 = load<u32>(move3, TABLE);
  for (let b: u32 = 0; b < blocks; b += 4) {
    words(t, first + b, moves, first + b, move1, work, out);
    words(t, first + b, move2, first + b, move3, work, out + 128);
    for (let s: u32 = 0; s < 4; s++) {
      const at = out + (s << 4), block = first + b + s;
      let bits0 = v128.load(at), bits1 = v128.load(at, 64), bits2 = v128.load(at, 128), bits3 = v128.load(at, 192), x: v128;
      let T0 = table0 + base(block, moves), T1 = table1 + base(block, move1), T2 = table2 + base(block, move2), T3 = table3 + base(block, move3);
      for (let j = 0; j < 4; j++) {
        x = f32x4.add(v128.load(theta), signed(v128.load(T0), bits0, 0, sign)); x = f32x4.add(x, signed(v128.load(T1), bits1, 0, sign));
        x = f32x4.add(x, signed(v128.load(T2), bits2, 0, sign)); x = f32x4.add(x, signed(v128.load(T3), bits3, 0, sign)); v128.store(theta, x);
        x = f32x4.add(v128.load(theta, 16), signed(v128.load(T0, 16), bits0, 1, sign)); x = f32x4.add(x, signed(v128.load(T1, 16), bits1, 1, sign));
        x = f32x4.add(x, signed(v128.load(T2, 16), bits2, 1, sign)); x = f32x4.add(x, signed(v128.load(T3, 16), bits3, 1, sign)); v128.store(theta, x, 16);
        x = f32x4.add(v128.load(theta, 32), signed(v128.load(T0, 32), bits0, 2, sign)); x = f32x4.add(x, signed(v128.load(T1, 32), bits1, 2, sign));
        x = f32x4.add(x, signed(v128.load(T2, 32), bits2, 2, sign)); x = f32x4.add(x, signed(v128.load(T3, 32), bits3, 2, sign)); v128.store(theta, x, 32);
        x = f32x4.add(v128.load(theta, 48), signed(v128.load(T0, 48), bits0, 3, sign)); x = f32x4.add(x, signed(v128.load(T1, 48), bits1, 3, sign));
        x = f32x4.add(x, signed(v128.load(T2, 48), bits2, 3, sign)); x = f32x4.add(x, signed(v128.load(T3, 48), bits3, 3, sign)); v128.store(theta, x, 48);
        x = f32x4.add(v128.load(theta, 64), signed(v128.load(T0, 64), bits0, 4, sign)); x = f32x4.add(x, signed(v128.load(T1, 64), bits1, 4, sign));
        x = f32x4.add(x, signed(v128.load(T2, 64), bits2, 4, sign)); x = f32x4.add(x, signed(v128.load(T3, 64), bits3, 4, sign)); v128.store(theta, x, 64);
        x = f32x4.add(v128.load(theta, 80), signed(v128.load(T0, 80), bits0, 5, sign)); x = f32x4.add(x, signed(v128.load(T1, 80), bits1, 5, sign));
        x = f32x4.add(x, signed(v128.load(T2, 80), bits2, 5, sign)); x = f32x4.add(x, signed(v128.load(T3, 80), bits3, 5, sign)); v128.store(theta, x, 80);
        x = f32x4.add(v128.load(theta, 96), signed(v128.load(T0, 96), bits0, 6, sign)); x = f32x4.add(x, signed(v128.load(T1, 96), bits1, 6, sign));
        x = f32x4.add(x, signed(v128.load(T2, 96), bits2, 6, sign)); x = f32x4.add(x, signed(v128.load(T3, 96), bits3, 6, sign)); v128.store(theta, x, 96);
        x = f32x4.add(v128.load(theta, 112), signed(v128.load(T0, 112), bits0, 7, sign)); x = f32x4.add(x, signed(v128.load(T1, 112), bits1, 7, sign));
        x = f32x4.add(x, signed(v128.load(T2, 112), bits2, 7, sign)); x = f32x4.add(x, signed(v128.load(T3, 112), bits3, 7, sign)); v128.store(theta, x, 112);
        bits0 = i32x4.shl(bits0, 8); bits1 = i32x4.shl(bits1, 8); bits2 = i32x4.shl(bits2, 8); bits3 = i32x4.shl(bits3, 8);
        theta += 128; T0 += 128; T1 += 128; T2 += 128; T3 += 128;
      }
    }
  }
}

/** F(b, t, step, group) of one move for `count` blocks (a multiple of 8) from block 0: 16 bytes each. */
export function generate(t: u32, count: u32, move: usize, work: usize, out: usize): void {
  for (let b: u32 = 0; b < count; b += 8) words(t, b, move, b + 4, move, work, out + (b << 4));
}

/** The largest |theta[i]| of `blocks` blocks. */
export function largest(theta: usize, blocks: u32): f32 {
  let most = f32x4.splat(0);
  for (let end = theta + (blocks << 9); theta < end; theta += 16) most = f32x4.pmax(most, f32x4.abs(v128.load(theta)));
  return max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
}

/** x[i] = theta[i] * scale as int32, for `count` elements (a multiple of 4); exact on the lattice. */
export function toIntegers(theta: usize, x: usize, count: u32, scale: f32): void {
  const by = f32x4.splat(scale);
  for (let i: u32 = 0; i < count; i += 4) v128.store(x + (i << 2), i32x4.trunc_sat_f32x4_s(f32x4.mul(v128.load(theta + (i << 2)), by)));
}

/** f[i] += c for `count` elements (a multiple of 32): the plain stream that the benchmark holds the perturb pass against. */
export function addConstant(f: usize, count: u32, c: f32): void {
  const by = f32x4.splat(c);
  for (let end = f + (count << 2); f < end; f += 128) {
    v128.store(f, f32x4.add(v128.load(f), by));
    v128.store(f, f32x4.add(v128.load(f, 16), by), 16);
    v128.store(f, f32x4.add(v128.load(f, 32), by), 32);
    v128.store(f, f32x4.add(v128.load(f, 48), by), 48);
    v128.store(f, f32x4.add(v128.load(f, 64), by), 64);
    v128.store(f, f32x4.add(v128.load(f, 80), by), 80);
    v128.store(f, f32x4.add(v128.load(f, 96), by), 96);
    v128.store(f, f32x4.add(v128.load(f, 112), by), 112);
  }
}
