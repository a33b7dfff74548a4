/** The stream between a coordinator and its standby: requests of one peer, known by its key; anybody else is refused. */
import { LIMITS } from "../protocol/limits.ts";
import {
  encodeStandbyRequest,
  parseStandbyFiles,
  parseStandbyRequest,
  type StandbyFile,
  type StandbyRequest,
} from "../protocol/standby.ts";
import { STANDBY_PROTOCOL } from "../protocol/topics.ts";
import { type ServedCounts, serveRequests } from "./answers.ts";
import type { SwarmNode } from "./node.ts";
import { unpackAnnouncements } from "./range.ts";
import { openRequests, type RequestCode } from "./requests.ts";

/** Answers the standby `peerId`. `seenAt` is the host that it is seen at, like /ip4/203.0.113.7. Returns the live counts. */
export function serveStandby(
  node: SwarmNode,
  peerId: string,
  answer: (request: StandbyRequest, seenAt: string | null) => Promise<Uint8Array | undefined>,
): Promise<ServedCounts> {
  return serveRequests(node, {
    protocol: STANDBY_PROTOCOL,
    kind: "range",
    requestBytesMax: LIMITS.standbyRequestBytesMax,
    async answer(bytes, from) {
      if (from.peerId !== peerId) return "refused";
      const request = parseStandbyRequest(bytes);
      return request === null ? "malformed" : answer(request, /^\/ip[46]\/[^/]+/.exec(from.address)?.[0] ?? null);
    },
  });
}

type Failed = { ok: false; code: RequestCode; message: string };

/** A standby's requests to its coordinator. */
export interface StandbyAsking {
  greet(port: number, addresses: string[]): Promise<{ ok: true; files: StandbyFile[] } | Failed>;
  chunk(name: string, offset: number): Promise<{ ok: true; content: Uint8Array } | Failed>;
  follow(nextSeq: number): Promise<{ ok: true; announcements: Uint8Array[] } | Failed>;
  close(): void;
}

/** Opens the standby's stream to a coordinator. */
export async function askAsStandby(
  node: SwarmNode,
  address: string,
  signal: AbortSignal,
): Promise<{ ok: true; asking: StandbyAsking } | Failed> {
  const options = { protocol: STANDBY_PROTOCOL, kind: "range", answerBytesMax: LIMITS.standbyAnswerBytesMax } as const;
  const opened = await openRequests(node, address, options, signal);
  if (!opened.ok) return opened;
  const { asking } = opened;
  const ask = (request: StandbyRequest) => asking.ask(encodeStandbyRequest(request));
  const wrong = (what: string): Failed => ({ ok: false, code: "wrong-bytes", message: `the coordinator's ${what} is malformed` });
  return {
    ok: true,
    asking: {
      async greet(port, addresses) {
        const answer = await ask({ kind: "greet", port, addresses });
        const files = answer.ok ? parseStandbyFiles(answer.content) : null;
        return answer.ok ? (files === null ? wrong("list of files") : { ok: true, files }) : answer;
      },
      chunk: (name, offset) => ask({ kind: "chunk", name, offset }),
      async follow(nextSeq) {
        const answer = await ask({ kind: "follow", nextSeq });
        const announcements = answer.ok ? unpackAnnouncements(answer.content) : null;
        return answer.ok ? (announcements === null ? wrong("range") : { ok: true, announcements }) : answer;
      },
      close: asking.close,
    },
  };
}
