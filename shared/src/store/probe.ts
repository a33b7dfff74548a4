/**
 * Whether a ledger on disk can be read and written at all. LMDB trusts its file: pages that a dying disk or a cut copy left wrong end
 * the process by a signal, without a word. So another process goes first, reads everything and tries a write.
 * Run as a program, this file is that process.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ABORT, open } from "lmdb";

export type Probed = { ok: true } | { ok: false; code: "ledger-damaged"; message: string };

/**
 * Probes the ledger in `folder`; one that is not there yet is sound. What the entries say is not judged: their signatures do that.
 * Takes about as long as a start of Node, and blocks meanwhile. `remedy` says what this node's owner can do.
 */
export function probeLedger(folder: string, remedy: string): Probed {
  if (!existsSync(join(folder, "data.mdb"))) return { ok: true };
  const { status, signal, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), folder], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status === 0) return { ok: true };
  const how = signal ?? stderr.trim().split("\n").at(-1)?.slice(0, 200);
  const message = `the ledger in ${folder} is damaged (reading it ended with ${how}); nothing was changed. ${remedy}`;
  return { ok: false, code: "ledger-damaged", message };
}

async function readAndTryWrite(folder: string): Promise<void> {
  const db = open<Buffer, number>({ path: folder, keyEncoding: "uint32", encoding: "binary" });
  let entries = 0;
  for (const { key } of db.getRange({})) if (key !== entries++) throw new Error(`entry ${entries - 1} missing`);
  if (entries !== db.getCount()) throw new Error(`${entries} of ${db.getCount()} entries`);
  // Takes free pages as an append does, and gives them back.
  db.transactionSync(() => {
    db.putSync(entries, Buffer.alloc(1));
    return ABORT;
  });
  await db.close();
}

const [, program, folder] = process.argv;
if (program === fileURLToPath(import.meta.url) && folder !== undefined)
  await readAndTryWrite(folder).catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
