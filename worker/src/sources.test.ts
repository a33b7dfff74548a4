/** Donors that lie, are silent, break off or lack something: a newcomer gets its blob all the same, and from others than the coordinator first. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveBlobs } from "@zoswarm/shared/net/blobs";
import { loopbackNode, stopLater } from "@zoswarm/shared/net/loopback";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { serveRange } from "@zoswarm/shared/net/range";
import { askSnapshots, serveSnapshots } from "@zoswarm/shared/net/snapshots";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Snapshot } from "@zoswarm/shared/protocol/snapshots";
import { type BlobFiles, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createSources } from "./sources.ts";

const JOB = "1b".repeat(32);
const CHUNK = LIMITS.blobChunkBytes;
const never = new AbortController().signal;
const content = new Uint8Array(
  createHash("shake256", { outputLength: 30 * CHUNK + 5 })
    .update("blob")
    .digest(),
);
const { keep, stopAll } = stopLater();
let dir = "";
let id = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-sources-"));
});
afterEach(async () => {
  await stopAll();
  await rm(dir, { recursive: true });
});

type Served = Pick<BlobFiles, "list" | "chunk">;
interface Donor {
  node: SwarmNode;
  address: string;
  /** Chunks that it was asked for. */
  asked: number[];
}

/** A node that has the blob, as `change` makes of it, these snapshots, and these entries of the ledger. */
async function donor(
  change: (files: Served) => Partial<Served> = () => ({}),
  snapshots: readonly Snapshot[] = [],
  entries: Uint8Array[] = [Uint8Array.of(1)],
): Promise<Donor> {
  const files = await openBlobFiles(await mkdtemp(join(dir, "donor-")));
  const put = await files.put(content);
  if (!put.ok) throw new Error(put.message);
  ({ id } = put);
  const node = keep(await loopbackNode("coordinator"));
  const asked: number[] = [];
  const served: Served = { list: files.list, chunk: files.chunk, ...change(files) };
  await serveBlobs(node, {
    list: served.list,
    chunk(blob, index) {
      asked.push(index);
      return served.chunk(blob, index);
    },
  });
  await serveSnapshots(node, JOB, () => snapshots);
  await serveRange(node, () => entries);
  return { node, address: node.addresses()[0] ?? "", asked };
}

async function newcomer(coordinator: Donor, donors: readonly string[]) {
  const node = keep(await loopbackNode("worker"));
  // Connected, as by a session.
  await askSnapshots(node, coordinator.address, JOB, never);
  const said: string[] = [];
  const peers = () => ({ coordinator: coordinator.node.peerId, donors });
  const sources = createSources({ node, jobId: JOB, peers, log: (line) => said.push(line) });
  const cache = await openBlobFiles(join(dir, "mine"));
  return { node, sources, cache, said };
}

async function arrives({ sources, cache }: Awaited<ReturnType<typeof newcomer>>): Promise<void> {
  expect(await sources.blob(id, cache, { signal: never, bytes: content.byteLength })).toMatchObject({ ok: true });
  expect(Buffer.compare(await readFile(cache.path(id)), content)).toBe(0);
}

test("other volunteers give a blob between them, the coordinator is not asked, and the connections to them are closed", async () => {
  const [coordinator, ada, alan] = [await donor(), await donor(), await donor()];
  const me = await newcomer(coordinator, [ada.address, alan.address]);
  await me.sources.greet(never);
  expect(me.sources.donors()).toBe(2);
  await arrives(me);
  expect([coordinator.asked.length, ada.asked.length > 0, alan.asked.length > 0]).toEqual([0, true, true]);
  expect(ada.asked.length + alan.asked.length).toBe(31);
  expect(me.sources.bytesPerSecond()).toBeGreaterThan(0);
  await me.sources.hangUp();
  expect(me.node.peers()).toEqual([coordinator.node.peerId]);
});

test("a liar is dropped for good and said to be one; what it did not give comes from the others", async () => {
  const coordinator = await donor();
  const liar = await donor(() => ({ chunk: async () => new Uint8Array(CHUNK) }));
  const me = await newcomer(coordinator, [liar.address]);
  await me.sources.greet(never);
  await arrives(me);
  expect(me.said).toEqual([expect.stringMatching(new RegExp(`^no more from ${liar.node.peerId.slice(-8)}: it sent wrong bytes`))]);
  await me.sources.greet(never);
  expect(me.sources.donors()).toBe(0);
});

test("a donor that ends in the middle costs what it had not given: the rest is resumed from the others", async () => {
  const coordinator = await donor();
  const stopped = Promise.withResolvers<void>();
  let given = 0;
  const mortal: Donor = await donor((files) => ({
    async chunk(blob, index) {
      if (given++ < 8) return files.chunk(blob, index);
      await mortal.node.stop();
      stopped.resolve();
      return undefined;
    },
  }));
  const me = await newcomer(coordinator, [mortal.address]);
  await me.sources.greet(never);
  await arrives(me);
  await stopped.promise;
  // Up to four chunks were on their way when it ended.
  expect(coordinator.asked.length).toBeGreaterThanOrEqual(31 - 8);
  expect(coordinator.asked.length).toBeLessThanOrEqual(31 - 8 + 4);
  expect(me.sources.donors()).toBe(0);
});

test("who does not answer, or is no address, is no donor; nobody waits for it", async () => {
  const coordinator = await donor();
  const gone = await donor();
  await gone.node.stop();
  const me = await newcomer(coordinator, [gone.address, "/ip4/127.0.0.1/tcp/0", "nonsense", coordinator.address]);
  await me.sources.greet(never);
  expect(me.sources.donors()).toBe(0);
  await arrives(me);
});

test("offers are gathered from all; what a liar says of the same blob stays the liar's", async () => {
  const snapshot: Snapshot = { step: 9, stateHash: "ab".repeat(32), id: "cd".repeat(32), bytes: 5 };
  const coordinator = await donor(undefined, [snapshot]);
  const ada = await donor(undefined, [snapshot, { ...snapshot, id: "ef".repeat(32) }]);
  const liar = await donor(undefined, [{ ...snapshot, step: 10 }]);
  const me = await newcomer(coordinator, [ada.address, liar.address]);
  const offers = await me.sources.greet(never);
  const donorsOf = (id: string, step: number) => offers.find((offer) => offer.id === id && offer.step === step)?.peers.sort();
  expect(donorsOf(snapshot.id, 9)).toEqual([coordinator.node.peerId, ada.address].sort());
  expect(donorsOf("ef".repeat(32), 9)).toEqual([ada.address]);
  expect(donorsOf(snapshot.id, 10)).toEqual([liar.address]);
});

test("a ledger range comes from a donor, from the coordinator where that one was refused", async () => {
  const coordinator = await donor();
  const ada = await donor();
  const me = await newcomer(coordinator, [ada.address]);
  await me.sources.greet(never);
  expect((await me.sources.range(0, never)).peer).toBe(ada.address);
  me.sources.refuse(ada.address, "its ledger does not hold (bad-signature)");
  expect(await me.sources.range(0, never)).toMatchObject({ peer: coordinator.node.peerId, fetched: { ok: true } });
});

test("that the ledger ends is not taken from a donor: the coordinator says so", async () => {
  const coordinator = await donor();
  const behind = await donor(undefined, [], []);
  const me = await newcomer(coordinator, [behind.address]);
  await me.sources.greet(never);
  const { peer, fetched } = await me.sources.range(0, never);
  expect(fetched).toMatchObject({ ok: true, announcements: [Uint8Array.of(1)] });
  expect([peer, me.sources.donors()]).toEqual([coordinator.node.peerId, 1]);
});

test("a download that is at its end does not take the connection from one that is not", async () => {
  const coordinator = await donor();
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const ada = await donor((files) => ({
    async chunk(blob, index) {
      begun.resolve();
      await goOn.promise;
      return files.chunk(blob, index);
    },
  }));
  const me = await newcomer(coordinator, [ada.address]);
  await me.sources.greet(never);
  const arriving = arrives(me);
  await begun.promise;
  await me.sources.hangUp();
  goOn.resolve();
  await arriving;
  expect([coordinator.asked.length, me.sources.donors()]).toEqual([0, 1]);
  await me.sources.hangUp();
  expect(me.node.peers()).toEqual([coordinator.node.peerId]);
});
