/**
 * One process at a time on a data folder: two coordinators on one ledger would fork it, two workers with one key would be one peer.
 * The operating system's own file lock, which dies with its holder however that ends; SQLite is how Node reaches it.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export type Locked = { ok: true; release: () => void } | { ok: false; code: "folder-in-use"; message: string };

/** How long it tries: two that start at the same instant can refuse each other, and neither would have it. */
const TRY_MS = 100;

/** SQLite's code for a file that another connection has locked. */
const BUSY = 5;

/**
 * Holds the folder, which must exist, for this process. The lock file stays when the hold ends: whoever removed it could take it from
 * under one that has just locked it. Who holds is written beside it, for people only.
 */
export function lockFolder(dir: string): Locked {
  const holder = join(dir, "process.pid");
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(dir, "process.lock"), { timeout: TRY_MS });
    lock.exec("BEGIN EXCLUSIVE");
    writeFileSync(holder, String(process.pid));
  } catch (error) {
    lock?.close();
    if ((error as { errcode?: number }).errcode === BUSY) return inUse(dir, holder);
    throw new Error(`data folder ${dir} cannot be held: ${(error as Error).message}`, { cause: error });
  }
  const held = lock;
  return {
    ok: true,
    release() {
      if (!held.isOpen) return;
      rmSync(holder, { force: true });
      held.close();
    },
  };
}

function inUse(dir: string, holder: string): Locked {
  let pid = "";
  try {
    pid = readFileSync(holder, "utf8");
  } catch {
    // It is being taken or given up at this moment.
  }
  const by = /^\d{1,10}$/.test(pid) ? `process ${pid}` : "another process";
  const message = `data folder ${dir} is in use by ${by}: stop that one first, or name another folder with --data`;
  return { ok: false, code: "folder-in-use", message };
}
