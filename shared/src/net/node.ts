/**
 * One libp2p node: TCP, Noise, Yamux, identify, ping, gossipsub, and metrics in a registry of its own.
 * It knows nothing of messages; sessions, ranges, blobs and topics are put on it by the files beside this one.
 */
import type { GossipSub } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import type { Connection, Libp2p, PrivateKey } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { prometheusMetrics } from "@libp2p/prometheus-metrics";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { Registry } from "prom-client";
import { LIMITS } from "../protocol/limits.ts";
import { createGossip } from "./gossip.ts";
import { createTraffic, type TrafficCounter } from "./traffic.ts";

export type Role = "coordinator" | "worker";

export interface SwarmNode {
  role: Role;
  peerId: string;
  /** Addresses others can dial, each ending in /p2p/<peer id>; none when it does not listen. */
  addresses(): string[];
  /** Peers with an open connection. */
  peers(): string[];
  /** Closes every connection to a peer; it may come back. */
  disconnect(peerId: string): Promise<void>;
  /** Closes the connections to a peer that this node opened; those that the peer opened are the peer's. */
  hangUp(peerId: string): Promise<void>;
  stop(): Promise<void>;
  traffic: TrafficCounter;
  /** For the rooms beside this file only. */
  libp2p: Libp2p<{ gossip: GossipSub }>;
}

export const NODE_CODES = ["port-in-use", "address-unusable"] as const;
export type NodeCode = (typeof NODE_CODES)[number];

export type CreatedNode = { ok: true; node: SwarmNode } | { ok: false; code: NodeCode; port: number | null; message: string };

export interface NodeOptions {
  role: Role;
  privateKey: PrivateKey;
  /** Multiaddrs such as /ip4/0.0.0.0/tcp/4100; port 0 takes a free one. Empty: dial only. */
  listen?: readonly string[];
  /** Addresses to announce instead of those listened on, where a router forwards a port. */
  announce?: readonly string[];
  /** prom-client registry that libp2p's metrics go to; a node needs one of its own. */
  registry?: Registry;
}

/** Starts a node. A taken or unusable address is a value that names the port, so that the caller can choose another. */
export async function createNode({
  role,
  privateKey,
  listen = [],
  announce = [],
  registry = new Registry(),
}: NodeOptions): Promise<CreatedNode> {
  const libp2p = await createLibp2p({
    start: false,
    privateKey,
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [tcp({ backlog: LIMITS.listenBacklogMax })],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({ streamOptions: { maxStreamWindowSize: LIMITS.streamWindowBytesMax, maxReadBufferLength: LIMITS.streamUnreadBytesMax } }),
    ],
    connectionManager: {
      maxConnections: LIMITS.connectionsMax,
      maxIncomingPendingConnections: LIMITS.connectionsPendingMax,
      inboundConnectionThreshold: LIMITS.connectionsPerSecondPerAddressMax,
      dialTimeout: LIMITS.dialTimeoutMs,
      // Redialling is ours (redial.ts): libp2p's own gives up after five attempts.
      reconnectRetries: 0,
    },
    connectionMonitor: { pingInterval: LIMITS.pingIntervalMs },
    metrics: prometheusMetrics({ registry, collectDefaultMetrics: false }),
    services: { identify: identify(), ping: ping(), gossip: createGossip(role) },
  });
  try {
    await libp2p.start();
  } catch (error) {
    await stopQuietly(libp2p);
    return listenFailure(listen, String((error as Error).message));
  }
  const connectionsTo = (peerId: string) => libp2p.getConnections().filter(({ remotePeer }) => remotePeer.toString() === peerId);
  return {
    ok: true,
    node: {
      role,
      peerId: libp2p.peerId.toString(),
      addresses: () => libp2p.getMultiaddrs().map(String),
      peers: () => libp2p.getPeers().map(String),
      disconnect: (peerId) => closeAll(connectionsTo(peerId)),
      hangUp: (peerId) => closeAll(connectionsTo(peerId).filter(({ direction }) => direction === "outbound")),
      stop: () => stopQuietly(libp2p),
      traffic: createTraffic(registry),
      libp2p,
    },
  };
}

async function closeAll(connections: readonly Connection[]): Promise<void> {
  await Promise.all(connections.map((connection) => connection.close().catch((error) => connection.abort(error as Error))));
}

async function stopQuietly(libp2p: Libp2p): Promise<void> {
  try {
    await libp2p.stop();
  } catch {
    // Stopping twice, or after a failed start, leaves nothing to save.
  }
}

/** libp2p joins the errors of all addresses into one text; Node's own error codes in it say which case this is. */
function listenFailure(listen: readonly string[], detail: string): CreatedNode {
  const [firstPort] = listen.map((address) => /\/tcp\/(\d+)/.exec(address)?.[1]).filter((port) => port !== undefined);
  const taken = /EADDRINUSE[^\n]*?:(\d+)\s*$/m.exec(detail)?.[1];
  if (/EADDRINUSE/.test(detail)) {
    const port = Number(taken ?? firstPort ?? 0);
    return {
      ok: false,
      code: "port-in-use",
      port,
      message: `listen: port ${port} is taken by another program; choose another port, or 0 for any free one`,
    };
  }
  return {
    ok: false,
    code: "address-unusable",
    port: firstPort === undefined ? null : Number(firstPort),
    message: `listen: cannot listen on ${listen.join(", ")} (${reasonOf(detail)}); use an address of this machine and a port from 1024 up`,
  };
}

/** The line of libp2p's account that says why: neither its headings nor stack frames. */
function reasonOf(detail: string): string {
  const lines = detail.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("at ")).at(-1) ?? "no reason given";
}
