/**
 * Blobs on disk, named by content: SHA-256 over the SHA-256s of their 256 KiB chunks (the chunk list).
 * A file under a blob's name is whole and was verified; what is unfinished has another name, is verified again when it is
 * resumed, and is removed when the disk is full.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/limits.ts";
import { openPartial, type PartialBlob, verifyBlob } from "./partial.ts";

export const BLOB_FILE_CODES = ["disk-full", "unwritable", "unreadable", "wrong-list"] as const;
export type BlobFileCode = (typeof BLOB_FILE_CODES)[number];
export type BlobFailure = { ok: false; code: BlobFileCode; message: string };

export const HASH_BYTES = 32;
const CHUNK_BYTES = LIMITS.blobChunkBytes;

export interface BlobFiles {
  /** Stores bytes, or a copy of a file, and names them. Nothing half-written is left behind. */
  put(source: Uint8Array | { file: string }): Promise<{ ok: true; id: string; bytes: number } | BlobFailure>;
  has(id: string): boolean;
  /** Where the blob's file is, or will be. */
  path(id: string): string;
  /** The chunk list: 32 bytes for each chunk. Undefined where the blob is not whole here. */
  list(id: string): Uint8Array | undefined;
  chunk(id: string, index: number): Promise<Uint8Array | undefined>;
  /** Removes what there is of a blob. */
  remove(id: string): Promise<void>;
  /** Whether the blob is whole here and every byte of it is still right. */
  verify(id: string): Promise<boolean>;
  /** Opens a blob for writing its missing chunks; what is on disk already, finished or not, is verified again. One writer at a time. */
  partial(id: string, list: Uint8Array): Promise<{ ok: true; partial: PartialBlob } | BlobFailure>;
}

/** The name of a blob with this chunk list. */
export function blobId(list: Uint8Array): string {
  return createHash("sha256").update(list).digest("hex");
}

export function chunkHash(chunk: Uint8Array): Uint8Array {
  return createHash("sha256").update(chunk).digest();
}

/** Opens, or makes, a folder of blobs. `freeBytes` is asked before anything large is written. Throws when the folder is unusable. */
export async function openBlobFiles(dir: string, freeBytes = () => bytesFree(dir)): Promise<BlobFiles> {
  const lists = new Map<string, Uint8Array>();
  const path = (id: string) => join(dir, `${id}.blob`);
  const listPath = (id: string) => join(dir, `${id}.list`);
  try {
    await mkdir(dir, { recursive: true });
    for (const name of await readdir(dir)) {
      // Only a crash in `put` leaves these.
      if (name.endsWith(".new")) await rm(join(dir, name), { force: true });
      const id = /^([0-9a-f]{64})\.blob$/.exec(name)?.[1];
      const list = id && (await readFile(listPath(id)).catch(() => null));
      if (id && list && blobId(list) === id) lists.set(id, Uint8Array.from(list));
    }
  } catch (error) {
    throw new Error(`blob folder: cannot use ${dir} (${(error as Error).message}); name a folder this user may write to`, { cause: error });
  }

  const storage: Storage = {
    dir,
    path,
    listPath,
    freeBytes,
    completed: (id, list) => lists.set(id, list),
    lost: (id) => lists.delete(id),
  };
  return {
    put: (source) => put(storage, source),
    has: (id) => lists.has(id),
    path,
    list: (id) => lists.get(id),
    async chunk(id, index) {
      const list = lists.get(id);
      if (list === undefined || !Number.isInteger(index) || index < 0 || index >= list.byteLength / HASH_BYTES) return undefined;
      const handle = await open(path(id), "r");
      try {
        return await readAt(handle, index);
      } finally {
        await handle.close();
      }
    },
    async remove(id) {
      lists.delete(id);
      for (const file of [path(id), `${path(id)}.part`, listPath(id)]) await rm(file, { force: true });
    },
    verify: (id) => verifyBlob(path(id), lists.get(id)),
    partial: (id, list) => openPartial(storage, id, list),
  };
}

/** What two folders have, to be served as one. */
export function eitherBlobs(one: BlobFiles, other: BlobFiles): Pick<BlobFiles, "list" | "chunk"> {
  return { list: (id) => one.list(id) ?? other.list(id), chunk: (id, index) => (one.has(id) ? one : other).chunk(id, index) };
}

/** What `put` and a partial blob share: names, room on the disk, and the table of whole blobs. */
export interface Storage {
  dir: string;
  path(id: string): string;
  listPath(id: string): string;
  freeBytes(): Promise<number>;
  completed(id: string, list: Uint8Array): void;
  lost(id: string): void;
}

async function put(
  storage: Storage,
  source: Uint8Array | { file: string },
): Promise<{ ok: true; id: string; bytes: number } | BlobFailure> {
  let input: FileHandle | undefined;
  const temporary = join(storage.dir, `${randomBytes(8).toString("hex")}.new`);
  try {
    if (!(source instanceof Uint8Array)) input = await open(source.file, "r");
  } catch (error) {
    const { file } = source as { file: string };
    return {
      ok: false,
      code: "unreadable",
      message: `blob: cannot read ${file} (${(error as Error).message}); give this user read access`,
    };
  }
  try {
    const size = input ? (await input.stat()).size : (source as Uint8Array).byteLength;
    const room = await roomFor(storage, size);
    if (room !== null) return room;
    const read = (index: number) =>
      input ? readAt(input, index) : Promise.resolve((source as Uint8Array).subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES));
    const { list, bytes } = await copyChunks(read, temporary);
    const id = blobId(list);
    await writeFile(storage.listPath(id), list);
    await rename(temporary, storage.path(id));
    storage.completed(id, list);
    return { ok: true, id, bytes };
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    return writeFailure(storage.dir, error);
  } finally {
    await input?.close();
  }
}

async function copyChunks(read: (index: number) => Promise<Uint8Array>, to: string): Promise<{ list: Uint8Array; bytes: number }> {
  const output = await open(to, "wx");
  const hashes: Uint8Array[] = [];
  let bytes = 0;
  try {
    for (let chunk = await read(0); chunk.byteLength > 0; chunk = await read(hashes.length)) {
      hashes.push(chunkHash(chunk));
      bytes += chunk.byteLength;
      await output.writeFile(chunk);
      if (chunk.byteLength < CHUNK_BYTES) break;
    }
    await output.sync();
  } finally {
    await output.close();
  }
  return { list: Uint8Array.from(Buffer.concat(hashes)), bytes };
}

/** The bytes of a chunk's place; fewer at the end of the file, none beyond it. */
export async function readAt(handle: FileHandle, index: number): Promise<Uint8Array> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  while (filled < CHUNK_BYTES) {
    const { bytesRead } = await handle.read(chunk, filled, CHUNK_BYTES - filled, index * CHUNK_BYTES + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return chunk.subarray(0, filled);
}

/** Null where `bytes` more will fit. */
export async function roomFor(storage: Storage, bytes: number): Promise<BlobFailure | null> {
  const free = await storage.freeBytes();
  if (bytes <= free) return null;
  const mb = (n: number) => `${Math.ceil(n / 1e6)} MB`;
  return {
    ok: false,
    code: "disk-full",
    message: `the disk that holds ${storage.dir} has ${mb(free)} free and ${mb(bytes)} are needed: free some space, or choose a folder on another disk`,
  };
}

export function writeFailure(dir: string, error: unknown): BlobFailure {
  const { code, message } = error as NodeJS.ErrnoException;
  // Another thread's error comes without its code, but with it in its words.
  if (/^(ENOSPC|EDQUOT)/.test(code ?? message))
    return {
      ok: false,
      code: "disk-full",
      message: `the disk that holds ${dir} is full: free some space, or choose a folder on another disk`,
    };
  return { ok: false, code: "unwritable", message: `blob folder: cannot write in ${dir} (${message}); give this user write access` };
}

async function bytesFree(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}
