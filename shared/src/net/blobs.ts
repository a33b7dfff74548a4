/**
 * Blobs between peers: the chunk list first, then chunks at the requester's pace, each verified as it arrives.
 * Several donors share the work; one that sends wrong bytes is dropped. What a break leaves on disk is not fetched again.
 */
import { setTimeout } from "node:timers/promises";
import { LIMITS } from "../protocol/limits.ts";
import { BLOB_PROTOCOL } from "../protocol/topics.ts";
import { type BlobFailure, type BlobFileCode, type BlobFiles, blobId, HASH_BYTES } from "../store/blobs.ts";
import type { PartialBlob } from "../store/partial.ts";
import { type ServedCounts, serveRequests } from "./answers.ts";
import type { SwarmNode } from "./node.ts";
import { type Asking, openRequests, type RequestCode } from "./requests.ts";

/** A request: 0 and the id asks for the list; 1, the id and a chunk's index (u32, little-endian) for a chunk. */
const ASK_LIST = 0;
const ASK_CHUNK = 1;
const LIST_REQUEST_BYTES = 1 + HASH_BYTES;
const CHUNK_REQUEST_BYTES = LIST_REQUEST_BYTES + 4;

/** Gives blobs to whoever asks, all together at most so many bytes a second. */
export function serveBlobs(node: SwarmNode, files: Pick<BlobFiles, "list" | "chunk">, bytesPerSecondMax?: number): Promise<ServedCounts> {
  return serveRequests(node, {
    protocol: BLOB_PROTOCOL,
    kind: "blob",
    requestBytesMax: CHUNK_REQUEST_BYTES,
    bytesPerSecondMax,
    async answer(request) {
      const id = Buffer.from(request.subarray(1, LIST_REQUEST_BYTES)).toString("hex");
      if (request[0] === ASK_LIST && request.byteLength === LIST_REQUEST_BYTES) return files.list(id);
      if (request[0] !== ASK_CHUNK || request.byteLength !== CHUNK_REQUEST_BYTES) return "malformed";
      return await files.chunk(id, new DataView(request.buffer, request.byteOffset).getUint32(LIST_REQUEST_BYTES, true));
    },
  });
}

export type FetchBlobCode = RequestCode | BlobFileCode | "wrong-size";

/** A donor that was given up during a fetch, and why. */
export interface DroppedDonor {
  peer: string;
  code: FetchBlobCode;
}

export type FetchedBlob =
  | { ok: true; path: string; dropped: DroppedDonor[] }
  | { ok: false; code: FetchBlobCode; message: string; dropped: DroppedDonor[] };

export interface FetchOptions {
  signal: AbortSignal;
  /** The size that the manifest states; another one is refused before a chunk is asked for. */
  bytes?: number;
  /** Chunks on disk, of how many; called at the start and after each. */
  onProgress?: (done: number, chunks: number) => void;
}

/** Fetches a blob from peers (ids or multiaddrs) into the cache. Succeeds when one honest donor can be reached to the end. */
export async function fetchBlob(
  node: SwarmNode,
  peers: readonly string[],
  id: string,
  cache: BlobFiles,
  options: FetchOptions,
): Promise<FetchedBlob> {
  const dropped: DroppedDonor[] = [];
  const fail = (code: FetchBlobCode, message: string): FetchedBlob => ({ ok: false, code, message: `blob ${id}: ${message}`, dropped });
  if (await cache.verify(id)) return { ok: true, path: cache.path(id), dropped };
  const list = cache.list(id) ?? (await fetchList(node, peers, id, options.signal, dropped));
  if (!(list instanceof Uint8Array)) return fail(list.code, list.message);
  const chunks = list.byteLength / HASH_BYTES;
  if (options.bytes !== undefined && chunks !== Math.ceil(options.bytes / LIMITS.blobChunkBytes))
    return fail(
      "wrong-size",
      `it has ${chunks} chunks, and the manifest's ${options.bytes} bytes are another number; the manifest is wrong`,
    );
  const opened = await cache.partial(id, list);
  if (!opened.ok) return { ...opened, dropped };
  const { partial } = opened;

  const queue = partial.missing();
  let done = chunks - queue.length;
  const work: Work = { id, partial, queue, failed: null, written: () => options.onProgress?.(++done, chunks) };
  options.onProgress?.(done, chunks);
  const donors = () => peers.filter((peer) => !dropped.some((donor) => donor.peer === peer));
  // A round ends with an empty queue, unless a donor was dropped late and its chunks came back: then the others go on.
  while (queue.length > 0 && work.failed === null && donors().length > 0)
    await Promise.all(donors().map((peer) => fetchFrom(node, peer, work, options.signal, dropped)));
  const closed = await partial.close();
  if (work.failed) return { ...work.failed, dropped };
  if (!closed.ok) return { ...closed, dropped };
  if (closed.path !== null) return { ok: true, path: closed.path, dropped };
  const code = options.signal.aborted ? "aborted" : (dropped.at(-1)?.code ?? "unreachable");
  return fail(
    code,
    `${partial.missing().length} of ${chunks} chunks are still missing and no peer is left to ask; they are kept and the rest is fetched next time`,
  );
}

interface Work {
  id: string;
  partial: PartialBlob;
  queue: number[];
  /** The disk refused: no donor can help. */
  failed: BlobFailure | null;
  /** Called for each chunk that is on disk now. */
  written(): void;
}

const asBlob = { protocol: BLOB_PROTOCOL, kind: "blob" } as const;

async function fetchList(node: SwarmNode, peers: readonly string[], id: string, signal: AbortSignal, dropped: DroppedDonor[]) {
  let last: { code: FetchBlobCode; message: string } = { code: "not-found", message: "no peer was named that has it" };
  for (const peer of peers) {
    const opened = await openRequests(node, peer, { ...asBlob, answerBytesMax: LIMITS.blobListBytesMax }, signal);
    const answer = opened.ok ? await askPatiently(opened.asking, requestOf(ASK_LIST, id), signal) : opened;
    if (opened.ok) opened.asking.close();
    if (answer.ok && answer.content.byteLength % HASH_BYTES === 0 && blobId(answer.content) === id) return answer.content;
    last = answer.ok ? { code: "wrong-bytes", message: `${peer} sent another blob's chunk list` } : answer;
    dropped.push({ peer, code: last.code });
  }
  return last;
}

/** Takes chunks from one donor until none is left or the donor fails; then its chunks go back for the others. */
async function fetchFrom(node: SwarmNode, peer: string, work: Work, signal: AbortSignal, dropped: DroppedDonor[]): Promise<void> {
  const opened = await openRequests(node, peer, { ...asBlob, answerBytesMax: LIMITS.blobChunkBytes }, signal);
  if (!opened.ok) {
    dropped.push({ peer, code: opened.code });
    return;
  }
  let code: FetchBlobCode | null = null;
  const lane = async () => {
    while (code === null && work.failed === null) {
      const index = work.queue.shift();
      if (index === undefined) return;
      const answer = await askPatiently(opened.asking, requestOf(ASK_CHUNK, work.id, index), signal);
      if (!answer.ok) giveBack(index, answer.code);
      else await keep(index, answer.content);
    }
  };
  const keep = async (index: number, chunk: Uint8Array) => {
    const result = await work.partial.write(index, chunk);
    if (result.ok) work.written();
    else if (result.code === "wrong-bytes") giveBack(index, result.code);
    else work.failed = result;
  };
  const giveBack = (index: number, why: FetchBlobCode) => {
    work.queue.push(index);
    code ??= why;
    opened.asking.close();
  };
  await Promise.all(Array.from({ length: LIMITS.blobChunksOutstandingMax }, lane));
  opened.asking.close();
  if (code !== null) dropped.push({ peer, code });
}

/** Asks again, after a random pause, while the peer says that it is busy; one that takes its time to say so uses up the same patience. */
async function askPatiently(asking: Asking, request: Uint8Array, signal: AbortSignal) {
  const untilMs = performance.now() + LIMITS.busyAnswersMax * LIMITS.busyPauseMsMax;
  for (let tries = 1; ; tries++) {
    const answer = await asking.ask(request);
    const isOver = tries === LIMITS.busyAnswersMax || performance.now() > untilMs || signal.aborted;
    if (answer.ok || answer.code !== "busy" || isOver) return answer;
    await setTimeout(Math.random() * LIMITS.busyPauseMsMax, undefined, { signal }).catch(() => {});
  }
}

function requestOf(what: number, id: string, index?: number): Uint8Array {
  const request = new Uint8Array(index === undefined ? LIST_REQUEST_BYTES : CHUNK_REQUEST_BYTES);
  request[0] = what;
  request.set(Buffer.from(id, "hex"), 1);
  if (index !== undefined) new DataView(request.buffer).setUint32(LIST_REQUEST_BYTES, index, true);
  return request;
}
