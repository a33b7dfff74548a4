/** A coordinator that was succeeded stays stopped: its folder keeps the proof, signed with the job's own key, that another took over. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { type Announcement, parseAnnouncement, verifyAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { type Fault, filesOf } from "./folder.ts";
import type { LoadedJob } from "./load.ts";

/** Keeps the proof, which was verified, and records the incident. */
export function keepSuccessor(dir: string, { bytes, seq, epoch }: Announcement): void {
  try {
    writeFileSync(filesOf(dir).successor, bytes, { flush: true });
  } catch (error) {
    console.error(`the proof that this coordinator was succeeded is not kept: ${(error as Error).message}`);
  }
  recordIncident(dir, { code: "old-coordinator", message: successorMessage(dir, epoch), seq });
}

/** What a launcher is told. */
export function successorMessage(dir: string, epoch: number): string {
  return `a coordinator of epoch ${epoch} took this job over, so this one stops for good; what volunteers follow is in the other's folder, not in ${dir}. To make this machine the standby now, use the standby command with a new folder`;
}

/** Null where no proof stands in the folder, or where the folder itself has reached that epoch since. */
export function refuseSucceeded(dir: string, { folder, round }: LoadedJob): Fault<"old-coordinator"> | null {
  const { successor } = filesOf(dir);
  if (!existsSync(successor)) return null;
  const parsed = parseAnnouncement(Uint8Array.from(readFileSync(successor)));
  if (!parsed.ok || !verifyAnnouncement(parsed.announcement, commitVerifier(folder.manifest.commitKey))) return null;
  const { epoch } = parsed.announcement;
  return epoch > round.replica.history.epoch ? { ok: false, code: "old-coordinator", message: successorMessage(dir, epoch) } : null;
}
