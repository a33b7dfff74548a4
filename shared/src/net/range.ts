/** Ledger ranges: announcements from a place on, as the very bytes that were signed. What they say is the caller's to check. */
import { LIMITS } from "../protocol/limits.ts";
import { RANGE_PROTOCOL } from "../protocol/topics.ts";
import { type ServedCounts, serveRequests } from "./answers.ts";
import type { SwarmNode } from "./node.ts";
import { openRequests, type RequestCode } from "./requests.ts";

const REQUEST_BYTES = 4;
const LENGTH_BYTES = 4;
const ANSWER_BYTES_MAX = LIMITS.rangeBytesMax + LENGTH_BYTES * LIMITS.rangeAnnouncementsMax;

/** Answers range requests. `read` gives at most `maxCount` announcements of at most `maxBytes` together; more is cut off. */
export function serveRange(
  node: SwarmNode,
  read: (fromSeq: number, maxCount: number, maxBytes: number) => Uint8Array[],
): Promise<ServedCounts> {
  return serveRequests(node, {
    protocol: RANGE_PROTOCOL,
    kind: "range",
    requestBytesMax: REQUEST_BYTES,
    async answer(request) {
      if (request.byteLength !== REQUEST_BYTES) return "malformed";
      const fromSeq = new DataView(request.buffer, request.byteOffset).getUint32(0, true);
      return packAnnouncements(read(fromSeq, LIMITS.rangeAnnouncementsMax, LIMITS.rangeBytesMax));
    },
  });
}

export type FetchedRange = { ok: true; announcements: Uint8Array[] } | { ok: false; code: RequestCode; message: string };

/** Asks a peer for the announcements from `fromSeq` on. None means that the peer has none further. */
export async function fetchRange(
  node: SwarmNode,
  peer: string | readonly string[],
  fromSeq: number,
  signal: AbortSignal,
): Promise<FetchedRange> {
  const opened = await openRequests(node, peer, { protocol: RANGE_PROTOCOL, kind: "range", answerBytesMax: ANSWER_BYTES_MAX }, signal);
  if (!opened.ok) return opened;
  const request = new Uint8Array(REQUEST_BYTES);
  new DataView(request.buffer).setUint32(0, fromSeq, true);
  const answer = await opened.asking.ask(request);
  opened.asking.close();
  if (!answer.ok) return answer;
  const announcements = unpackAnnouncements(answer.content);
  if (announcements === null)
    return { ok: false, code: "wrong-bytes", message: `range from ${fromSeq}: the peer's answer is malformed; ask another` };
  return { ok: true, announcements };
}

export function packAnnouncements(all: readonly Uint8Array[]): Uint8Array {
  const packed: Uint8Array[] = [];
  let bytes = 0;
  for (const announcement of all.slice(0, LIMITS.rangeAnnouncementsMax)) {
    bytes += announcement.byteLength;
    if (bytes > LIMITS.rangeBytesMax) break;
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, announcement.byteLength, true);
    packed.push(length, announcement);
  }
  return Buffer.concat(packed);
}

export function unpackAnnouncements(bytes: Uint8Array): Uint8Array[] | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const announcements: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    if (at + LENGTH_BYTES > bytes.byteLength || announcements.length === LIMITS.rangeAnnouncementsMax) return null;
    const length = view.getUint32(at, true);
    at += LENGTH_BYTES;
    if (length > LIMITS.announcementBytesMax || at + length > bytes.byteLength) return null;
    announcements.push(bytes.slice(at, at + length));
    at += length;
  }
  return announcements;
}
