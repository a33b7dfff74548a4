import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { blobId, openBlobFiles } from "./blobs.ts";

const CHUNK = LIMITS.blobChunkBytes;
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-blobs-"));
});
afterEach(() => rm(dir, { recursive: true }));

const content = (bytes: number) => new Uint8Array(createHash("shake256", { outputLength: bytes }).update("blob").digest());
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();

test.each([1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])(
  "a blob of %i bytes is named by its chunk list, from bytes and from a file",
  async (size) => {
    const files = await openBlobFiles(join(dir, "a"));
    const bytes = content(size);
    const hashes = Array.from({ length: Math.ceil(size / CHUNK) }, (_, i) => sha256(bytes.subarray(i * CHUNK, (i + 1) * CHUNK)));
    const id = sha256(Buffer.concat(hashes)).toString("hex");
    expect(await files.put(bytes)).toEqual({ ok: true, id, bytes: size });
    await writeFile(join(dir, "source"), bytes);
    const again = await openBlobFiles(join(dir, "b"));
    expect(await again.put({ file: join(dir, "source") })).toEqual({ ok: true, id, bytes: size });
    expect(Buffer.compare(await readFile(again.path(id)), bytes)).toBe(0);
    expect(again.list(id)).toEqual(Uint8Array.from(Buffer.concat(hashes)));
    expect(await again.chunk(id, hashes.length - 1)).toEqual(bytes.subarray((hashes.length - 1) * CHUNK));
    expect(await again.chunk(id, hashes.length)).toBeUndefined();
    const reopened = await openBlobFiles(join(dir, "b"));
    expect([reopened.has(id), await reopened.verify(id)]).toEqual([true, true]);
    expect((await readdir(join(dir, "b"))).sort()).toEqual([`${id}.blob`, `${id}.list`]);
  },
);

/** A list and its chunks, as a donor would give them. */
async function donated(size: number) {
  const bytes = content(size);
  const donor = await openBlobFiles(join(dir, "donor"));
  const put = await donor.put(bytes);
  if (!put.ok) throw new Error(put.message);
  return { id: put.id, bytes, list: donor.list(put.id) as Uint8Array, chunk: (i: number) => bytes.slice(i * CHUNK, (i + 1) * CHUNK) };
}

async function partialOf(files: Awaited<ReturnType<typeof openBlobFiles>>, id: string, list: Uint8Array) {
  const opened = await files.partial(id, list);
  if (!opened.ok) throw new Error(opened.message);
  return opened.partial;
}

test("a partial blob takes chunks in any order, refuses wrong ones, and resumes with what is right on disk", async () => {
  const { id, bytes, list, chunk } = await donated(4 * CHUNK + 5);
  const files = await openBlobFiles(join(dir, "mine"));
  const first = await partialOf(files, id, list);
  expect(first.missing()).toEqual([0, 1, 2, 3, 4]);
  for (const i of [4, 1, 2]) expect(await first.write(i, chunk(i))).toEqual({ ok: true });
  for (const [i, wrong] of [
    [0, chunk(1)],
    [3, chunk(3).subarray(1)],
    [5, chunk(0)],
    [-1, chunk(0)],
  ] as const)
    expect(await first.write(i, wrong)).toEqual({ ok: false, code: "wrong-bytes" });
  expect(await first.close()).toEqual({ ok: true, path: null });
  expect([files.has(id), files.list(id)]).toEqual([false, undefined]);

  const damaged = await open(`${files.path(id)}.part`, "r+");
  await damaged.write(Uint8Array.of(1 ^ (bytes[2 * CHUNK] ?? 0)), 0, 1, 2 * CHUNK);
  await damaged.close();
  const second = await partialOf(await openBlobFiles(join(dir, "mine")), id, list);
  expect(second.missing()).toEqual([0, 2, 3]);
  for (const i of second.missing()) await second.write(i, chunk(i));
  expect(await second.close()).toEqual({ ok: true, path: files.path(id) });
  expect(Buffer.compare(await readFile(files.path(id)), bytes)).toBe(0);
});

test("a whole blob that was damaged is noticed and mended, even where bytes were appended", async () => {
  const { id, bytes, list, chunk } = await donated(2 * CHUNK + 5);
  const files = await openBlobFiles(join(dir, "mine"));
  await files.put(bytes);
  for (const extra of [3, CHUNK]) {
    await appendFile(files.path(id), new Uint8Array(extra));
    expect(await files.verify(id)).toBe(false);
    const partial = await partialOf(files, id, list);
    expect(files.has(id)).toBe(false);
    expect(partial.missing()).toEqual([2]);
    await partial.write(2, chunk(2));
    await partial.close();
    expect(await files.verify(id)).toBe(true);
  }
});

test("another blob's list, a missing file and a missing folder are told", async () => {
  const { id, list } = await donated(10);
  const files = await openBlobFiles(join(dir, "mine"));
  expect(await files.partial(id, list.slice(1))).toMatchObject({ ok: false, code: "wrong-list" });
  expect(await files.partial(blobId(new Uint8Array(31)), new Uint8Array(31))).toMatchObject({ ok: false, code: "wrong-list" });
  expect(await files.put({ file: join(dir, "absent") })).toMatchObject({
    ok: false,
    code: "unreadable",
    message: expect.stringContaining("absent"),
  });
  await expect(openBlobFiles(join(files.path("x"), "below"))).resolves.toBeDefined();
  await writeFile(join(dir, "file"), "");
  await expect(openBlobFiles(join(dir, "file"))).rejects.toThrow(/blob folder: cannot use .*file/);
});

test("a disk without room is told before anything is written, with both figures", async () => {
  const { id, list } = await donated(3 * CHUNK);
  const files = await openBlobFiles(join(dir, "mine"), async () => 2 * CHUNK);
  const full = { ok: false, code: "disk-full", message: expect.stringMatching(/1 MB free and 1 MB are needed/) };
  expect(await files.put(content(3 * CHUNK))).toMatchObject(full);
  expect(await files.partial(id, list)).toMatchObject(full);
  expect(await readdir(join(dir, "mine"))).toEqual([]);
});

test.skipIf(!existsSync("/dev/full"))("a disk that fills up in the middle leaves nothing behind", async () => {
  const { id, list, chunk } = await donated(CHUNK);
  const files = await openBlobFiles(join(dir, "mine"));
  await symlink("/dev/full", `${files.path(id)}.part`);
  const partial = await partialOf(files, id, list);
  expect(await partial.write(0, chunk(0))).toMatchObject({ ok: false, code: "disk-full" });
  expect(await partial.close()).toMatchObject({ ok: false, code: "disk-full" });
  expect(await readdir(join(dir, "mine"))).toEqual([]);
});
