import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLedgerStore } from "./ledgerstore.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-ledger-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const bytesOf = (seq: number) => Uint8Array.from({ length: 10 }, (_, i) => seq + i);

test.each([0, 1, 2, 5])("a ledger of %i entries is the same when it is opened again", async (count) => {
  const first = openLedgerStore(dir);
  for (let seq = 0; seq < count; seq++) await first.append(seq, bytesOf(seq));
  await first.close();
  const again = openLedgerStore(dir);
  expect(again.length()).toBe(count);
  expect(again.range(0)).toEqual(Array.from({ length: count }, (_, seq) => bytesOf(seq)));
  await again.append(count, bytesOf(count));
  expect(again.range(count)).toEqual([bytesOf(count)]);
  await again.close();
});

test("a place is taken once and in order", async () => {
  const store = openLedgerStore(dir);
  await store.append(0, bytesOf(0));
  await expect(store.append(0, bytesOf(9))).rejects.toThrow("entry 0 does not follow 0");
  await expect(store.append(2, bytesOf(9))).rejects.toThrow("entry 2 does not follow 0");
  expect(store.length()).toBe(1);
  expect(store.range(0)).toEqual([bytesOf(0)]);
  await store.close();
});

test("a range is bounded in entries and bytes, but gives one where there is one", async () => {
  const store = openLedgerStore(dir);
  for (let seq = 0; seq < 5; seq++) await store.append(seq, bytesOf(seq));
  expect(store.range(1, 2)).toEqual([bytesOf(1), bytesOf(2)]);
  expect(store.range(0, 5, 25)).toEqual([bytesOf(0), bytesOf(1)]);
  expect(store.range(0, 5, 3)).toEqual([bytesOf(0)]);
  expect(store.range(5)).toEqual([]);
  await store.close();
});

test("what comes back from a rewind is there after a restart, and so is nothing of what it dropped", async () => {
  const store = openLedgerStore(dir);
  for (let seq = 0; seq < 6; seq++) await store.append(seq, bytesOf(seq));
  await expect(store.replaceFrom(7, bytesOf(9))).rejects.toThrow("entry 7 does not follow 5");
  await store.replaceFrom(2, bytesOf(9));
  await store.append(3, bytesOf(8));
  await store.close();
  const again = openLedgerStore(dir);
  expect(again.length()).toBe(4);
  expect(again.range(0)).toEqual([0, 1, 9, 8].map(bytesOf));
  await again.close();
});

test.skipIf(process.platform === "win32")("a rewind that the disk refuses says so, and does not end the process", () => {
  const script = `
    const { openLedgerStore } = await import(${JSON.stringify(new URL("ledgerstore.ts", import.meta.url))});
    const store = openLedgerStore(${JSON.stringify(dir)});
    for (let seq = 0; seq < 3; seq++) await store.append(seq, new Uint8Array(1000));
    await store.replaceFrom(1, new Uint8Array(1_000_000)).catch((error) => console.log(error.message));
    // Promises that nobody took end a process a moment later.
    setTimeout(() => console.log("still here"), 100);
  `;
  const { stdout, status } = spawnSync("sh", ["-c", 'ulimit -f 300; exec "$0" --input-type=module -e "$1"', process.execPath, script], {
    encoding: "utf8",
  });
  expect(stdout).toMatch(/^cannot use the ledger in .*: Input\/output error\nstill here\n$/);
  expect(status).toBe(0);
});
