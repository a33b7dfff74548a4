/** Length-prefixed frames on a byte stream: an unsigned LEB128 length, then the bytes. A length is judged before a byte of its frame is kept. */

/** Four bytes of prefix reach 256 MiB, more than any limit. */
const PREFIX_BYTES_MAX = 4;

/** The frame's prefix and bytes as one array, so that one send carries both. */
export function encodeFrame(bytes: Uint8Array): Uint8Array {
  const prefix: number[] = [];
  let rest = bytes.byteLength;
  for (; rest > 0x7f; rest >>>= 7) prefix.push((rest & 0x7f) | 0x80);
  prefix.push(rest);
  const frame = new Uint8Array(prefix.length + bytes.byteLength);
  frame.set(prefix);
  frame.set(bytes, prefix.length);
  return frame;
}

export type FrameFault = "frame-too-large" | "malformed-length";

export interface FrameReader {
  /** Takes bytes as they arrive and hands over each frame that is complete, as a copy. Returns the fault that ends the stream, if any. */
  push(bytes: Uint8Array): FrameFault | null;
}

/** A reader of frames of at most `bytesMax`. It keeps only what has arrived, never what a length promises. */
export function createFrameReader(bytesMax: number, onFrame: (bytes: Uint8Array) => void): FrameReader {
  let parts: Uint8Array[] = [];
  let missing = -1;
  let length = 0;
  let shift = 0;

  /** One byte of the prefix; when it was the last, `missing` becomes the length. */
  function takePrefix(byte: number): FrameFault | null {
    length |= (byte & 0x7f) << shift;
    shift += 7;
    if (byte & 0x80) return shift >= 7 * PREFIX_BYTES_MAX ? "malformed-length" : null;
    if (length > bytesMax) return "frame-too-large";
    missing = length;
    length = shift = 0;
    return null;
  }

  function finish(): void {
    const frame = new Uint8Array(parts.reduce((n, part) => n + part.byteLength, 0));
    let at = 0;
    for (const part of parts) {
      frame.set(part, at);
      at += part.byteLength;
    }
    parts = [];
    missing = -1;
    onFrame(frame);
  }

  return {
    push(bytes) {
      for (let at = 0; at < bytes.byteLength; ) {
        if (missing < 0) {
          const fault = takePrefix(bytes[at++] as number);
          if (fault !== null) return fault;
        } else {
          const part = bytes.slice(at, at + missing);
          parts.push(part);
          at += part.byteLength;
          missing -= part.byteLength;
        }
        if (missing === 0) finish();
      }
      return null;
    },
  };
}
