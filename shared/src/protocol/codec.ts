/**
 * msgpack for peers: array tuples, size-capped before decoding. Maps, records and extension types are refused before msgpackr sees
 * them: it would compile a record's definition and remember it for later messages, whatever its options say.
 * Bytes that are signed are kept as they came; nothing signed is ever encoded again.
 */
import { Packr, Unpackr } from "msgpackr";

const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/** Encodes a tuple of numbers, strings, byte arrays, null and tuples. */
export function encode(value: unknown): Uint8Array {
  return Uint8Array.from(packr.pack(value));
}

export type Decoded = { ok: true; value: unknown } | { ok: false; code: "too-large" | "malformed" };

/** Decodes what a peer sent. `bytesMax` is checked before anything is read; the value still needs its schema. */
export function decode(bytes: Uint8Array, bytesMax: number): Decoded {
  if (bytes.byteLength > bytesMax) return { ok: false, code: "too-large" };
  try {
    if (!isTuple(bytes)) return { ok: false, code: "malformed" };
    return { ok: true, value: unpackr.unpack(bytes) };
  } catch {
    return { ok: false, code: "malformed" };
  }
}

/** Tuples within tuples of an announcement: five; nothing honest is deeper. */
const DEPTH_MAX = 8;

/** Bytes of a value after its first, where that says it; else none. */
const FIXED: Record<number, number> = {
  192: 0,
  194: 0,
  195: 0,
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
};

/**
 * Whether the bytes are one value of numbers, strings, byte arrays, null, booleans and arrays of these, to the last byte: what is
 * claimed is there before anything is allocated for it (msgpack's specification, "formats"). Throws RangeError where a length is cut short.
 */
function isTuple(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Values still to come, at each depth. */
  const left = [1];
  let at = 0;
  const lengthOf = (width: number) => {
    const length = width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at) : view.getUint32(at);
    at += width;
    return length;
  };
  while (left.length > 0) {
    const depth = left.length - 1;
    if (left[depth] === 0) {
      left.pop();
      continue;
    }
    left[depth] = (left[depth] as number) - 1;
    const first = view.getUint8(at++);
    let items = -1;
    let skip = 0;
    if (first >= 0xa0 && first <= 0xbf) skip = first & 0x1f;
    else if (first >= 0x90 && first <= 0x9f) items = first & 0x0f;
    else if (first === 0xdc || first === 0xdd) items = lengthOf(first === 0xdc ? 2 : 4);
    else if (first >= 0xc4 && first <= 0xc6) skip = lengthOf(2 ** (first - 0xc4));
    else if (first >= 0xd9 && first <= 0xdb) skip = lengthOf(2 ** (first - 0xd9));
    else if (FIXED[first] !== undefined) skip = FIXED[first];
    else if (first > 0x7f && first < 0xe0) return false;
    at += skip;
    if (items > bytes.byteLength - at || at > bytes.byteLength) return false;
    if (items >= 0 && left.push(items) > DEPTH_MAX) return false;
  }
  return at === bytes.byteLength;
}
