/**
 * The answering side of a request protocol: one stream, length-prefixed requests, one answer each, in order.
 * Streams, requests and bytes are limited per peer and in total; a hostile request ends its stream, never the node.
 */
import type { Connection, Stream } from "@libp2p/interface";
import { LIMITS } from "../protocol/limits.ts";
import { type Admission, createAdmission } from "./admission.ts";
import { createFrameReader, encodeFrame } from "./frames.ts";
import type { SwarmNode } from "./node.ts";
import type { PayloadKind } from "./traffic.ts";

/** First byte of an answer. Append only: the index is on the wire. */
export const ANSWER_CODES = ["ok", "busy", "not-found", "malformed", "failed", "refused"] as const;
export type AnswerCode = (typeof ANSWER_CODES)[number];

/** Requests that ended, counted by outcome; "stalled": the peer did not take its answer, "too-many": it asked beyond the pace. */
export type ServedCode = AnswerCode | "stalled" | "too-many";
export type ServedCounts = Partial<Record<ServedCode, number>>;

export interface RequestHandling {
  protocol: string;
  kind: PayloadKind;
  requestBytesMax: number;
  /** What all peers together may take; by default what a coordinator gives. */
  bytesPerSecondMax?: number | undefined;
  /** Makes an answer's content. Undefined: not found. A throw is answered with "failed"; "malformed" and "refused" end the stream. */
  answer(request: Uint8Array, from: { peerId: string; address: string }): Promise<Uint8Array | undefined | "malformed" | "refused">;
}

/** Serves a protocol. Returns the live counts, for metrics. */
export async function serveRequests(node: SwarmNode, handling: RequestHandling): Promise<ServedCounts> {
  const counts: ServedCounts = {};
  const count = (code: ServedCode) => {
    counts[code] = (counts[code] ?? 0) + 1;
  };
  const admit = createAdmission(undefined, handling.bytesPerSecondMax);
  const open = (stream: Stream, connection: Connection) => {
    const admission = admit(connection.remotePeer.toString());
    stream.addEventListener("close", admission.leave);
    void serveStream(node, handling, stream, connection, admission, count).catch((error) => stream.abort(error as Error));
  };
  await node.libp2p.handle(handling.protocol, open, { maxInboundStreams: LIMITS.requestStreamsPerPeerMax, force: true });
  return counts;
}

async function serveStream(
  node: SwarmNode,
  handling: RequestHandling,
  stream: Stream,
  connection: Connection,
  admission: Admission,
  count: (code: ServedCode) => void,
): Promise<void> {
  const deliver = async (code: AnswerCode, content: Uint8Array = new Uint8Array()) => {
    count(code);
    admission.charge(content.byteLength);
    node.traffic.count(handling.kind, "out", content.byteLength);
    if (!(await sendWhole(stream, answerFrame(code, content)))) count("stalled");
  };
  if (admission.crowded) {
    await deliver("busy");
    return await stream.close({ signal: AbortSignal.timeout(LIMITS.closeTimeoutMs) });
  }
  const from = { peerId: connection.remotePeer.toString(), address: connection.remoteAddr.toString() };
  const requests = createRequestQueue(stream, handling.requestBytesMax, (code) => count(code));
  for (let request = await requests.next(); request !== null; request = await requests.next()) {
    node.traffic.count(handling.kind, "in", request.byteLength);
    if (!admission.admits()) {
      await deliver("busy");
      continue;
    }
    const content = await handling.answer(request, from).catch(() => "failed" as const);
    if (content instanceof Uint8Array) await deliver("ok", content);
    else await deliver(content ?? "not-found");
    if (content === "malformed" || content === "refused") break;
  }
  await stream.close({ signal: AbortSignal.timeout(LIMITS.closeTimeoutMs) });
}

function answerFrame(code: AnswerCode, content: Uint8Array): Uint8Array {
  const answer = new Uint8Array(1 + content.byteLength);
  answer[0] = ANSWER_CODES.indexOf(code);
  answer.set(content, 1);
  return encodeFrame(answer);
}

/** Requests in order. Null ends them: the peer has finished, broke the framing, asked beyond the pace, or was idle for too long. */
function createRequestQueue(stream: Stream, bytesMax: number, count: (code: ServedCode) => void): { next(): Promise<Uint8Array | null> } {
  const waiting: Uint8Array[] = [];
  let wake: () => void = () => {};
  let over = false;
  const stop = (code?: ServedCode) => {
    if (code !== undefined && !over) count(code);
    over = true;
    wake();
  };
  const reader = createFrameReader(bytesMax, (bytes) => {
    if (waiting.length >= LIMITS.blobChunksOutstandingMax) stop("too-many");
    else waiting.push(bytes);
    wake();
  });
  stream.addEventListener("message", ({ data }) => {
    if (!over && reader.push(data.subarray()) !== null) stop("malformed");
  });
  stream.addEventListener("end", () => stop());
  stream.addEventListener("close", () => stop());
  return {
    async next() {
      if (waiting.length === 0 && !over) {
        const idle = setTimeout(stop, LIMITS.requestTimeoutMs);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        clearTimeout(idle);
      }
      return waiting.shift() ?? null;
    },
  };
}

/** Sends bytes and waits until the peer has taken them; false, and the stream is aborted, when it does not in time. */
async function sendWhole(stream: Stream, bytes: Uint8Array): Promise<boolean> {
  if (stream.status !== "open") return false;
  stream.send(bytes);
  if (stream.writeBufferLength === 0) return true;
  // Not stream.onDrain(): its promise is made once and never renewed (@libp2p/utils 7.4.1), so the second wait is none.
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const taken = () => resolve(true);
  const lost = () => resolve(false);
  const timeout = setTimeout(lost, LIMITS.requestTimeoutMs);
  stream.addEventListener("idle", taken);
  stream.addEventListener("close", lost);
  const done = await promise;
  clearTimeout(timeout);
  stream.removeEventListener("idle", taken);
  stream.removeEventListener("close", lost);
  if (!done) stream.abort(new Error("the peer does not read its answer"));
  return done;
}
