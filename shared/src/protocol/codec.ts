/**
 * msgpack for peers: array tuples, size-capped before decoding, every extension type refused.
 * Bytes that are signed are kept as they came; nothing signed is ever encoded again.
 */
import { addExtension, Packr, Unpackr } from "msgpackr";

/** msgpackr would build dates, sets, regular expressions, typed arrays and errors from these: a peer has no business sending any. */
const REFUSED_EXTENSIONS = [0x00, 0x42, 0x62, 0x65, 0x69, 0x70, 0x72, 0x73, 0x74, 0x78, 0xff];
for (const type of REFUSED_EXTENSIONS) {
  addExtension({
    type,
    unpack() {
      throw new Error("extension type refused");
    },
  });
}

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
    return { ok: true, value: unpackr.unpack(bytes) };
  } catch {
    return { ok: false, code: "malformed" };
  }
}
