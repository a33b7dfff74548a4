/** `coordinator promote`: a standby's folder becomes the coordinator's, with a new epoch; what comes then is what a restart does. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { createReplica, receiveStored } from "@zoswarm/shared/replica/replica";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { lockFolder } from "@zoswarm/shared/store/lock";
import { readSuccessor } from "@zoswarm/shared/store/successor";
import { typedPath } from "@zoswarm/shared/typed";
import { type Fault, filesOf, type JobFolder, readFolder, readFolderKey } from "./folder.ts";
import { type RunOptions, runFolder } from "./run.ts";

/** How long a running standby may take to hand its folder over, and how often that is looked for. */
const HANDOVER_MS_MAX = 20_000;
const HANDOVER_LOOK_MS = 100;

/** Takes the folder over from a standby that runs, appends the epoch, and runs the job. A promoted folder just goes on. */
export async function promote(dataDir: string, options: RunOptions): Promise<{ ok: true; ended: "finished" | "stopped" } | Fault<string>> {
  const dir = typedPath(dataDir);
  const folder = readFolder(dir);
  if (!folder.ok) return { ...folder, message: `${folder.message} (a standby has a job once its coordinator has given it the folder)` };
  const locked = await takeOver(dir);
  if (!locked.ok) return locked;
  try {
    const begun = await beginEpoch(folder);
    if (!begun.ok) return begun;
    return await runFolder(folder, options);
  } finally {
    locked.release();
  }
}

/** Asks a standby that holds the folder to let go of it. */
async function takeOver(dir: string) {
  const { promote: asked } = filesOf(dir);
  try {
    for (let waitedMs = 0; ; waitedMs += HANDOVER_LOOK_MS) {
      const locked = lockFolder(dir);
      if (locked.ok || waitedMs >= HANDOVER_MS_MAX) return locked;
      writeFileSync(asked, "");
      await setTimeout(HANDOVER_LOOK_MS);
    }
  } finally {
    rmSync(asked, { force: true });
  }
}

/** Appends the entry of a new epoch to a standby's ledger. The folder is a coordinator's from then on. */
export async function beginEpoch(folder: JobFolder): Promise<{ ok: true } | Fault<"not-a-standby" | "ledger-damaged">> {
  const { dir, jobId, manifest } = folder;
  const files = filesOf(dir);
  const key = readFolderKey(folder);
  const store = openLedgerStore(files.ledger);
  try {
    const replica = createReplica(jobId, manifest.job);
    const broken = receiveStored(replica, store.range, key);
    if (broken !== null)
      return {
        ok: false,
        code: "ledger-damaged",
        message: `ledger ${files.ledger}: entry ${replica.history.nextSeq} does not hold (${broken})`,
      };
    const { nextSeq, headHash, lastStep } = replica.history;
    // A successor that was seen here and not fetched has its number already.
    const epoch = Math.max(replica.history.epoch, readSuccessor(files.successor, jobId, key)?.epoch ?? 0);
    if (!existsSync(files.standby)) {
      if (replica.history.epoch > 0) return { ok: true };
      const message = `data folder ${dir} is no standby's: go on with its job by the run command`;
      return { ok: false, code: "not-a-standby", message };
    }
    const entry = { kind: "epoch", epoch: epoch + 1 } as const;
    const announcement = createAnnouncement({ jobId, epoch: epoch + 1, seq: nextSeq, prevHash: headHash, entry, task: null }, key);
    await store.append(nextSeq, announcement.bytes);
    rmSync(files.standby);
    console.log(`promoted: epoch ${epoch + 1} begins after ledger entry ${nextSeq - 1}, with ${lastStep + 1} steps taken`);
    return { ok: true };
  } finally {
    await store.close();
  }
}
