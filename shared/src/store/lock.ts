/** One process at a time on a data folder: two coordinators on one ledger would fork it, two workers with one key would be one peer. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type Locked = { ok: true; release: () => void } | { ok: false; code: "folder-in-use"; message: string };

/** Holds the folder, which must exist, for this process. The hold of a process that is gone is taken over. */
export function lockFolder(dir: string): Locked {
  const lock = join(dir, "process.pid");
  for (let tries = 0; ; tries++) {
    try {
      writeFileSync(lock, String(process.pid), { flag: "wx" });
      return { ok: true, release: () => rmSync(lock, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        rmSync(lock, { force: true });
        throw new Error(`data folder ${dir} cannot be held: ${(error as Error).message}`, { cause: error });
      }
      const holder = Number(readFileSync(lock, "utf8"));
      if (tries > 0 || isAlive(holder)) {
        const message = `data folder ${dir} is in use by process ${holder}: stop that one first, or name another folder with --data`;
        return { ok: false, code: "folder-in-use", message };
      }
      rmSync(lock, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
