/**
 * The session: one long-lived stream per worker, dialled by the worker, carrying opaque frames both ways.
 * A peer that does not read, or sends too much, loses its session; it never costs more memory than the limits say.
 */
import type { Connection, Stream } from "@libp2p/interface";
import { LIMITS } from "../protocol/limits.ts";
import { SESSION_PROTOCOL } from "../protocol/topics.ts";
import { createBucket } from "./buckets.ts";
import { type DialCode, dialStream } from "./dial.ts";
import { createFrameReader, encodeFrame } from "./frames.ts";
import type { SwarmNode } from "./node.ts";
import type { Flow } from "./traffic.ts";

/** Why a session ended. */
export const SESSION_END_CODES = [
  "closed",
  "remote-closed",
  "reset",
  "connection-lost",
  "replaced",
  "queue-full",
  "too-fast",
  "frame-too-large",
  "malformed-length",
  "handler-failed",
] as const;
export type SessionEndCode = (typeof SESSION_END_CODES)[number];

export interface Session {
  peerId: string;
  /** Queues a frame. False: it was not queued, and the session is closed or closes itself now (the queue is over its limit). */
  send(bytes: Uint8Array): boolean;
  /** Sets the one reader of frames; what arrived earlier waits for it. A handler that throws ends the session. */
  onFrame(handler: (bytes: Uint8Array) => void): void;
  /** Called once, at once if it has ended already; `error` is what a handler of ours threw (a bug: log it). */
  onClose(handler: (code: SessionEndCode, error?: unknown) => void): void;
  /** Hands over what is queued, then closes. */
  close(): Promise<void>;
  payloadBytes: Flow;
  /** Bytes waiting to be written. */
  queuedBytes(): number;
}

export type OpenedSession = { ok: true; session: Session; remoteAddress: string } | { ok: false; code: DialCode; message: string };

/** Opens a session to a peer: one of its addresses must answer, or, given a peer id, it must be connected. */
export async function openSession(node: SwarmNode, peer: string | readonly string[], signal: AbortSignal): Promise<OpenedSession> {
  const dialled = await dialStream(node, peer, SESSION_PROTOCOL, signal);
  if (!dialled.ok) return dialled;
  const { stream, connection } = dialled;
  const session = createSession(
    node,
    stream,
    connection,
    LIMITS.sessionFrameFromCoordinatorBytesMax,
    LIMITS.sessionFrameFromWorkerBytesMax,
  );
  return { ok: true, session, remoteAddress: connection.remoteAddr.toString() };
}

/** Accepts sessions. A peer has one: a second replaces the first. `onSession` sets its handlers at once. */
export async function acceptSessions(
  node: SwarmNode,
  onSession: (session: Session, peerId: string, remoteAddress: string) => void,
): Promise<void> {
  const current = new Map<string, Session & { end(code: SessionEndCode, error?: unknown): void }>();
  const accept = (stream: Stream, connection: Connection) => {
    const session = createSession(
      node,
      stream,
      connection,
      LIMITS.sessionFrameFromWorkerBytesMax,
      LIMITS.sessionFrameFromCoordinatorBytesMax,
    );
    const { peerId } = session;
    current.get(peerId)?.end("replaced");
    current.set(peerId, session);
    session.onClose(() => {
      if (current.get(peerId) === session) current.delete(peerId);
    });
    try {
      onSession(session, peerId, connection.remoteAddr.toString());
    } catch (error) {
      session.end("handler-failed", error);
    }
  };
  await node.libp2p.handle(SESSION_PROTOCOL, accept, { maxInboundStreams: 2, maxOutboundStreams: 2 });
}

function createSession(node: SwarmNode, stream: Stream, connection: Connection, inBytesMax: number, outBytesMax: number) {
  const payloadBytes: Flow = { in: 0, out: 0 };
  const closeHandlers: ((code: SessionEndCode, error?: unknown) => void)[] = [];
  const frameRate = createBucket({ perSecond: LIMITS.sessionFramesPerSecondMax, burst: 2 * LIMITS.sessionFramesPerSecondMax });
  const byteRate = createBucket({ perSecond: LIMITS.sessionBytesPerSecondMax, burst: 2 * LIMITS.sessionBytesPerSecondMax });
  let ended: SessionEndCode | null = null;
  let cause: unknown;

  function settle(code: SessionEndCode, error?: unknown): void {
    if (ended !== null) return;
    ended = code;
    cause = error;
    for (const handler of closeHandlers.splice(0)) handler(code, error);
  }
  /** Ends it now: what is queued is dropped. */
  function end(code: SessionEndCode, error?: unknown): void {
    settle(code, error);
    stream.abort(new Error(`session ended: ${code}`));
  }
  /** libp2p's own close waits for the peer to take the queue; the peer may never do that. */
  async function flushAndClose(): Promise<void> {
    try {
      await stream.close({ signal: AbortSignal.timeout(LIMITS.closeTimeoutMs) });
    } catch (error) {
      stream.abort(error as Error);
    }
  }
  // libp2p tells "end" (nothing more to read) before "close" (nothing more at all), whatever the cause: the status says which it was.
  const onEnd = () => {
    if (stream.status === "open" || stream.status === "closing") {
      settle("remote-closed");
      void flushAndClose();
    } else settle(stream.status === "reset" ? "reset" : "connection-lost");
  };
  stream.addEventListener("end", onEnd);
  stream.addEventListener("close", onEnd);

  return {
    peerId: connection.remotePeer.toString(),
    payloadBytes,
    end,
    queuedBytes: () => stream.writeBufferLength,
    onClose(handler: (code: SessionEndCode, error?: unknown) => void) {
      if (ended === null) closeHandlers.push(handler);
      else handler(ended, cause);
    },
    send(bytes: Uint8Array): boolean {
      if (ended !== null) return false;
      if (bytes.byteLength > outBytesMax) end("frame-too-large");
      else if (stream.writeBufferLength + bytes.byteLength > LIMITS.sendQueueBytesMax) end("queue-full");
      if (ended !== null) return false;
      try {
        stream.send(encodeFrame(bytes));
      } catch {
        end("connection-lost");
        return false;
      }
      payloadBytes.out += bytes.byteLength;
      node.traffic.count("session", "out", bytes.byteLength);
      return true;
    },
    onFrame(handler: (bytes: Uint8Array) => void) {
      const take = (bytes: Uint8Array) => {
        if (ended !== null) return;
        payloadBytes.in += bytes.byteLength;
        node.traffic.count("session", "in", bytes.byteLength);
        const nowMs = performance.now();
        if (!frameRate.take(1, nowMs) || !byteRate.take(bytes.byteLength, nowMs)) return end("too-fast");
        try {
          handler(bytes);
        } catch (error) {
          end("handler-failed", error);
        }
      };
      const reader = createFrameReader(inBytesMax, take);
      stream.addEventListener("message", ({ data }) => {
        if (ended !== null) return;
        const fault = reader.push(data.subarray());
        if (fault !== null) end(fault);
      });
    },
    async close() {
      settle("closed");
      await flushAndClose();
    },
  };
}
