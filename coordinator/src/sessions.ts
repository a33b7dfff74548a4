/**
 * The coordinator's ends of the workers' sessions: hello first, then frames as events. A peer that says something else, or nothing,
 * is sent away with a code; no frame has an effect before it is read against its schema.
 */
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { acceptSessions, type Session } from "@zoswarm/shared/net/session";
import type { SessionCode } from "@zoswarm/shared/protocol/codes";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { type CoordinatorFrame, encodeCoordinatorFrame, parseWorkerFrame, type WorkerFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";

type Hello = Extract<WorkerFrame, { kind: "hello" }>;

export interface WorkerLink {
  payloadBytes: { in: number; out: number };
  heardMs: number;
}

export interface Sessions {
  send(peerId: string, frame: CoordinatorFrame): void;
  /** Says why, and closes. */
  dismiss(peerId: string, code: SessionCode, message: string): Promise<void>;
  link(peerId: string): WorkerLink | undefined;
  /** Where these peers let others download, as far as they do; some of them, by chance, where they are many. */
  donors(peerIds: readonly string[]): string[];
  /** Dismisses everyone. */
  closeAll(code: SessionCode, message: string): Promise<void>;
}

export interface SessionEvents {
  /** After a hello that fits; the answer is what the worker is told of the job. */
  joined(peerId: string, hello: Hello): void;
  frame(peerId: string, frame: Exclude<WorkerFrame, Hello>): void;
  left(peerId: string): void;
  /** Somebody was sent away, or a session broke: for the log. */
  refused(peerId: string, code: string, message: string): void;
}

interface Open extends WorkerLink {
  session: Session;
  greeted: boolean;
  /** Where others can download from it: the address that it is seen at, so that nobody can name a third one, and the port that it says. */
  donor: string | null;
}

/** Accepts workers. `welcome` makes the answer to a hello of this job. */
export async function openSessions(
  node: SwarmNode,
  jobId: string,
  welcome: () => Extract<CoordinatorFrame, { kind: "welcome" }>,
  events: SessionEvents,
): Promise<Sessions> {
  const open = new Map<string, Open>();
  let closing: { code: SessionCode; message: string } | null = null;

  const dismiss = async (one: Open, code: SessionCode, message: string) => {
    one.session.send(encodeCoordinatorFrame({ kind: "farewell", code, message }));
    await one.session.close();
  };
  const refuse = (one: Open, code: SessionCode, message: string) => {
    events.refused(one.session.peerId, code, message);
    void dismiss(one, code, message);
  };

  await acceptSessions(node, (session, peerId, remoteAddress) => {
    const one: Open = { session, greeted: false, donor: null, payloadBytes: session.payloadBytes, heardMs: performance.now() };
    open.set(peerId, one);
    // One timer for hello and for silence: it looks again when the time since the last word has run out.
    const listen = () => {
      const limitMs = one.greeted ? LIMITS.silenceMsMax : LIMITS.helloTimeoutMs;
      const leftMs = one.heardMs + limitMs - performance.now();
      if (leftMs > 0) timer = setTimeout(listen, leftMs);
      else if (one.greeted) refuse(one, "stopped-hearing", `nothing was heard for ${limitMs / 1000} s`);
      else refuse(one, "not-in-time", `no hello within ${limitMs / 1000} s`);
    };
    let timer = setTimeout(listen, LIMITS.helloTimeoutMs);
    session.onFrame((bytes) => {
      one.heardMs = performance.now();
      const parsed = parseWorkerFrame(bytes);
      if (!parsed.ok)
        return refuse(one, "malformed", `a frame of ${bytes.byteLength} bytes is not one of protocol ${PROTOCOL_VERSION}: ${parsed.code}`);
      const { frame } = parsed;
      if ((frame.kind === "hello") === one.greeted)
        return refuse(one, "malformed", "a session opens with one hello, and with nothing else");
      if (frame.kind !== "hello") return events.frame(peerId, frame);
      if (closing) return refuse(one, closing.code, closing.message);
      if (frame.version !== PROTOCOL_VERSION)
        return refuse(
          one,
          "wrong-version",
          `this coordinator speaks protocol ${PROTOCOL_VERSION}, your worker ${frame.version}: use the version of zoswarm that the launcher uses`,
        );
      if (frame.jobId !== null && frame.jobId !== jobId)
        return refuse(
          one,
          "wrong-job",
          `this coordinator runs job ${jobId.slice(0, 12)}, your worker expects ${frame.jobId.slice(0, 12)}: use another --data folder, or the other job's address`,
        );
      one.greeted = true;
      const seenAt = /^\/ip[46]\/[^/]+/.exec(remoteAddress)?.[0];
      if (frame.port > 0 && seenAt !== undefined) one.donor = `${seenAt}/tcp/${frame.port}/p2p/${peerId}`;
      session.send(encodeCoordinatorFrame(welcome()));
      events.joined(peerId, frame);
    });
    session.onClose((code, error) => {
      clearTimeout(timer);
      if (open.get(peerId) === one) open.delete(peerId);
      if (error !== undefined) events.refused(peerId, code, (error as Error).message);
      if (one.greeted) events.left(peerId);
    });
  });

  return {
    send(peerId, frame) {
      const one = open.get(peerId);
      if (one?.greeted) one.session.send(encodeCoordinatorFrame(frame));
    },
    async dismiss(peerId, code, message) {
      const one = open.get(peerId);
      if (one) await dismiss(one, code, message);
    },
    link: (peerId) => open.get(peerId),
    donors: (peerIds) =>
      peerIds
        .flatMap((peerId) => open.get(peerId)?.donor ?? [])
        .map((donor) => ({ donor, turn: Math.random() }))
        .sort((one, other) => one.turn - other.turn)
        .slice(0, LIMITS.donorsMax)
        .map(({ donor }) => donor),
    async closeAll(code, message) {
      closing = { code, message };
      await Promise.all([...open.values()].map((one) => dismiss(one, code, message)));
    },
  };
}
