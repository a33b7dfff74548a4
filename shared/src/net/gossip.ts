/**
 * Announcements to everyone by gossipsub, unsigned by the peer (the payload carries the job's own signature).
 * Every limit stands before the caller's validator; a node that has joined a topic hears no other.
 */
import { createHash, randomBytes } from "node:crypto";
import { type GossipSub, type GossipSubComponents, gossipsub, StrictNoSign, TopicValidatorResult } from "@libp2p/gossipsub";
import type { PeerScoreParams, TopicScoreParams } from "@libp2p/gossipsub/score";
import { LIMITS } from "../protocol/limits.ts";
import type { Role, SwarmNode } from "./node.ts";

export const PUBLISH_CODES = ["already-published", "too-large", "publish-failed"] as const;
export type PublishCode = (typeof PUBLISH_CODES)[number];

export type Published =
  | {
      ok: true;
      recipients: number /** Subscribers that gossip could not reach now: they need a repair over their session. */;
      missed: string[];
    }
  | { ok: false; code: PublishCode; message: string };

export interface Topic {
  publish(bytes: Uint8Array): Promise<Published>;
  /** Peers known to be subscribed. At a worker, the coordinator's presence here means that its announcements will arrive. */
  subscribers(): string[];
  /** Calls back whenever `subscribers` may have changed. Returns what stops it. */
  onSubscribers(changed: () => void): () => void;
  leave(): void;
}

export type Verdict = "accept" | "ignore" | "reject";
const VERDICTS = { accept: TopicValidatorResult.Accept, ignore: TopicValidatorResult.Ignore, reject: TopicValidatorResult.Reject } as const;

/**
 * Only invalid messages count: in a star, workers deliver nothing, so gossipsub's delivery quotas would punish all of them.
 * One invalid message costs 50 (the publish threshold), two silence a peer; the counter halves in about seven seconds.
 */
const TOPIC_SCORE: TopicScoreParams = {
  topicWeight: 1,
  timeInMeshWeight: 0,
  timeInMeshQuantum: 1_000,
  timeInMeshCap: 1,
  firstMessageDeliveriesWeight: 0,
  firstMessageDeliveriesDecay: 0.5,
  firstMessageDeliveriesCap: 1,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 1,
  meshMessageDeliveriesThreshold: 1,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 5_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  invalidMessageDeliveriesWeight: -50,
  invalidMessageDeliveriesDecay: 0.9,
};

/** The gossipsub service of a node. At the coordinator the mesh takes every worker: gossipsub's D of 6 loses a star's messages. */
export function createGossip(role: Role): (components: GossipSubComponents) => GossipSub {
  const salt = randomBytes(16);
  const all = LIMITS.connectionsMax;
  return gossipsub({
    globalSignaturePolicy: StrictNoSign,
    // The topic is in the id so that equal payloads on two topics differ; an id from fewer bytes would let a forger censor.
    msgIdFn: ({ topic, data }) => createHash("sha256").update(topic).update(data).digest(),
    fastMsgIdFn: ({ topic, data }) =>
      createHash("sha256")
        .update(salt)
        .update(topic)
        .update(data ?? new Uint8Array())
        .digest("base64"),
    floodPublish: true,
    batchPublish: true,
    fallbackToFloodsub: false,
    doPX: false,
    allowPublishToZeroTopicPeers: true,
    ...(role === "coordinator" ? { D: all, Dlo: Math.floor(all * 0.8), Dhi: 2 * all } : {}),
    scoreParams: { IPColocationFactorWeight: 0 },
    maxInboundDataLength: LIMITS.gossipPacketBytesMax,
    maxOutboundBufferSize: LIMITS.gossipQueueBytesMax,
    maxTopicBytesPerPeer: LIMITS.gossipTopicBytesPerPeerMax,
    decodeRpcLimits: {
      maxSubscriptions: 64,
      maxMessages: 256,
      maxIhaveMessageIDs: 1_000,
      maxIwantMessageIDs: 1_000,
      maxControlMessages: 256,
      maxIdontwantMessageIDs: 512,
      maxPeerInfos: 16,
    },
  });
}

/**
 * Joins a topic. `validate` sees each message once, size already checked, and decides; it must not throw (a throw is an ignore).
 * `onAccepted` gets the bytes of the accepted ones, with the peer they came through.
 */
export function joinTopic(
  node: SwarmNode,
  topic: string,
  validate: (bytes: Uint8Array, from: string) => Verdict,
  onAccepted: (bytes: Uint8Array, from: string) => void,
): Topic {
  const { gossip } = node.libp2p.services;
  admitTopic(gossip, topic);
  gossip.topicValidators.set(topic, (peer, { data }) => {
    node.traffic.count("announcement", "in", data.byteLength);
    if (data.byteLength > LIMITS.announcementBytesMax) return TopicValidatorResult.Reject;
    return VERDICTS[validate(data, peer.toString())];
  });
  const onMessage = ({ detail: { propagationSource, msg } }: GossipMessageEvent) => {
    if (msg.topic === topic) onAccepted(msg.data, propagationSource.toString());
  };
  gossip.addEventListener("gossipsub:message", onMessage);
  gossip.subscribe(topic);

  const subscribers = () => gossip.getSubscribers(topic).map(String);
  const misses = new Map<string, number>();
  return {
    subscribers,
    onSubscribers(changed) {
      const onDisconnect = () => queueMicrotask(changed);
      gossip.addEventListener("subscription-change", changed);
      node.libp2p.addEventListener("peer:disconnect", onDisconnect);
      return () => {
        gossip.removeEventListener("subscription-change", changed);
        node.libp2p.removeEventListener("peer:disconnect", onDisconnect);
      };
    },
    async publish(bytes) {
      const sent = await publishTo(gossip, topic, bytes);
      if (!sent.ok) return sent;
      const reached = new Set(sent.recipients);
      node.traffic.count("announcement", "out", bytes.byteLength * reached.size);
      const missed = subscribers().filter((peer) => !reached.has(peer));
      for (const peer of dueForReset(misses, missed)) void node.disconnect(peer);
      return { ok: true, recipients: reached.size, missed };
    },
    leave() {
      gossip.removeEventListener("gossipsub:message", onMessage);
      gossip.topicValidators.delete(topic);
      gossip.unsubscribe(topic);
    },
  };
}

type GossipMessageEvent = CustomEvent<{ propagationSource: { toString(): string }; msg: { topic: string; data: Uint8Array } }>;

/**
 * gossipsub takes its topics once, when it is built, but a worker learns its job's topic from the coordinator it is connected to.
 * So the two tables are set here, in the one place that reaches inside; gossip.test.ts fails if a new version moves them.
 * Until then a peer's subscriptions are remembered (within their budget), or the coordinator's would be lost.
 */
function admitTopic(gossip: GossipSub, topic: string): void {
  const inside = gossip as unknown as { allowedTopics: Set<string> | null; opts: { scoreParams: PeerScoreParams } };
  inside.allowedTopics = new Set([...(inside.allowedTopics ?? []), topic]);
  inside.opts.scoreParams.topics[topic] = TOPIC_SCORE;
}

async function publishTo(gossip: GossipSub, topic: string, bytes: Uint8Array) {
  if (bytes.byteLength > LIMITS.announcementBytesMax) {
    const message = `announcement: ${bytes.byteLength} bytes exceed the limit of ${LIMITS.announcementBytesMax}; use fewer directions per step`;
    return { ok: false as const, code: "too-large" as const, message };
  }
  try {
    const { recipients } = await gossip.publish(topic, bytes);
    return { ok: true as const, recipients: recipients.map(String) };
  } catch (error) {
    const { message } = error as Error;
    return {
      ok: false as const,
      code: message === "PublishError.Duplicate" ? ("already-published" as const) : ("publish-failed" as const),
      message,
    };
  }
}

/**
 * A subscriber is missed while its gossip stream is being opened, which passes, or because the stream overflowed and was not
 * reopened, which does not: after several in a row the connection is closed, and the peer's redial brings a fresh one.
 */
function dueForReset(misses: Map<string, number>, missed: readonly string[]): string[] {
  const counts = missed.map((peer) => [peer, (misses.get(peer) ?? 0) + 1] as const);
  misses.clear();
  for (const [peer, count] of counts) if (count < LIMITS.gossipMissesMax) misses.set(peer, count);
  return counts.filter(([, count]) => count >= LIMITS.gossipMissesMax).map(([peer]) => peer);
}
