/**
 * The ledger on disk: announcement bytes by place, in LMDB. An append is durable when its promise resolves: the promise is the
 * flush (`overlappingSync: false`), because what is durable is committed and nothing else is.
 */
import { mkdirSync } from "node:fs";
import { constants } from "node:os";
import { open } from "lmdb";
import { LIMITS } from "../protocol/limits.ts";

export interface LedgerStore {
  /** Entries stored; the next place. */
  length(): number;
  /** Appends the bytes of place `seq`, which must be the next one. Resolves when they are flushed; rejects with a clear error. */
  append(seq: number, bytes: Uint8Array): Promise<void>;
  /** The same for entries in a row, with one flush. */
  appendAll(seq: number, many: readonly Uint8Array[]): Promise<void>;
  /** Drops the entries from `seq` on and puts `bytes` in their place, both or neither; durable when it resolves. */
  replaceFrom(seq: number, bytes: Uint8Array): Promise<void>;
  /** Up to `countMax` announcements from `fromSeq` on, at most `bytesMax` bytes together (but at least one where there is one). */
  range(fromSeq: number, countMax?: number, bytesMax?: number): Uint8Array[];
  close(): Promise<void>;
}

/** Opens or creates the ledger in `folder`. Throws an error that names the folder when it cannot be read or written. */
export function openLedgerStore(folder: string): LedgerStore {
  const db = openDatabase(folder);
  let next = db.getCount();
  /** lmdb does not survive a second write after one that the disk refused. */
  let failed: Error | null = null;

  async function appendAll(seq: number, many: readonly Uint8Array[]): Promise<void> {
    if (failed !== null) throw failed;
    if (seq !== next) throw new Error(`ledger ${folder}: entry ${seq} does not follow ${next - 1}`);
    try {
      // Puts of one turn share a transaction, and its flush.
      await Promise.all(many.map((bytes, i) => db.put(seq + i, Buffer.from(bytes))));
    } catch (error) {
      // lmdb says only "Commit failed" here; the reason is a promise of its own, and a crash if nobody takes it.
      const { commitError } = error as { commitError?: Promise<unknown> };
      const reason = await Promise.resolve(commitError).catch((why: unknown) => why);
      failed = writeError(folder, reason ?? error);
      throw failed;
    }
    next = seq + many.length;
  }

  return {
    length: () => next,
    append: (seq, bytes) => appendAll(seq, [bytes]),
    appendAll,
    async replaceFrom(seq, bytes) {
      if (failed !== null) throw failed;
      if (seq > next) throw new Error(`ledger ${folder}: entry ${seq} does not follow ${next - 1}`);
      try {
        // Not lmdb's asynchronous transaction: where the disk refuses it, a promise that nobody can take ends the process.
        db.transactionSync(() => {
          for (let at = next - 1; at >= seq; at--) db.removeSync(at);
          db.putSync(seq, Buffer.from(bytes));
        });
      } catch (error) {
        failed = writeError(folder, error);
        throw failed;
      }
      next = seq + 1;
    },
    range(fromSeq, countMax = LIMITS.rangeAnnouncementsMax, bytesMax = LIMITS.rangeBytesMax) {
      const found: Uint8Array[] = [];
      let bytes = 0;
      for (const { value } of db.getRange({ start: fromSeq, limit: countMax })) {
        bytes += value.byteLength;
        if (found.length > 0 && bytes > bytesMax) break;
        found.push(Uint8Array.from(value));
      }
      return found;
    },
    close: () => db.close(),
  };
}

function openDatabase(folder: string) {
  try {
    mkdirSync(folder, { recursive: true });
    return open<Buffer, number>({ path: folder, keyEncoding: "uint32", encoding: "binary", overlappingSync: false, noMemInit: false });
  } catch (error) {
    throw writeError(folder, error);
  }
}

function writeError(folder: string, error: unknown): Error {
  const { code, message } = error as { code?: string | number; message: string };
  const full = code === "ENOSPC" || code === constants.errno.ENOSPC || /ENOSPC|no space|MDB_MAP_FULL/i.test(message);
  return new Error(
    full
      ? `the disk that holds ${folder} is full: free some space and start again; nothing that was committed is lost`
      : `cannot use the ledger in ${folder}: ${message}`,
    { cause: error },
  );
}
