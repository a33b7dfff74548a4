import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { RANGE_PROTOCOL } from "../protocol/topics.ts";
import { encodeFrame } from "./frames.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { fetchRange, serveRange } from "./range.ts";

const { keep, stopAll } = stopLater();
afterEach(stopAll);
const never = new AbortController().signal;

async function serving(read: Parameters<typeof serveRange>[1]) {
  const donor = keep(await loopbackNode("coordinator"));
  const counts = await serveRange(donor, read);
  const worker = keep(await loopbackNode("worker"));
  return { donor, worker, counts, fetch: (from: number) => fetchRange(worker, donor.addresses(), from, never) };
}

test("a range gives the very bytes from a place on, and nothing past the end", async () => {
  const ledger = Array.from({ length: 300 }, (_, i) => new Uint8Array(i).fill(i));
  const { fetch, worker } = await serving((from, maxCount) => ledger.slice(from, from + maxCount));
  expect(await fetch(0)).toEqual({ ok: true, announcements: ledger.slice(0, 256) });
  expect(await fetch(256)).toEqual({ ok: true, announcements: ledger.slice(256) });
  expect(await fetch(0xffffffff)).toEqual({ ok: true, announcements: [] });
  const { payload, byKind } = await worker.traffic.readTraffic();
  expect(payload).toEqual({ in: 0, out: 0 });
  expect(byKind.range.in).toBeGreaterThan(300 * 150);
});

test("a donor's read that gives too much is cut to the limits, and one that throws is told as failed", async () => {
  const large = new Uint8Array(LIMITS.announcementBytesMax);
  let broken = false;
  const { fetch } = await serving(() => {
    if (broken) throw new Error("disk");
    return [large, large, large];
  });
  const range = await fetch(0);
  expect(range.ok && range.announcements.map(({ byteLength }) => byteLength)).toEqual([large.byteLength, large.byteLength]);
  broken = true;
  expect(await fetch(0)).toMatchObject({ ok: false, code: "failed" });
});

test.each([
  ["an announcement that is cut", Uint8Array.of(0, 9, 0, 0, 0, 1)],
  ["a length over the limit", Uint8Array.of(0, 255, 255, 255, 255)],
  ["an unknown code", Uint8Array.of(77)],
  ["no code", new Uint8Array()],
])("a hostile answer is an error value: %s", async (_, answer) => {
  const donor = keep(await loopbackNode("coordinator"));
  await donor.libp2p.handle(RANGE_PROTOCOL, (stream) => void stream.send(encodeFrame(answer)));
  const worker = keep(await loopbackNode("worker"));
  expect(await fetchRange(worker, donor.addresses(), 0, never)).toMatchObject({ ok: false, code: "wrong-bytes" });
});

test("a promise of gigabytes ends the request before a byte is kept", async () => {
  const donor = keep(await loopbackNode("coordinator"));
  await donor.libp2p.handle(RANGE_PROTOCOL, (stream) => void stream.send(Uint8Array.of(0xff, 0xff, 0xff, 0x7f)));
  const worker = keep(await loopbackNode("worker"));
  expect(await fetchRange(worker, donor.addresses(), 0, never)).toMatchObject({ ok: false, code: "wrong-bytes" });
});

test("malformed requests are counted and end their stream, and the node serves on", async () => {
  const { donor, worker, counts, fetch } = await serving(() => [Uint8Array.of(1)]);
  const stream = await worker.libp2p.dialProtocol(
    donor.addresses().map((address) => multiaddr(address)),
    RANGE_PROTOCOL,
  );
  const closed = new Promise((resolve) => stream.addEventListener("remoteCloseWrite", resolve));
  stream.addEventListener("message", () => {});
  stream.send(encodeFrame(Uint8Array.of(1, 2)));
  await closed;
  expect(await fetch(0)).toEqual({ ok: true, announcements: [Uint8Array.of(1)] });
  expect(counts).toEqual({ malformed: 1, ok: 1 });
});

test("a donor that goes away, or speaks no ranges, is an error value", async () => {
  const donor = keep(await loopbackNode("coordinator"));
  const worker = keep(await loopbackNode("worker"));
  expect(await fetchRange(worker, donor.addresses(), 0, never)).toMatchObject({ ok: false, code: "wrong-protocol" });
  await donor.libp2p.handle(RANGE_PROTOCOL, (stream) => stream.abort(new Error("gone")));
  expect(await fetchRange(worker, donor.addresses(), 0, never)).toMatchObject({ ok: false, code: "connection-lost" });
});
