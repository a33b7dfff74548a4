import { createHash } from "node:crypto";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { announceTopic } from "../protocol/topics.ts";
import { joinTopic, type Topic, type Verdict } from "./gossip.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import type { SwarmNode } from "./node.ts";

const { keep, stopAll } = stopLater();
afterEach(stopAll);
const TOPIC = announceTopic("ab".repeat(32));
const nothing = () => {};
const accept = () => "accept" as const;

/** Resolves when the topic knows all these subscribers. */
function subscribed(topic: Topic, peers: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      const known = new Set(topic.subscribers());
      if (!peers.every((peer) => known.has(peer))) return;
      stop();
      resolve();
    };
    const stop = topic.onSubscribers(check);
    check();
  });
}

const dial = (node: SwarmNode, to: SwarmNode) => node.libp2p.dial(to.addresses().map((a) => multiaddr(a)));
const numbered = (i: number, bytes = 200) => new Uint8Array(createHash("shake256", { outputLength: bytes }).update(String(i)).digest());
const name = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("30 nodes that reach only the coordinator get every one of 120 announcements, once", { timeout: 60_000 }, async () => {
  const coordinator = keep(await loopbackNode("coordinator"));
  const announcing = joinTopic(coordinator, TOPIC, accept, nothing);
  const messages = Array.from({ length: 120 }, (_, i) => numbered(i));
  const workers = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const node = keep(await loopbackNode("worker"));
      await dial(node, coordinator);
      const got: string[] = [];
      let topic: Topic | undefined;
      const all = new Promise<void>((resolve) => {
        topic = joinTopic(node, TOPIC, accept, (bytes) => {
          if (got.push(name(bytes)) === messages.length) resolve();
        });
      });
      return { node, got, all, topic: topic as Topic };
    }),
  );
  await Promise.all(workers.map(({ topic }) => subscribed(topic, [coordinator.peerId])));
  await subscribed(
    announcing,
    workers.map(({ node }) => node.peerId),
  );
  for (const message of messages) expect(await announcing.publish(message)).toEqual({ ok: true, recipients: 30, missed: [] });
  await Promise.all(workers.map(({ all }) => all));
  const sent = messages.map(name).sort();
  for (const { got, node } of workers) {
    expect(got.toSorted()).toEqual(sent);
    const { payload, wire } = await node.traffic.readTraffic();
    expect(payload).toEqual({ in: 120 * 200, out: 0 });
    expect(wire.in).toBeLessThan(120 * 300 + 20_000);
  }
  expect((await coordinator.traffic.readTraffic()).payload.out).toBe(30 * 120 * 200);
});

/** Two connected nodes on the topic; the worker judges by the first byte. */
async function pair(onAccepted: (bytes: Uint8Array) => void = nothing) {
  const coordinator = keep(await loopbackNode("coordinator"));
  const worker = keep(await loopbackNode("worker"));
  const asked: number[] = [];
  const announcing = joinTopic(coordinator, TOPIC, accept, nothing);
  await dial(worker, coordinator);
  const listening = joinTopic(
    worker,
    TOPIC,
    (bytes): Verdict => {
      asked.push(bytes[0] ?? -1);
      if (bytes[0] === 9) throw new Error("bug");
      return bytes[0] === 1 ? "accept" : bytes[0] === 2 ? "ignore" : "reject";
    },
    onAccepted,
  );
  await Promise.all([subscribed(listening, [coordinator.peerId]), subscribed(announcing, [worker.peerId])]);
  return { coordinator, worker, announcing, asked };
}

test("only accepted messages come through, a throwing validator ignores, and a repeat is not asked again", async () => {
  const got: string[] = [];
  let finished: () => void = nothing;
  const last = new Promise<void>((resolve) => {
    finished = resolve;
  });
  const { announcing, asked } = await pair((bytes) => {
    got.push([...bytes].join());
    if (bytes[1] === 255) finished();
  });
  for (const bytes of [
    [1, 7],
    [2, 7],
    [9, 7],
    [1, 8],
  ])
    expect((await announcing.publish(Uint8Array.from(bytes))).ok).toBe(true);
  expect(await announcing.publish(Uint8Array.of(1, 7))).toMatchObject({ ok: false, code: "already-published" });
  await announcing.publish(Uint8Array.of(1, 255));
  await last;
  expect(got.sort()).toEqual(["1,255", "1,7", "1,8"]);
  expect(asked.sort()).toEqual([1, 1, 1, 2, 9]);
});

test("too large an announcement is refused before it is sent, and before a validator sees it", async () => {
  let finished: () => void = nothing;
  const last = new Promise<void>((resolve) => {
    finished = resolve;
  });
  const { coordinator, announcing, asked } = await pair(finished);
  const large = new Uint8Array(LIMITS.announcementBytesMax + 1).fill(1);
  expect(await announcing.publish(large)).toMatchObject({ ok: false, code: "too-large" });
  await coordinator.libp2p.services.gossip.publish(TOPIC, large);
  await announcing.publish(Uint8Array.of(1));
  await last;
  expect(asked).toEqual([1]);
});

test("forged messages cost their sender its score, and other topics are not heard", async () => {
  const { coordinator, worker, announcing } = await pair();
  const { gossip } = worker.libp2p.services;
  const inside = gossip as unknown as { score: { score(peer: string): number }; topics: Map<string, unknown>; allowedTopics: Set<string> };
  coordinator.libp2p.services.gossip.subscribe("zoswarm/other");
  const silenced = new Promise<void>((resolve) =>
    // -80 is gossipsub's graylist threshold: below it nothing a peer sends is looked at. Scores are cached for a heartbeat.
    gossip.addEventListener("gossipsub:heartbeat", () => inside.score.score(coordinator.peerId) < -80 && resolve()),
  );
  for (const i of [1, 2, 3]) await announcing.publish(Uint8Array.of(3, i));
  await silenced;
  expect([...inside.allowedTopics]).toEqual([TOPIC]);
  expect([...inside.topics.keys()]).toEqual([TOPIC]);
});

test("a subscriber whose gossip stream is lost is named as missed, and its connection closed after three", async () => {
  const { coordinator, worker, announcing } = await pair();
  const streams = coordinator.libp2p.getConnections().flatMap((connection) => connection.streams);
  for (const stream of streams)
    if (stream.direction === "outbound" && stream.protocol.startsWith("/meshsub/")) stream.abort(new Error("test"));
  const gone = new Promise<void>((resolve) => coordinator.libp2p.addEventListener("peer:disconnect", () => resolve()));
  for (let i = 0; i < LIMITS.gossipMissesMax; i++)
    expect(await announcing.publish(Uint8Array.of(1, i))).toEqual({ ok: true, recipients: 0, missed: [worker.peerId] });
  await gone;
  expect(coordinator.peers()).toEqual([]);
});
