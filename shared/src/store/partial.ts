/** A blob that is being fetched: chunks arrive in any order, each verified before it is written; the file gets its name at the end. */
import { type FileHandle, open, rename, rm, writeFile } from "node:fs/promises";
import { LIMITS } from "../protocol/limits.ts";
import { type BlobFailure, blobId, chunkHash, HASH_BYTES, readAt, roomFor, type Storage, writeFailure } from "./blobs.ts";

const CHUNK_BYTES = LIMITS.blobChunkBytes;

export interface PartialBlob {
  chunks: number;
  /** Chunks not on disk yet, ascending. */
  missing(): number[];
  /** Writes a chunk whose bytes are the right ones; `wrong-bytes`, and nothing written, where they are not. */
  write(index: number, chunk: Uint8Array): Promise<{ ok: true } | { ok: false; code: "wrong-bytes" } | BlobFailure>;
  /** With nothing missing: flushes and gives the file its name. Otherwise keeps it for a resume. */
  close(): Promise<{ ok: true; path: string | null } | BlobFailure>;
}

/** Opens the file of an unfinished (or finished) blob and verifies every chunk that is there. */
export async function openPartial(
  storage: Storage,
  id: string,
  list: Uint8Array,
): Promise<{ ok: true; partial: PartialBlob } | BlobFailure> {
  if (list.byteLength % HASH_BYTES !== 0 || list.byteLength > LIMITS.blobListBytesMax || blobId(list) !== id)
    return { ok: false, code: "wrong-list", message: `blob ${id}: the chunk list is not this blob's; ask another peer` };
  const file = `${storage.path(id)}.part`;
  let handle: FileHandle;
  let present: boolean[];
  try {
    storage.lost(id);
    await rename(storage.path(id), file).catch(ignoreAbsent);
    handle = await open(file, "r+").catch(() => open(file, "wx+"));
    present = await verifyChunks(handle, list);
    // Bytes beyond the last chunk's place are no part of the blob.
    if ((await readAt(handle, present.length)).byteLength > 0) present[present.length - 1] = false;
    const room = await roomFor(storage, present.filter((there) => !there).length * CHUNK_BYTES);
    if (room !== null) {
      await handle.close();
      await rm(file, { force: true });
      return room;
    }
    await writeFile(storage.listPath(id), list);
  } catch (error) {
    return writeFailure(storage.dir, error);
  }
  return { ok: true, partial: partialBlob(storage, id, list, { file, handle, present }) };
}

function partialBlob(
  storage: Storage,
  id: string,
  list: Uint8Array,
  { file, handle, present }: { file: string; handle: FileHandle; present: boolean[] },
): PartialBlob {
  let failed: BlobFailure | null = null;
  const missing = () => present.flatMap((there, index) => (there ? [] : [index]));
  /** A full disk is not helped by a half blob on it. */
  const fail = async (error: unknown): Promise<BlobFailure> => {
    failed = writeFailure(storage.dir, error);
    if (failed.code === "disk-full") for (const path of [file, storage.listPath(id)]) await rm(path, { force: true }).catch(() => {});
    return failed;
  };
  return {
    chunks: present.length,
    missing,
    async write(index, chunk) {
      if (failed !== null) return failed;
      if (!isChunk(list, index, chunk)) return { ok: false, code: "wrong-bytes" };
      try {
        await handle.write(chunk, 0, chunk.byteLength, index * CHUNK_BYTES);
        // Damage may have left the file longer than the blob.
        if (index === present.length - 1) await handle.truncate(index * CHUNK_BYTES + chunk.byteLength);
      } catch (error) {
        return await fail(error);
      }
      present[index] = true;
      return { ok: true };
    },
    async close() {
      try {
        if (failed !== null) return failed;
        if (missing().length > 0) return { ok: true, path: null };
        await handle.sync();
        await rename(file, storage.path(id));
        storage.completed(id, Uint8Array.from(list));
        return { ok: true, path: storage.path(id) };
      } catch (error) {
        return await fail(error);
      } finally {
        await handle.close().catch(() => {});
      }
    },
  };
}

/** Every chunk but the last is full; the last is never longer. */
function isChunk(list: Uint8Array, index: number, chunk: Uint8Array): boolean {
  const chunks = list.byteLength / HASH_BYTES;
  if (!Number.isInteger(index) || index < 0 || index >= chunks) return false;
  if (chunk.byteLength > CHUNK_BYTES || (index < chunks - 1 && chunk.byteLength < CHUNK_BYTES)) return false;
  return Buffer.compare(chunkHash(chunk), list.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES)) === 0;
}

async function verifyChunks(handle: FileHandle, list: Uint8Array): Promise<boolean[]> {
  const present: boolean[] = [];
  for (let index = 0; index < list.byteLength / HASH_BYTES; index++) {
    const chunk = await readAt(handle, index);
    present.push(chunk.byteLength > 0 && isChunk(list, index, chunk));
  }
  return present;
}

/** Whether the file at `path` is the blob of this list, byte for byte. */
export async function verifyBlob(path: string, list: Uint8Array | undefined): Promise<boolean> {
  if (list === undefined) return false;
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch {
    return false;
  }
  try {
    const beyond = await readAt(handle, list.byteLength / HASH_BYTES);
    return beyond.byteLength === 0 && (await verifyChunks(handle, list)).every((right) => right);
  } catch {
    return false;
  } finally {
    await handle.close();
  }
}

function ignoreAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
