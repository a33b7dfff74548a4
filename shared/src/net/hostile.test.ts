import { createHash } from "node:crypto";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test } from "vitest";
import { announceTopic, BLOB_PROTOCOL, RANGE_PROTOCOL, SESSION_PROTOCOL } from "../protocol/topics.ts";
import { serveBlobs } from "./blobs.ts";
import { joinTopic } from "./gossip.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { fetchRange, serveRange } from "./range.ts";
import { acceptSessions, openSession } from "./session.ts";

const { keep, stopAll } = stopLater();
afterEach(stopAll);
const never = new AbortController().signal;

test("noise on every protocol, streams dropped in the middle and dead connections leave a coordinator that serves", async () => {
  const coordinator = keep(await loopbackNode("coordinator"));
  joinTopic(
    coordinator,
    announceTopic("00".repeat(32)),
    () => "reject",
    () => {},
  );
  await acceptSessions(coordinator, (session) => session.onFrame(() => session.send(new Uint8Array(1000))));
  await serveRange(coordinator, () => [Uint8Array.of(1)]);
  await serveBlobs(coordinator, { list: () => new Uint8Array(32), chunk: async () => new Uint8Array(1000) });
  const address = coordinator.addresses().map((a) => multiaddr(a));
  const noise = (i: number) =>
    new Uint8Array(
      createHash("shake256", { outputLength: 1 + ((i * 37) % 5000) })
        .update(String(i))
        .digest(),
    );
  for (let round = 0; round < 6; round++) {
    const hostile = keep(await loopbackNode("worker"));
    for (const [i, protocol] of [
      SESSION_PROTOCOL,
      RANGE_PROTOCOL,
      BLOB_PROTOCOL,
      "/meshsub/1.2.0",
      "/ipfs/id/1.0.0",
      "/ipfs/ping/1.0.0",
    ].entries()) {
      const stream = await hostile.libp2p.dialProtocol(address, protocol);
      stream.send(noise(round * 10 + i));
      if (round % 2 === 0) stream.abort(new Error("test"));
    }
    for (const connection of hostile.libp2p.getConnections()) connection.abort(new Error("test"));
  }
  const honest = keep(await loopbackNode("worker"));
  expect(await fetchRange(honest, coordinator.addresses(), 0, never)).toEqual({ ok: true, announcements: [Uint8Array.of(1)] });
  const opened = await openSession(honest, coordinator.addresses(), never);
  if (!opened.ok) throw new Error(opened.message);
  const answered = new Promise<number>((resolve) => opened.session.onFrame((bytes) => resolve(bytes.byteLength)));
  opened.session.send(Uint8Array.of(1));
  expect(await answered).toBe(1000);
});
