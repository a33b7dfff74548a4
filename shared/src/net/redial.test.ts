import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { createBucket } from "./buckets.ts";
import { type Attempt, keepConnected, nextDelayMs, parseAddress } from "./redial.ts";

const PEER = "12D3KooWQJbqJX18m9cdFv6hCCpP4WWfCQ9Poz2zaV8kDAwB44s1";

test("delays stay in their bounds, spread, and grow to the longest", () => {
  fc.assert(
    fc.property(fc.nat(5_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
      const ms = nextDelayMs(attempt, random);
      expect(ms).toBeGreaterThanOrEqual(LIMITS.redialMsMin);
      expect(ms).toBeLessThanOrEqual(LIMITS.redialMsMax);
    }),
  );
  expect(nextDelayMs(0, 0.999)).toBeGreaterThan(1.9 * LIMITS.redialMsMin);
  expect(nextDelayMs(50, 0.999)).toBeGreaterThan(0.99 * LIMITS.redialMsMax);
});

/** Runs the loop on a virtual clock; each entry says how long a connection lasts, null that there is no answer. */
async function run(outcomes: (number | "refused" | null)[], addresses: string[]) {
  const stop = new AbortController();
  const seen: Attempt[] = [];
  let clockMs = 0;
  let lastsMs = 0;
  await keepConnected({
    addresses,
    signal: stop.signal,
    random: () => 0.5,
    nowMs: () => clockMs,
    async connect() {
      const outcome = outcomes.shift();
      if (outcome === undefined) stop.abort();
      if (outcome === undefined || outcome === null) return { ok: false, code: "unreachable", message: "no" };
      if (outcome === "refused") return { ok: false, code: outcome, message: "no" };
      lastsMs = outcome;
      return { ok: true, ended: Promise.resolve() };
    },
    onAttempt(attempt) {
      seen.push(attempt);
      if (attempt.event === "connected") clockMs += lastsMs;
    },
    async pause(ms) {
      clockMs += ms;
    },
  });
  return seen;
}

test("failures go round the addresses with growing pauses; a connection that lasted starts afresh", async () => {
  const seen = await run([null, null, null, LIMITS.redialMsMax, null], ["/a", "/b"]);
  expect(seen.map(({ event, address }) => `${event} ${address}`)).toEqual([
    "failed /a",
    "failed /b",
    "failed /a",
    "connected /b",
    "ended /b",
    "failed /b",
  ]);
  const pauses = seen.flatMap((attempt) => ("nextMs" in attempt ? [attempt.nextMs] : []));
  expect(pauses).toEqual([0, 1, 2, 0, 1].map((attempt) => nextDelayMs(attempt, 0.5)));
});

test("a closed port is asked often for ever, and counts for nothing against the process that opens it next", async () => {
  const refusals = Array<"refused">(9).fill("refused");
  const seen = await run([null, null, null, ...refusals, 10, "refused", 10], ["/a"]);
  const pauses = seen.flatMap((attempt) => ("nextMs" in attempt ? [attempt.nextMs] : []));
  const short = (attempt: number) => nextDelayMs(attempt, 0.5, LIMITS.redialRefusedMsMax);
  const long = (attempt: number) => nextDelayMs(attempt, 0.5);
  expect(pauses).toEqual([long(0), long(1), long(2), ...refusals.map((_, i) => short(i)), long(0), short(0), long(0)]);
  expect(nextDelayMs(5_000, 0.999, LIMITS.redialRefusedMsMax)).toBeLessThan(LIMITS.redialRefusedMsMax);
});

test("being thrown out at once is no success: the pauses grow", async () => {
  const seen = await run([10, 10, 10], ["/a"]);
  const pauses = seen.flatMap((attempt) => ("nextMs" in attempt ? [attempt.nextMs] : []));
  expect(pauses).toEqual([0, 1, 2].map((attempt) => nextDelayMs(attempt, 0.5)));
});

test("an abort during a pause ends the loop", async () => {
  const stop = new AbortController();
  await keepConnected({
    addresses: ["/a"],
    signal: stop.signal,
    connect: async () => ({ ok: false, code: "unreachable", message: "no" }),
    onAttempt: () => stop.abort(),
  });
});

test.each([`/ip4/127.0.0.1/tcp/4100/p2p/${PEER}`, `/dns4/example.org/tcp/1/p2p/${PEER}`, ` /ip6/::1/tcp/65535/p2p/${PEER}\n`])(
  "%s is an address",
  (text) => {
    expect(parseAddress(text)).toEqual({ ok: true, address: text.trim(), peerId: PEER });
  },
);

test.each([
  ["", /not a multiaddr/],
  ["example.org:4100", /not a multiaddr/],
  ["/ip4/300.1.1.1/tcp/4100", /not a multiaddr/],
  ["/ip4/127.0.0.1/tcp/4100", /no peer id/],
  [`/ip4/127.0.0.1/tcp/0/p2p/${PEER}`, /no TCP port/],
  [`/ip4/127.0.0.1/udp/4100/quic-v1/p2p/${PEER}`, /no TCP port/],
  [`/ip4/127.0.0.1/tcp/4100/ws/p2p/${PEER}`, /ws is not supported/],
  [`/tcp/4100/p2p/${PEER}`, /no host/],
  [`/ip4/127.0.0.1/tcp/4100/p2p/nonsense`, /peer id after .p2p is none/],
])("%j is refused with the reason and an example", (text, reason) => {
  const parsed = parseAddress(text);
  expect(parsed).toMatchObject({ ok: false, code: "wrong-address", message: expect.stringMatching(reason) });
  expect(!parsed.ok && parsed.message).toMatch(/like \/ip4/);
});

test("a bucket refills with time, holds its burst, and refuses while in debt", () => {
  const bucket = createBucket({ perSecond: 10, burst: 20 });
  expect([bucket.take(20, 1_000), bucket.take(1, 1_000), bucket.take(1, 1_100), bucket.take(21, 99_000)]).toEqual([
    true,
    false,
    true,
    false,
  ]);
  bucket.owe(30);
  expect([bucket.take(0, 99_000), bucket.take(0, 99_999), bucket.take(0, 100_000)]).toEqual([false, false, true]);
});
