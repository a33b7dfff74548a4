import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLedgerStore } from "./ledgerstore.ts";
import { probeLedger } from "./probe.ts";

const ENTRIES = 200;
const PAGE_BYTES = 4096;
let dir = "";
let file = "";
let whole: Uint8Array;

/** A ledger of real entries, and the bytes of its file. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-probe-"));
  file = join(dir, "data.mdb");
  const store = openLedgerStore(dir);
  for (let seq = 0; seq < ENTRIES; seq++) await store.append(seq, new Uint8Array(300).fill(seq));
  await store.close();
  whole = Uint8Array.from(await readFile(file));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const damaged = (how: RegExp) => ({ ok: false, code: "ledger-damaged", message: expect.stringMatching(how) });

test("a sound ledger, and one that is not there yet, pass and stay as they are", async () => {
  expect(probeLedger(dir, "")).toEqual({ ok: true });
  expect(Buffer.compare(await readFile(file), whole)).toBe(0);
  expect(probeLedger(join(dir, "none"), "")).toEqual({ ok: true });
  await mkdir(join(dir, "begun"));
  await writeFile(join(dir, "begun", "data.mdb"), "");
  expect(probeLedger(join(dir, "begun"), "")).toEqual({ ok: true });
});

// What a power cut leaves behind a disk that told of a flush too early: the end is missing, or is not what was written.
test.each<[string, (bytes: Uint8Array) => Uint8Array]>([
  ["cut inside the last page", (bytes) => bytes.subarray(0, -2_000)],
  ["cut by a page", (bytes) => bytes.subarray(0, -PAGE_BYTES)],
  ["cut in the middle", (bytes) => bytes.subarray(0, bytes.length >> 1)],
  ["with noise in the last page", (bytes) => Uint8Array.from(bytes).fill(0xa5, -PAGE_BYTES)],
  ["with half of the last page zero", (bytes) => Uint8Array.from(bytes).fill(0, -PAGE_BYTES / 2)],
  ["with noise in the first page", (bytes) => Uint8Array.from(bytes).fill(0xa5, 0, PAGE_BYTES)],
])("a file %s is told with its folder and the remedy, and not touched", async (_, damage) => {
  const bytes = damage(whole);
  await writeFile(file, bytes);
  const probed = probeLedger(dir, "Put a copy in its place.");
  expect(probed).toEqual(damaged(/^the ledger in \S+ is damaged \(.+\); nothing was changed\. Put a copy in its place\.$/));
  expect(probed).toEqual(damaged(new RegExp(dir)));
  expect(Buffer.compare(await readFile(file), bytes)).toBe(0);
});

test("noise in a page that nothing refers to any more does no harm", async () => {
  await writeFile(file, Uint8Array.from(whole).fill(0xa5, -2 * PAGE_BYTES, -PAGE_BYTES));
  expect(probeLedger(dir, "")).toEqual({ ok: true });
  const store = openLedgerStore(dir);
  await store.append(ENTRIES, new Uint8Array(300).fill(ENTRIES));
  expect(Array.from({ length: ENTRIES + 1 }, (_, seq) => store.range(seq, 1)[0])).toEqual(
    Array.from({ length: ENTRIES + 1 }, (_, seq) => new Uint8Array(300).fill(seq)),
  );
  await store.close();
});
