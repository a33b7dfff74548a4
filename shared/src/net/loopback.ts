/** Nodes on 127.0.0.1 with fresh keys, for tests in this room and across packages. Never used by a program. */
import { generateKeyPair } from "@libp2p/crypto/keys";
import { createNode, type NodeOptions, type Role, type SwarmNode } from "./node.ts";

/** A started node; the coordinator listens on a free port, a worker only dials. */
export async function loopbackNode(role: Role, options: Partial<NodeOptions> = {}): Promise<SwarmNode> {
  const listen = role === "coordinator" ? ["/ip4/127.0.0.1/tcp/0"] : [];
  const created = await createNode({ role, listen, privateKey: await generateKeyPair("Ed25519"), ...options });
  if (!created.ok) throw new Error(created.message);
  return created.node;
}

/** Keeps what it is given and stops all of it, in parallel. */
export function stopLater(): { keep<T extends { stop(): Promise<void> }>(node: T): T; stopAll(): Promise<void> } {
  const kept: { stop(): Promise<void> }[] = [];
  return {
    keep(node) {
      kept.push(node);
      return node;
    },
    async stopAll() {
      await Promise.all(kept.splice(0).map((node) => node.stop()));
    },
  };
}
