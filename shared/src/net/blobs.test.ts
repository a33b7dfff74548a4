import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { BLOB_PROTOCOL } from "../protocol/topics.ts";
import { type BlobFiles, openBlobFiles } from "../store/blobs.ts";
import { fetchBlob, serveBlobs } from "./blobs.ts";
import { encodeFrame } from "./frames.ts";
import { loopbackNode, stopLater } from "./loopback.ts";

const CHUNK = LIMITS.blobChunkBytes;
const never = new AbortController().signal;
const { keep, stopAll } = stopLater();
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-fetch-"));
});
afterEach(async () => {
  await stopAll();
  await rm(dir, { recursive: true });
});

const content = (bytes: number) => new Uint8Array(createHash("shake256", { outputLength: bytes }).update("blob").digest());

async function donorWith(bytes: Uint8Array, change: (files: BlobFiles) => Pick<BlobFiles, "list" | "chunk"> = (files) => files) {
  const files = await openBlobFiles(await mkdtemp(join(dir, "donor-")));
  const put = await files.put(bytes);
  if (!put.ok) throw new Error(put.message);
  const node = keep(await loopbackNode("coordinator"));
  const counts = await serveBlobs(node, change(files));
  return { node, id: put.id, address: node.addresses()[0] ?? "", files, counts };
}

const cacheIn = (name: string) => openBlobFiles(join(dir, name));

test("a blob arrives whole, is apart from what a step costs, and is not fetched twice", async () => {
  const bytes = content(20 * CHUNK + 9);
  const { node: donor, id, address, counts } = await donorWith(bytes);
  const worker = keep(await loopbackNode("worker"));
  const cache = await cacheIn("mine");
  const progress: string[] = [];
  const options = {
    signal: never,
    bytes: bytes.byteLength,
    onProgress: (done: number, chunks: number) => progress.push(`${done}/${chunks}`),
  };
  expect(await fetchBlob(worker, [address], id, cache, options)).toEqual({ ok: true, path: cache.path(id), dropped: [] });
  expect(Buffer.compare(await readFile(cache.path(id)), bytes)).toBe(0);
  expect([progress[0], progress.at(-1), progress.length]).toEqual(["0/21", "21/21", 22]);
  expect(counts).toEqual({ ok: 22 });
  const [mine, theirs] = await Promise.all([worker.traffic.readTraffic(), donor.traffic.readTraffic()]);
  expect(mine.byKind.blob.in).toBe(bytes.byteLength + 21 * 32);
  expect(theirs.byKind.blob.out).toBe(mine.byKind.blob.in);
  expect(mine.payload).toEqual({ in: 0, out: 0 });
  expect(mine.wireTotal.in).toBeGreaterThan(bytes.byteLength);
  expect(mine.wire.in).toBeLessThan(30_000);
  await donor.stop();
  expect(await fetchBlob(worker, [address], id, cache, options)).toMatchObject({ ok: true });
});

test("after a break only the missing chunks are asked for", async () => {
  const bytes = content(12 * CHUNK);
  let asked: number[] = [];
  let left = 5;
  const { id, address } = await donorWith(bytes, (files) => ({
    list: files.list,
    chunk(blob, index) {
      asked.push(index);
      if (left-- <= 0) throw new Error("broken donor");
      return files.chunk(blob, index);
    },
  }));
  const worker = keep(await loopbackNode("worker"));
  const first = await fetchBlob(worker, [address], id, await cacheIn("mine"), { signal: never });
  expect(first).toMatchObject({ ok: false, code: "failed", message: expect.stringMatching(/of 12 chunks are still missing/) });
  asked = [];
  left = 100;
  const cache = await cacheIn("mine");
  const done: number[] = [];
  expect(await fetchBlob(worker, [address], id, cache, { signal: never, onProgress: (n) => done.push(n) })).toMatchObject({ ok: true });
  expect(done[0]).toBe(5);
  expect(asked.length).toBe(7);
  expect(Buffer.compare(await readFile(cache.path(id)), bytes)).toBe(0);
});

test("donors that lie, have nothing, or cannot be reached are dropped; an honest one is enough", async () => {
  const bytes = content(30 * CHUNK);
  const honest = await donorWith(bytes);
  const liar = await donorWith(bytes, (files) => ({ list: files.list, chunk: async () => new Uint8Array(CHUNK) }));
  const forger = await donorWith(bytes, () => ({ list: () => new Uint8Array(64), chunk: async () => undefined }));
  const empty = await donorWith(bytes, () => ({ list: () => undefined, chunk: async () => undefined }));
  const gone = await donorWith(bytes);
  await gone.node.stop();
  const worker = keep(await loopbackNode("worker"));
  const cache = await cacheIn("mine");
  const peers = [forger, empty, gone, liar, honest].map(({ address }) => address);
  const fetched = await fetchBlob(worker, peers, honest.id, cache, { signal: never });
  if (!fetched.ok) throw new Error(fetched.message);
  expect(Buffer.compare(await readFile(fetched.path), bytes)).toBe(0);
  expect(Object.fromEntries(fetched.dropped.map(({ peer, code }) => [peers.indexOf(peer), code]))).toEqual({
    0: "wrong-bytes",
    1: "not-found",
    2: "refused",
    3: "wrong-bytes",
  });
});

test("without an honest donor there is no file, and the reason is told", async () => {
  const bytes = content(3 * CHUNK);
  const liar = await donorWith(bytes, (files) => ({ list: files.list, chunk: async () => new Uint8Array(CHUNK) }));
  const worker = keep(await loopbackNode("worker"));
  const cache = await cacheIn("mine");
  expect(await fetchBlob(worker, [liar.address], liar.id, cache, { signal: never })).toMatchObject({ ok: false, code: "wrong-bytes" });
  expect(cache.has(liar.id)).toBe(false);
  expect(await fetchBlob(worker, [], liar.id, cache, { signal: never })).toMatchObject({ ok: false, code: "not-found" });
  expect(await fetchBlob(worker, [liar.address], liar.id, cache, { signal: never, bytes: 4 * CHUNK })).toMatchObject({
    ok: false,
    code: "wrong-size",
  });
  const stop = new AbortController();
  const running = fetchBlob(worker, [liar.address], liar.id, cache, { signal: stop.signal });
  stop.abort();
  expect(await running).toMatchObject({ ok: false, code: "aborted" });
});

test("a requester that asks without reading waits on one answer; one that asks too much is cut off", async () => {
  const asked: number[] = [];
  const { node, id, address, counts } = await donorWith(content(8 * CHUNK), (files) => ({
    list: files.list,
    chunk(blob, index) {
      asked.push(index);
      return files.chunk(blob, index);
    },
  }));
  const hostile = keep(await loopbackNode("worker"));
  const request = (index: number) => {
    const bytes = Buffer.concat([Uint8Array.of(1), Buffer.from(id, "hex"), new Uint8Array(4)]);
    bytes.writeUInt32LE(index, 33);
    return encodeFrame(bytes);
  };
  const stream = await hostile.libp2p.dialProtocol(multiaddr(address), BLOB_PROTOCOL);
  stream.pause();
  for (const index of [0, 1, 2, 3]) stream.send(request(index));
  const honest = keep(await loopbackNode("worker"));
  const cache = await cacheIn("mine");
  expect(await fetchBlob(honest, [address], id, cache, { signal: never })).toMatchObject({ ok: true });
  // Eight for the honest one; the other has had at most its window's worth made for it.
  expect(asked.length).toBeLessThanOrEqual(8 + 2);
  const held = node.libp2p.getConnections().flatMap(({ streams }) => streams.map(({ writeBufferLength }) => writeBufferLength));
  expect(Math.max(...held)).toBeLessThanOrEqual(CHUNK + 8);

  const greedy = await hostile.libp2p.dialProtocol(multiaddr(address), BLOB_PROTOCOL);
  const closed = new Promise((resolve) => greedy.addEventListener("remoteCloseWrite", resolve));
  greedy.addEventListener("message", () => {});
  greedy.send(Buffer.concat(Array.from({ length: 20 }, (_, i) => request(i % 8))));
  await closed;
  expect(counts["too-many"]).toBe(1);

  const noise = await hostile.libp2p.dialProtocol(multiaddr(address), BLOB_PROTOCOL);
  const answered = new Promise((resolve) => noise.addEventListener("remoteCloseWrite", resolve));
  noise.addEventListener("message", () => {});
  noise.send(encodeFrame(Uint8Array.of(7, 7, 7)));
  await answered;
  expect(counts.malformed).toBe(1);
});

test("a donor that takes half a minute to say that it is busy is not asked sixty times", async () => {
  const donor = keep(await loopbackNode("coordinator"));
  let asked = 0;
  await donor.libp2p.handle(BLOB_PROTOCOL, (stream) =>
    stream.addEventListener("message", () => {
      asked++;
      stream.send(encodeFrame(Uint8Array.of(1)));
    }),
  );
  const worker = keep(await loopbackNode("worker"));
  let clockMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (clockMs += 29_000));
  const fetched = await fetchBlob(worker, donor.addresses(), "ab".repeat(32), await cacheIn("mine"), { signal: never });
  clock.mockRestore();
  expect(fetched).toMatchObject({ ok: false, code: "busy" });
  expect(asked).toBeLessThanOrEqual(3);
});

test("a donor that is busy is asked again", async () => {
  const bytes = content(100);
  const files = await cacheIn("donor");
  const put = await files.put(bytes);
  if (!put.ok) throw new Error(put.message);
  const answers = [Uint8Array.of(1), Uint8Array.of(0, ...(files.list(put.id) ?? [])), Uint8Array.of(1), Uint8Array.of(0, ...bytes)];
  const donor = keep(await loopbackNode("coordinator"));
  await donor.libp2p.handle(BLOB_PROTOCOL, (stream) =>
    stream.addEventListener("message", () => stream.send(encodeFrame(answers.shift() ?? bytes))),
  );
  const worker = keep(await loopbackNode("worker"));
  expect(await fetchBlob(worker, donor.addresses(), put.id, await cacheIn("mine"), { signal: never })).toMatchObject({
    ok: true,
    dropped: [],
  });
  expect(answers).toEqual([]);
});
