/** Room on the disk, asked for before it is used: what is half-written on a full disk helps nobody, and a mapped ledger dies of it. */
import { statfs } from "node:fs/promises";
import type { Fault } from "./folder.ts";

/** Kept free for the ledger when a coordinator starts: thousands of steps. LMDB maps its lock file, and a full disk behind it is fatal. */
export const LEDGER_BYTES = 4_000_000;

/** Kept free at every entry: LMDB's own failure comes after the fact, and in words for programmers. */
export const ENTRY_BYTES = 1_000_000;

/** Null where `bytes` more fit on the disk that holds `dir`, which must exist. */
export async function refuseFull(dir: string, bytes: number): Promise<Fault<"disk-full"> | null> {
  const { bavail, bsize } = await statfs(dir);
  if (bavail * bsize >= bytes) return null;
  const mb = (n: number) => `${(n / 1e6).toFixed(1)} MB`;
  const message = `the disk that holds ${dir} has ${mb(bavail * bsize)} free and ${mb(bytes)} are needed: free some space, or name a folder on another disk with --data`;
  return { ok: false, code: "disk-full", message };
}
