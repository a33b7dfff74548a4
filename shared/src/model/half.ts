/**
 * The two 16-bit float types of ONNX as numbers: read exactly, written to the nearest value, ties to even, as the runtime's own Cast does.
 * Their bits are kept in Uint16Array, since Float16Array is missing from the oldest Node that is supported.
 */

export type HalfType = "float16" | "bfloat16";

let float16Values: Float32Array | undefined;

/** Every float16 by its bits. */
function float16Table(): Float32Array {
  float16Values ??= Float32Array.from({ length: 65_536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
  return float16Values;
}

/** 16-bit floats as float32, which holds each exactly. */
export function widen(bits: Uint16Array, type: HalfType): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length);
  if (type === "float16") {
    const table = float16Table();
    for (let i = 0; i < bits.length; i++) values[i] = table[bits[i] as number] as number;
  } else {
    const words = new Uint32Array(values.buffer);
    for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  }
  return values;
}

/** float32 as 16-bit floats: the nearest, of two as near the even one; beyond the largest is infinity. */
export function narrow(values: Float32Array, type: HalfType): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  const round = type === "float16" ? float16Of : bfloat16Of;
  for (let i = 0; i < bits.length; i++) bits[i] = round(words[i] as number);
  return bits;
}

const INFINITY = 0x7f800000;
const MAGNITUDE = 0x7fffffff;

function bfloat16Of(word: number): number {
  // A NaN stays one, even where all of its set bits would be cut off.
  if ((word & MAGNITUDE) > INFINITY) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

const SUBNORMAL = new Float32Array(1);
const SUBNORMAL_WORD = new Uint32Array(SUBNORMAL.buffer);

function float16Of(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & MAGNITUDE;
  if (magnitude > INFINITY) return sign | 0x7e00;
  // 65520 is half-way from the largest float16 to the next power of two.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // Below 2^-14: adding 0.5 leaves a unit of 2^-24 to the sum, so that float32's own rounding is the one that is wanted.
  SUBNORMAL_WORD[0] = magnitude;
  SUBNORMAL[0] = (SUBNORMAL[0] as number) + 0.5;
  return sign | ((SUBNORMAL_WORD[0] as number) - 0x3f000000);
}
