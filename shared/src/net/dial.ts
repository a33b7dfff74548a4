/** Opens one stream of a protocol to a peer; every failure is a value that says what to do. */
import type { Connection, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import type { SwarmNode } from "./node.ts";

/** `refused`: the machine is there, and nothing listens at the port. `unreachable`: anything else that kept us out. */
export const DIAL_CODES = ["refused", "unreachable", "wrong-peer", "wrong-protocol", "aborted"] as const;
export type DialCode = (typeof DIAL_CODES)[number];

export type Dialled = { ok: true; stream: Stream; connection: Connection } | { ok: false; code: DialCode; message: string };

/** Dials a peer by one of its multiaddrs, or by its peer id where it is connected, and opens a stream. */
export async function dialStream(
  node: SwarmNode,
  peer: string | readonly string[],
  protocol: string,
  signal: AbortSignal,
): Promise<Dialled> {
  const addresses = typeof peer === "string" ? [peer] : peer;
  try {
    signal.throwIfAborted();
    const byAddress = addresses.every((address) => address.startsWith("/"));
    const target = byAddress ? addresses.map((address) => multiaddr(address)) : peerIdFromString(addresses[0] ?? "");
    const connection = await node.libp2p.dial(target, { signal });
    return { ok: true, connection, stream: await connection.newStream(protocol, { signal }) };
  } catch (error) {
    return { ok: false, ...dialFailure(error as Error, addresses.join(", "), signal) };
  }
}

function dialFailure(error: Error, address: string, signal: AbortSignal): { code: DialCode; message: string } {
  if (signal.aborted) return { code: "aborted", message: `dial ${address}: given up` };
  const causes = [error, ...(error instanceof AggregateError ? (error.errors as Error[]) : [])];
  const why = causes.map(({ message }) => message).join("; ");
  if (causes.some(({ name }) => name === "UnsupportedProtocolError"))
    return { code: "wrong-protocol", message: `${address} speaks another protocol version: bring both programs to the same release` };
  if (/does not match expected remote identity/.test(why))
    return { code: "wrong-peer", message: `${address} is answered by another peer id: ask for the coordinator's current address` };
  const refused = (error instanceof AggregateError ? error.errors : [error]).every(({ code }) => code === "ECONNREFUSED");
  return {
    code: refused ? "refused" : "unreachable",
    message: `cannot reach ${address} (${why}); check the address, that the coordinator runs, and its firewall`,
  };
}
