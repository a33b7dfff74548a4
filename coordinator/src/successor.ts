/** A coordinator that was succeeded stays stopped: its folder keeps the proof, signed with the job's own key, that another took over. */
import type { Announcement } from "@zoswarm/shared/protocol/announcement";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { keepSuccessor, readSuccessor } from "@zoswarm/shared/store/successor";
import { type Fault, filesOf } from "./folder.ts";
import type { LoadedJob } from "./load.ts";

/** Keeps the proof, which was verified, and records the incident. */
export function recordSuccessor(dir: string, { bytes, seq, epoch }: Announcement): void {
  try {
    keepSuccessor(filesOf(dir).successor, bytes);
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
  const epoch = readSuccessor(filesOf(dir).successor, folder.jobId, commitVerifier(folder.manifest.commitKey))?.epoch ?? 0;
  return epoch > round.replica.history.epoch ? { ok: false, code: "old-coordinator", message: successorMessage(dir, epoch) } : null;
}
