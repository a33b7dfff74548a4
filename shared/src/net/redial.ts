/**
 * Our own redial: exponential with jitter, endless, over all of a peer's addresses (libp2p's gives up after five attempts).
 * The schedule is pure; the loop takes its clock and chance as arguments.
 */
import { setTimeout } from "node:timers/promises";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { LIMITS } from "../protocol/limits.ts";

/**
 * The pause in ms before attempt `attempt` (0 is the first retry); `random` is in [0, 1). Never below redialMsMin, and the whole
 * span up to a doubling bound, at most `msMax`, is used, so that the workers of a restarted coordinator do not come back in one wave.
 */
export function nextDelayMs(attempt: number, random: number, msMax: number = LIMITS.redialMsMax): number {
  const bound = Math.min(msMax, LIMITS.redialMsMin * 2 ** Math.min(attempt + 1, 30));
  return LIMITS.redialMsMin + random * (bound - LIMITS.redialMsMin);
}

export type Attempt =
  | { event: "connected"; address: string }
  | { event: "failed"; address: string; code: string; message: string; nextMs: number }
  | { event: "ended"; address: string; nextMs: number };

export interface KeepConnectedOptions {
  addresses: readonly string[];
  /** Connects to one address. `ended` resolves when the connection is over; to "elsewhere" where the next address shall be tried. */
  connect(
    address: string,
    signal: AbortSignal,
  ): Promise<{ ok: true; ended: Promise<unknown> } | { ok: false; code: string; message: string }>;
  onAttempt(attempt: Attempt): void;
  signal: AbortSignal;
  random?: () => number;
  nowMs?: () => number;
  pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

const pauseMs = (ms: number, signal: AbortSignal) => setTimeout(ms, undefined, { signal }).catch(() => {});

/**
 * Connects, and connects again whenever it ends, until `signal` aborts; resolves then. Addresses take turns. A dial that a closed port
 * refuses costs the other side's kernel one packet, so it is repeated at short pauses however long the coordinator is away; one that
 * reached a program, or got no answer, costs more and gives way to `redialMsMax`.
 */
export async function keepConnected(options: KeepConnectedOptions): Promise<void> {
  const { addresses, signal, onAttempt, random = Math.random, nowMs = () => performance.now(), pause = pauseMs } = options;
  let attempt = 0;
  let refusals = 0;
  for (let turn = 0; !signal.aborted; turn++) {
    const address = addresses[turn % addresses.length];
    if (address === undefined) throw new Error("keepConnected needs an address");
    const result = await options.connect(address, signal);
    if (signal.aborted) return;
    if (result.ok) {
      const sinceMs = nowMs();
      onAttempt({ event: "connected", address });
      const how = await result.ended;
      if (signal.aborted) return;
      // A connection that lasted is a success; one that is thrown out at once must not turn into a hammer.
      if (nowMs() - sinceMs >= LIMITS.redialMsMax) attempt = 0;
      // The address that worked is tried first.
      if (how !== "elsewhere") turn -= 1;
    }
    const refused = !result.ok && result.code === "refused";
    // Whoever listens there next is another process, which our earlier attempts have cost nothing.
    if (refused) attempt = 0;
    else refusals = 0;
    const nextMs = refused ? nextDelayMs(refusals++, random(), LIMITS.redialRefusedMsMax) : nextDelayMs(attempt++, random());
    onAttempt(
      result.ok ? { event: "ended", address, nextMs } : { event: "failed", address, code: result.code, message: result.message, nextMs },
    );
    await pause(nextMs, signal);
  }
}

export type ParsedAddress = { ok: true; address: string; peerId: string } | { ok: false; code: "wrong-address"; message: string };

/** Reads the address a person gives to reach a coordinator: a multiaddr with host, TCP port and peer id. */
export function parseAddress(text: string): ParsedAddress {
  const fail = (why: string): ParsedAddress => ({
    ok: false,
    code: "wrong-address",
    message: `address "${text.slice(0, 200)}": ${why}; copy it from the coordinator's first lines, like /ip4/203.0.113.7/tcp/4100/p2p/12D3Koo...`,
  });
  if (!text.trim().startsWith("/")) return fail("not a multiaddr (it starts with / and names each part)");
  let parts: { name: string; value?: string | undefined }[];
  try {
    parts = multiaddr(text.trim()).getComponents();
  } catch (error) {
    return fail(`not a multiaddr (${(error as Error).message})`);
  }
  const value = (...names: string[]) => parts.find(({ name }) => names.includes(name))?.value;
  const [host, port, peerId] = [value("ip4", "ip6", "dns", "dns4", "dns6"), value("tcp"), value("p2p")];
  if (host === undefined) return fail("no host (/ip4, /ip6 or /dns)");
  if (port === undefined || port === "0") return fail("no TCP port from 1 to 65535 (/tcp)");
  if (peerId === undefined) return fail("no peer id (/p2p), so nobody could tell the coordinator from an impostor");
  try {
    peerIdFromString(peerId);
  } catch {
    return fail("the peer id after /p2p is none");
  }
  const other = parts.find(({ name }) => !["ip4", "ip6", "ip6zone", "dns", "dns4", "dns6", "tcp", "p2p"].includes(name));
  if (other) return fail(`/${other.name} is not supported, only TCP`);
  return { ok: true, address: text.trim(), peerId };
}
