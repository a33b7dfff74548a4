/** A standby's copying and following: first the files of the coordinator's folder, then its ledger, entry by entry, each durable before the next is asked for. */
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { StandbyAsking } from "@zoswarm/shared/net/standby";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import type { StandbyFile } from "@zoswarm/shared/protocol/standby";
import { createReplica, type Replica, receive, receiveStored, rewindMessage } from "@zoswarm/shared/replica/replica";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { type LedgerStore, openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { keepSuccessor } from "@zoswarm/shared/store/successor";
import { filesOf, type JobFolder, readFolder, readFolderKey } from "./folder.ts";

/**
 * Copies what is missing of the folder, then follows. True once the job is finished and all of it is here, false when the coordinator
 * cannot be asked any more; throws where it may not go on.
 */
export async function followAll(asking: StandbyAsking, shared: readonly StandbyFile[], dir: string, signal: AbortSignal): Promise<boolean> {
  // The file that makes the folder a job's comes last.
  const spec = (name: string) => Number(join(dir, name) === filesOf(dir).spec);
  for (const file of [...shared].sort((one, other) => spec(one.name) - spec(other.name)))
    if (!(await copyFile(asking, file, dir))) return false;
  const folder = readFolder(dir);
  if (!folder.ok) throw new Error(folder.message);
  readFolderKey(folder);
  console.log(`has the folder of job "${folder.manifest.name}" ${folder.jobId.slice(0, 12)}`);
  const store = openLedgerStore(filesOf(dir).ledger);
  try {
    for (;;) {
      const end = await follow(asking, folder, store);
      if (end !== "rewound" || signal.aborted) return end === "finished";
    }
  } finally {
    await store.close();
  }
}

/** One file, whole or not at all, for its owner's eyes only. False where the coordinator cannot be asked. */
async function copyFile(asking: StandbyAsking, { name, bytes }: StandbyFile, dir: string): Promise<boolean> {
  const file = join(dir, name);
  if (existsSync(file) && statSync(file).size === bytes) return true;
  mkdirSync(join(file, ".."), { recursive: true });
  const partial = `${file}.new`;
  rmSync(partial, { force: true });
  const handle = await open(partial, "wx", 0o600);
  try {
    for (let at = 0; at < bytes; ) {
      const answer = await asking.chunk(name, at);
      if (!answer.ok) return false;
      if (answer.content.byteLength === 0) throw new Error(`${name}: the coordinator's file ends at ${at} of ${bytes} bytes`);
      await handle.write(answer.content);
      at += answer.content.byteLength;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  renameSync(partial, file);
  return true;
}

/** Follows from what is on disk, as a start does; "rewound" where that was cut. */
async function follow(asking: StandbyAsking, folder: JobFolder, store: LedgerStore): Promise<"rewound" | "ended" | "finished"> {
  const key = commitVerifier(folder.manifest.commitKey);
  const replica: Replica = createReplica(folder.jobId, folder.manifest.job);
  const broken = receiveStored(replica, store.range, key);
  if (broken !== null)
    throw new Error(
      `the ledger in ${folder.dir} does not hold at entry ${replica.history.nextSeq} (${broken}): remove the folder and start again`,
    );
  // Its own last entry is asked for as well: another one in its place tells that somebody took over.
  let last = "";
  for (let fromSeq = Math.max(0, replica.history.nextSeq - 1); ; ) {
    const answer = await asking.follow(fromSeq);
    if (!answer.ok) return answer.code === "not-found" ? "finished" : "ended";
    const askedFrom = fromSeq;
    if (answer.announcements.length === 0 && fromSeq < replica.history.nextSeq) {
      // It lacks what stands here: it took over further back, or it has lost it and would sign other entries in its place.
      if (last === "repeat" || fromSeq === 0)
        throw new Error(
          `the coordinator has ${fromSeq} ledger entries, this standby ${replica.history.nextSeq}: that one's folder is an older copy. Stop it, and take over here with the promote command`,
        );
      fromSeq = Math.max(0, fromSeq - LIMITS.rangeAnnouncementsMax);
      continue;
    }
    fromSeq += answer.announcements.length;
    for (const bytes of answer.announcements) {
      const { code, effects } = receive(replica, bytes, key);
      last = code;
      for (const effect of effects) {
        if (effect.kind === "append") await store.append(effect.seq, effect.bytes);
        if (effect.kind === "successor") keepSuccessor(filesOf(folder.dir).successor, effect.bytes);
        if (effect.kind === "fetch") fromSeq = Math.min(fromSeq, effect.fromSeq);
        if (effect.kind === "stop") throw new Error(effect.message);
        if (effect.kind !== "rewind") continue;
        await store.replaceFrom(effect.seq, effect.bytes);
        console.log(rewindMessage(effect));
        recordIncident(folder.dir, { code: "epoch-rewind", message: rewindMessage(effect), seq: effect.seq });
        return "rewound";
      }
    }
    // What is asked for next is what is on this disk, whatever came.
    fromSeq = Math.min(fromSeq, replica.history.nextSeq);
    if (fromSeq === askedFrom && answer.announcements.length > 0)
      throw new Error(
        `the coordinator's entry ${askedFrom} does not follow what this standby has (${last}): it is an old coordinator, or another job's`,
      );
  }
}
