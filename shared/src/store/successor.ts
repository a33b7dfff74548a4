/**
 * The proof that another coordinator took over, an announcement of a higher epoch signed with the job's own key. Whoever saw one keeps
 * it: not to follow the coordinator before it again after a crash, and to show it to that one.
 */

import type { KeyObject } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Announcement, parseAnnouncement, verifyAnnouncement } from "../protocol/announcement.ts";

/** Keeps a verified proof in `file` in the place of an earlier one, whole or not at all; durable when it returns. */
export function keepSuccessor(file: string, bytes: Uint8Array): void {
  writeFileSync(`${file}.new`, bytes, { flush: true });
  renameSync(`${file}.new`, file);
  const folder = openSync(dirname(file), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** What was kept; null where that is nothing, or nothing of this job that its key signed. */
export function readSuccessor(file: string, jobId: string, commitKey: KeyObject): Announcement | null {
  if (!existsSync(file)) return null;
  const parsed = parseAnnouncement(Uint8Array.from(readFileSync(file)));
  if (!parsed.ok || parsed.announcement.jobId !== jobId || !verifyAnnouncement(parsed.announcement, commitKey)) return null;
  return parsed.announcement;
}
