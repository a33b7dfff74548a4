/**
 * Text files as chunks of bytes and as lines. A line ends at "\n" or "\r\n" and nowhere else: U+2028 may stand inside a JSON string, where
 * node:readline would cut it. Bytes that are not UTF-8 are faults, never replacement characters.
 */
import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import type { Collection } from "./collect.ts";

/** A line's bytes: enough for a few values of the greatest length, every character escaped. */
export const LINE_BYTES_MAX = 32 * 1024 * 1024;
export const NOT_UTF8 = "is not UTF-8; save the file as UTF-8";
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");
const LINE_FEED = 10;

/** The bytes of a file in chunks, without a byte order mark. Throws Node's errors where the file cannot be read. */
export async function* bytesOf(file: string): AsyncGenerator<Buffer> {
  let isFirst = true;
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    const isMarked = isFirst && chunk.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
    isFirst = false;
    yield isMarked ? chunk.subarray(BYTE_ORDER_MARK.length) : chunk;
  }
}

/**
 * Hands over each line without its end, counted from 1, until the file ends or the collection is full. Lines that are not UTF-8 become
 * faults of the collection and are not handed over. Throws as `bytesOf` does.
 */
export async function readLines(file: string, collection: Collection, take: (text: string, line: number) => void): Promise<void> {
  let line = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  const end = (last: Buffer) => {
    const bytes = rest.length > 0 ? Buffer.concat([...rest, last]) : last;
    rest = [];
    restBytes = 0;
    line++;
    if (!isUtf8(bytes)) collection.fault(line, `byte ${invalidByteOf(bytes)}`, NOT_UTF8);
    else take(bytes.toString("utf8", 0, bytes.at(-1) === 13 ? bytes.length - 1 : bytes.length), line);
  };
  for await (const chunk of bytesOf(file)) {
    let from = 0;
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
      end(chunk.subarray(from, at));
      from = at + 1;
      if (collection.isFull()) return;
    }
    rest.push(chunk.subarray(from));
    restBytes += chunk.length - from;
    if (restBytes > LINE_BYTES_MAX)
      return collection.fault(line + 1, null, `the line is longer than ${LINE_BYTES_MAX} bytes; is it a text file with line ends?`);
  }
  if (restBytes > 0) end(Buffer.alloc(0));
}

/** The first byte, counted from 1, with which a text stops being UTF-8; its last where the end is missing. */
export function invalidByteOf(bytes: Uint8Array): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (beginsUtf8(bytes.subarray(0, middle))) valid = middle;
    else invalid = middle;
  }
  return invalid;
}

function beginsUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
