/** Which snapshots a peer has of a job. The answer is a claim: the ledger's state hash decides what a snapshot is worth. */
import { LIMITS } from "../protocol/limits.ts";
import { encodeSnapshots, parseSnapshots, type Snapshot } from "../protocol/snapshots.ts";
import { SNAPSHOTS_PROTOCOL } from "../protocol/topics.ts";
import { type ServedCounts, serveRequests } from "./answers.ts";
import type { SwarmNode } from "./node.ts";
import { openRequests, type RequestCode } from "./requests.ts";

const JOB_ID_BYTES = 32;

/** Tells whoever asks for this job's snapshots which ones are here. */
export function serveSnapshots(node: SwarmNode, jobId: string, all: () => readonly Snapshot[]): Promise<ServedCounts> {
  return serveRequests(node, {
    protocol: SNAPSHOTS_PROTOCOL,
    kind: "snapshots",
    requestBytesMax: JOB_ID_BYTES,
    async answer(request) {
      if (request.byteLength !== JOB_ID_BYTES) return "malformed";
      return Buffer.from(request).toString("hex") === jobId ? encodeSnapshots(all()) : undefined;
    },
  });
}

export type AskedSnapshots = { ok: true; snapshots: Snapshot[] } | { ok: false; code: RequestCode; message: string };

/** Asks a peer which snapshots it has. */
export async function askSnapshots(node: SwarmNode, peer: string, jobId: string, signal: AbortSignal): Promise<AskedSnapshots> {
  const asked = { protocol: SNAPSHOTS_PROTOCOL, kind: "snapshots", answerBytesMax: LIMITS.snapshotsAnswerBytesMax } as const;
  const opened = await openRequests(node, peer, asked, signal);
  if (!opened.ok) return opened;
  const answer = await opened.asking.ask(Uint8Array.from(Buffer.from(jobId, "hex")));
  opened.asking.close();
  if (!answer.ok) return answer;
  const snapshots = parseSnapshots(answer.content);
  if (snapshots === null) return { ok: false, code: "wrong-bytes", message: `${peer} sent a list of snapshots that nobody understands` };
  return { ok: true, snapshots };
}
