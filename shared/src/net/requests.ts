/** The asking side of a request protocol: requests on one stream, answered in order; the asker sets the pace. */
import { LIMITS } from "../protocol/limits.ts";
import { ANSWER_CODES, type AnswerCode } from "./answers.ts";
import { type DialCode, dialStream } from "./dial.ts";
import { createFrameReader, encodeFrame } from "./frames.ts";
import type { SwarmNode } from "./node.ts";
import type { PayloadKind } from "./traffic.ts";

export type RequestCode = Exclude<AnswerCode, "ok"> | DialCode | "timed-out" | "connection-lost" | "wrong-bytes";

export type Answer = { ok: true; content: Uint8Array } | { ok: false; code: RequestCode; message: string };

export interface Asking {
  /** Sends a request; its answer, within LIMITS.requestTimeoutMs of its turn, or why there is none. */
  ask(request: Uint8Array): Promise<Answer>;
  /** Drops the stream; requests without an answer end as aborted. */
  close(): void;
}

export type OpenedAsking = { ok: true; asking: Asking } | { ok: false; code: DialCode; message: string };

/** Opens a stream for requests to a peer. `signal` ends it and everything asked on it. */
export async function openRequests(
  node: SwarmNode,
  peer: string | readonly string[],
  { protocol, kind, answerBytesMax }: { protocol: string; kind: PayloadKind; answerBytesMax: number },
  signal: AbortSignal,
): Promise<OpenedAsking> {
  const dialled = await dialStream(node, peer, protocol, signal);
  if (!dialled.ok) return dialled;
  const { stream } = dialled;
  const name = dialled.connection.remotePeer.toString();
  const turns: ((answer: Answer) => void)[] = [];
  let over: Answer | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const end = (code: RequestCode, message: string) => {
    over ??= { ok: false, code, message };
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    for (const turn of turns.splice(0)) turn(over);
    stream.abort(new Error(message));
  };
  const onAbort = () => end("aborted", `asking ${name}: given up`);
  const late = () =>
    end("timed-out", `${name} did not answer within ${LIMITS.requestTimeoutMs / 1000} s; it may be overloaded, try another peer`);
  const lost = () => {
    if (over === null) end("connection-lost", `${name} closed the connection before it answered; ask again`);
  };
  const take = (bytes: Uint8Array) => {
    const turn = turns.shift();
    clearTimeout(timer);
    const code = ANSWER_CODES[bytes[0] ?? -1];
    // A crowded peer says "busy" without being asked.
    if (turn === undefined && code === "busy") over ??= { ok: false, code: "busy", message: `${name} is busy; ask again later` };
    if (turn === undefined || code === undefined) {
      end("wrong-bytes", `${name} sent an answer that nobody understands`);
      if (over !== null) turn?.(over);
      return;
    }
    if (turns.length > 0) timer = setTimeout(late, LIMITS.requestTimeoutMs);
    node.traffic.count(kind, "in", bytes.byteLength - 1);
    turn(code === "ok" ? { ok: true, content: bytes.subarray(1) } : { ok: false, code, message: `${name} answered "${code}"` });
  };
  const reader = createFrameReader(1 + answerBytesMax, take);
  stream.addEventListener("message", ({ data }) => {
    if (over === null && reader.push(data.subarray()) !== null) end("wrong-bytes", `${name} sent an answer that is too large`);
  });
  stream.addEventListener("end", lost);
  stream.addEventListener("close", lost);
  signal.addEventListener("abort", onAbort);

  const asking: Asking = {
    ask(request) {
      if (over !== null) return Promise.resolve(over);
      return new Promise((resolve) => {
        if (turns.length === 0) timer = setTimeout(late, LIMITS.requestTimeoutMs);
        turns.push(resolve);
        node.traffic.count(kind, "out", request.byteLength);
        try {
          stream.send(encodeFrame(request));
        } catch {
          lost();
        }
      });
    },
    close: () => end("aborted", `asking ${name}: finished`),
  };
  return { ok: true, asking };
}
