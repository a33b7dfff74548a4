import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { SESSION_PROTOCOL } from "../protocol/topics.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { acceptSessions, openSession, type Session, type SessionEndCode } from "./session.ts";

const { keep, stopAll } = stopLater();
afterEach(stopAll);
const never = new AbortController().signal;
const ended = (session: Session) => new Promise<SessionEndCode>((resolve) => session.onClose(resolve));

/** A coordinator whose accepted sessions come out one by one. */
async function accepting() {
  const coordinator = keep(await loopbackNode("coordinator"));
  const accepted: Session[] = [];
  const waiting: ((session: Session) => void)[] = [];
  await acceptSessions(coordinator, (session) => {
    const next = waiting.shift();
    if (next) next(session);
    else accepted.push(session);
  });
  return {
    coordinator,
    next: () => new Promise<Session>((resolve) => (accepted.length > 0 ? resolve(accepted.shift() as Session) : waiting.push(resolve))),
  };
}

async function opened(coordinator: { addresses(): string[] }, worker?: Awaited<ReturnType<typeof loopbackNode>>) {
  const node = worker ?? keep(await loopbackNode("worker"));
  const result = await openSession(node, coordinator.addresses(), never);
  if (!result.ok) throw new Error(result.message);
  return { node, session: result.session };
}

test("frames go both ways, whole and in order, and are counted", async () => {
  const { coordinator, next } = await accepting();
  const { node, session } = await opened(coordinator);
  const server = await next();
  expect(server.peerId).toBe(node.peerId);
  const sizes = [0, 1, 127, 128, 40_000, 65_536, 3];
  const echoed: number[] = [];
  const done = new Promise<void>((resolve) =>
    session.onFrame((bytes) => {
      echoed.push(bytes.byteLength);
      expect(bytes.every((byte) => byte === (bytes.byteLength & 0xff))).toBe(true);
      if (echoed.length === sizes.length) resolve();
    }),
  );
  server.onFrame((bytes) => expect(server.send(bytes)).toBe(true));
  for (const size of sizes) expect(session.send(new Uint8Array(size).fill(size & 0xff))).toBe(true);
  await done;
  expect(echoed).toEqual(sizes);
  const total = sizes.reduce((a, b) => a + b);
  expect([session.payloadBytes, server.payloadBytes]).toEqual([
    { in: total, out: total },
    { in: total, out: total },
  ]);
  const { payload, wire } = await node.traffic.readTraffic();
  expect(payload).toEqual({ in: total, out: total });
  expect(wire.out).toBeGreaterThan(total);
  expect(wire.out).toBeLessThan(total * 1.1 + 5_000);
});

test("a close hands over what is queued, and both sides hear of it", async () => {
  const { coordinator, next } = await accepting();
  const { session } = await opened(coordinator);
  const server = await next();
  const got: number[] = [];
  session.onFrame((bytes) => got.push(bytes.byteLength));
  for (let i = 0; i < 9; i++) server.send(new Uint8Array(100_000));
  const [code] = await Promise.all([ended(session), server.close()]);
  expect(got).toEqual(Array(9).fill(100_000));
  expect(code).toBe("remote-closed");
  expect(await ended(server)).toBe("closed");
  expect(server.send(new Uint8Array(1))).toBe(false);
});

test("a peer that does not read costs a bounded queue and then its session", async () => {
  const { coordinator, next } = await accepting();
  const worker = keep(await loopbackNode("worker"));
  const connection = await worker.libp2p.dial(coordinator.addresses().map((a) => multiaddr(a)));
  const stream = await connection.newStream(SESSION_PROTOCOL);
  stream.pause();
  const server = await next();
  let largest = 0;
  let sent = 0;
  while (server.send(new Uint8Array(32_768))) {
    sent += 32_768;
    largest = Math.max(largest, server.queuedBytes());
    // Lets the sockets work between sends, as a real coordinator would.
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBeLessThan(16 * 1024 * 1024);
  }
  expect(await ended(server)).toBe("queue-full");
  expect(largest).toBeLessThanOrEqual(LIMITS.sendQueueBytesMax + 32_768);
  expect(sent).toBeLessThanOrEqual(LIMITS.sendQueueBytesMax + 2 * LIMITS.streamWindowBytesMax);
  expect(server.queuedBytes()).toBe(0);
});

test("a queue that backs up behind a slow reader drains when it reads again", async () => {
  const { coordinator, next } = await accepting();
  const worker = keep(await loopbackNode("worker"));
  const connection = await worker.libp2p.dial(coordinator.addresses().map((a) => multiaddr(a)));
  const stream = await connection.newStream(SESSION_PROTOCOL);
  stream.pause();
  const server = await next();
  for (let i = 0; i < 40; i++) expect(server.send(new Uint8Array(25_000))).toBe(true);
  expect(server.queuedBytes()).toBeGreaterThan(500_000);
  let got = 0;
  const all = new Promise<void>((resolve) =>
    stream.addEventListener("message", ({ data }) => {
      got += data.byteLength;
      if (got === 40 * 25_003) resolve();
    }),
  );
  stream.resume();
  await all;
  expect(server.queuedBytes()).toBe(0);
});

test("the second session of a peer replaces the first", async () => {
  const { coordinator, next } = await accepting();
  const first = await opened(coordinator);
  const firstServer = await next();
  await opened(coordinator, first.node);
  const secondServer = await next();
  expect(await ended(firstServer)).toBe("replaced");
  expect(await ended(first.session)).toBe("reset");
  expect(secondServer.send(Uint8Array.of(1))).toBe(true);
});

test.each([
  ["frame-too-large", Uint8Array.of(0xff, 0xff, 0x7f)],
  ["malformed-length", Uint8Array.of(0xff, 0xff, 0xff, 0xff)],
] as const)("a %s prefix ends the session and nothing else", async (code, bytes) => {
  const { coordinator, next } = await accepting();
  const hostile = keep(await loopbackNode("worker"));
  const stream = await hostile.libp2p.dialProtocol(
    coordinator.addresses().map((a) => multiaddr(a)),
    SESSION_PROTOCOL,
  );
  const server = await next();
  server.onFrame(() => expect.unreachable());
  stream.send(bytes);
  expect(await ended(server)).toBe(code);
  await opened(coordinator);
  expect((await next()).send(Uint8Array.of(1))).toBe(true);
});

test("a flood of frames ends as too-fast", async () => {
  const { coordinator, next } = await accepting();
  const { session } = await opened(coordinator);
  const server = await next();
  let frames = 0;
  server.onFrame(() => frames++);
  const over = ended(server);
  for (let i = 0; i < 20_000 && session.send(Uint8Array.of(1)); i++);
  expect(await over).toBe("too-fast");
  expect(frames).toBeLessThan(20_000);
});

test("a handler that throws ends its session with the error, not the node", async () => {
  const { coordinator, next } = await accepting();
  const { session } = await opened(coordinator);
  const server = await next();
  server.onFrame(() => {
    throw new Error("bug");
  });
  const over = new Promise((resolve) => server.onClose((code, error) => resolve([code, String(error)])));
  session.send(Uint8Array.of(1));
  expect(await over).toEqual(["handler-failed", "Error: bug"]);
});

test("a dead coordinator ends the session", async () => {
  const { coordinator, next } = await accepting();
  const { session } = await opened(coordinator);
  await next();
  const over = ended(session);
  await coordinator.stop();
  expect(["connection-lost", "reset", "remote-closed"]).toContain(await over);
});

test("what cannot be opened says why", async () => {
  const worker = keep(await loopbackNode("worker"));
  const coordinator = keep(await loopbackNode("coordinator"));
  const [address = ""] = coordinator.addresses();
  expect(await openSession(worker, address, never)).toMatchObject({ ok: false, code: "wrong-protocol" });
  const other = keep(await loopbackNode("worker"));
  expect(await openSession(worker, address.replace(coordinator.peerId, other.peerId), never)).toMatchObject({
    ok: false,
    code: "wrong-peer",
  });
  await coordinator.stop();
  expect(await openSession(other, address, never)).toMatchObject({ ok: false, code: "refused" });
  expect(await openSession(worker, address, AbortSignal.abort())).toMatchObject({ ok: false, code: "aborted" });
});
