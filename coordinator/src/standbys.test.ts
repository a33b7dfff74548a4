import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loopbackNode, stopLater } from "@zoswarm/shared/net/loopback";
import { askAsStandby } from "@zoswarm/shared/net/standby";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStandby } from "./standbys.ts";

const nodes = stopLater();
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-standbys-"));
});
afterEach(async () => {
  await nodes.stopAll();
  await rm(dir, { recursive: true, force: true });
});

/** A coordinator's end over a ledger of `entries`, and its standby's. */
async function pair(entries: number) {
  await mkdir(join(dir, "blobs"));
  for (const name of ["job.json", "commit.key", "peer.key", "standby.json", "successor.announcement"])
    await writeFile(join(dir, name), name);
  const [coordinator, worker] = [nodes.keep(await loopbackNode("coordinator")), nodes.keep(await loopbackNode("worker"))];
  const store = openLedgerStore(join(dir, "ledger"));
  for (let seq = 0; seq < entries; seq++) await store.append(seq, Uint8Array.of(seq));
  const said: string[] = [];
  const how = { dir, store, log: (line: string) => void said.push(line), onGreeted() {} };
  const link = await openStandby(coordinator, { peerId: worker.peerId, mode: "sync" }, how);
  const opened = await askAsStandby(worker, coordinator.addresses()[0] as string, new AbortController().signal);
  if (!opened.ok) throw new Error(opened.message);
  return { store, said, link, asking: opened.asking };
}

test("what the standby asks for next is what it has, and no more is visible", async () => {
  const { store, link, asking } = await pair(3);
  expect(link.visible(3)).toBe(0);
  expect(await asking.follow(1)).toMatchObject({ ok: true, announcements: [Uint8Array.of(1), Uint8Array.of(2)] });
  expect(link.visible(3)).toBe(1);
  const held = asking.follow(3);
  await link.durable(3);
  expect(link.visible(4)).toBe(3);
  await store.append(3, Uint8Array.of(3));
  link.grew();
  expect(await held).toMatchObject({ ok: true, announcements: [Uint8Array.of(3)] });
  asking.close();
  await store.close();
});

test("a finished job's standby is told so once it has everything, and not before", async () => {
  const { store, link, asking } = await pair(2);
  const held = asking.follow(2);
  await link.durable(2);
  link.finish();
  expect(await held).toMatchObject({ ok: false, code: "not-found" });
  expect(await asking.follow(1)).toMatchObject({ ok: true, announcements: [Uint8Array.of(1)] });
  expect(await asking.follow(2)).toMatchObject({ ok: false, code: "not-found" });
  asking.close();
  await store.close();
});

test("a standby with more entries than the coordinator has not said that it has the coordinator's", async () => {
  const { store, said, link, asking } = await pair(3);
  for (let tries = 0; tries < 2; tries++) expect(await asking.follow(5)).toEqual({ ok: true, announcements: [] });
  expect(link.visible(3)).toBe(0);
  expect(said).toEqual(["WARNING: the standby has 5 ledger entries or more, this coordinator 3"]);
  asking.close();
  await store.close();
});

test("each machine's own files stay its own", async () => {
  const { store, asking } = await pair(0);
  const greeted = await asking.greet(4100, []);
  expect(greeted.ok && greeted.files.map(({ name }) => name)).toEqual(["job.json", "commit.key"]);
  expect(await asking.chunk("peer.key", 0)).toMatchObject({ ok: false, code: "not-found" });
  expect(await asking.chunk("commit.key", 0)).toMatchObject({ ok: true, content: Uint8Array.from(Buffer.from("commit.key")) });
  asking.close();
  await store.close();
});
