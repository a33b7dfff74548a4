import { afterEach, expect, test } from "vitest";
import { encode } from "../protocol/codec.ts";
import { encodeStandbyFiles, parseStandbyRequest } from "../protocol/standby.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { askAsStandby, serveStandby } from "./standby.ts";

const nodes = stopLater();
afterEach(nodes.stopAll);

const signal = new AbortController().signal;

test("the peer that was named is answered; anybody else is refused, counted, and never reaches what answers", async () => {
  const coordinator = nodes.keep(await loopbackNode("coordinator"));
  const [named, stranger] = [nodes.keep(await loopbackNode("worker")), nodes.keep(await loopbackNode("worker"))];
  const asked: string[] = [];
  const counts = await serveStandby(coordinator, named.peerId, async (request, seenAt) => {
    asked.push(`${request.kind} ${seenAt}`);
    return encodeStandbyFiles([{ name: "commit.key", bytes: 119 }]);
  });
  const address = coordinator.addresses()[0] as string;
  for (let tries = 1; tries <= 2; tries++) {
    const opened = await askAsStandby(stranger, address, signal);
    if (!opened.ok) throw new Error(opened.message);
    expect(await opened.asking.greet(4100, [])).toMatchObject({ ok: false, code: "refused" });
    expect(counts.refused).toBe(tries);
  }
  expect(asked).toEqual([]);
  const opened = await askAsStandby(named, address, signal);
  if (!opened.ok) throw new Error(opened.message);
  expect(await opened.asking.greet(4100, [])).toEqual({ ok: true, files: [{ name: "commit.key", bytes: 119 }] });
  expect(asked).toEqual(["greet /ip4/127.0.0.1"]);
  opened.asking.close();
});

test.each(["../commit.key", "/etc/passwd", "blobs/../commit.key", "blobs/", ".hidden", "a/b"])("a request for %s is no request", (name) => {
  expect(parseStandbyRequest(encode([1, name, 0]))).toBe(null);
  expect(parseStandbyRequest(encode([1, "blobs/0a.blob", 0]))).toEqual({ kind: "chunk", name: "blobs/0a.blob", offset: 0 });
});
