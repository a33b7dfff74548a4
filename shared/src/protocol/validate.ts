/**
 * The gate an announcement passes before it has any effect: size, codec, schema, job, window, signature, chain, in that order.
 * The window moves only after the signature verifies; an honest repeat is ignored, never rejected (shared/spec/gossip.md).
 * Two histories of one epoch are a fork. A higher epoch is a coordinator that took over: what it does not stand on is dropped.
 */
import type { KeyObject } from "node:crypto";
import { type Announcement, parseAnnouncement, verifyAnnouncement } from "./announcement.ts";
import type { AnnouncementCode } from "./codes.ts";

/** What a node knows of the ledger when an announcement arrives. */
export interface Head {
  jobId: string;
  epoch: number;
  /** Place of the next entry. */
  nextSeq: number;
  /** SHA-256 of the last payload that carried an entry; the job id before the first. */
  headHash: string;
  /** The payload hash at a place of the ledger, where it is still known. */
  hashAt(seq: number): string | undefined;
}

/** How far ahead of the head an announcement may be to be worth a signature check; beyond it only a range helps. */
const AHEAD_MAX = 1_000_000;

export type Validated =
  | { ok: true; code: "applied"; announcement: Announcement }
  | { ok: false; code: Exclude<AnnouncementCode, "applied">; announcement?: Announcement };

/**
 * Judges announcement bytes against the head. `applied` means: it extends the head (or, without an entry, stands on it) and
 * may be applied. `gap` is verified too: the entries between are missing. `fork` is two valid payloads for one place of one epoch.
 * `rewind` begins a higher epoch at a place that is taken here, on an entry that is known; `other-branch` is of a higher epoch that
 * begins at an earlier place than the announcement's own.
 */
export function validateAnnouncement(bytes: Uint8Array, head: Head, commitKey: KeyObject): Validated {
  const parsed = parseAnnouncement(bytes);
  if (!parsed.ok) return parsed;
  const { announcement } = parsed;
  if (announcement.jobId !== head.jobId) return { ok: false, code: "wrong-job" };
  if (announcement.epoch < head.epoch) return { ok: false, code: "old-epoch" };
  if (announcement.seq > head.nextSeq + AHEAD_MAX) return { ok: false, code: "too-far-ahead" };
  if (announcement.epoch > head.epoch) return successor(announcement, head, commitKey);
  if (announcement.seq < head.nextSeq) return old(announcement, head, commitKey);
  if (!verifyAnnouncement(announcement, commitKey)) return { ok: false, code: "bad-signature" };
  if (announcement.seq > head.nextSeq) return { ok: false, code: "gap", announcement };
  if (announcement.prevHash !== head.headHash) return { ok: false, code: "fork", announcement };
  return { ok: true, code: "applied", announcement };
}

/** Of a coordinator that took over. The entries here that it does not know were never its own. */
function successor(announcement: Announcement, head: Head, commitKey: KeyObject): Validated {
  if (!verifyAnnouncement(announcement, commitKey)) return { ok: false, code: "bad-signature" };
  const { seq, entry, prevHash } = announcement;
  if (seq > head.nextSeq) return { ok: false, code: "gap", announcement };
  if (seq === head.nextSeq && prevHash === head.headHash) return { ok: true, code: "applied", announcement };
  const parent = seq === 0 ? head.jobId : head.hashAt(seq - 1);
  const stands = entry !== null && seq < head.nextSeq && prevHash === parent;
  return { ok: false, code: stands ? "rewind" : "other-branch", announcement };
}

/** A place already taken: the same payload again, one too old to tell, or the proof of a second history. */
function old(announcement: Announcement, head: Head, commitKey: KeyObject): Validated {
  const known = head.hashAt(announcement.seq);
  if (known === announcement.hash) return { ok: false, code: "repeat" };
  if (known === undefined || announcement.entry === null) return { ok: false, code: "old" };
  return verifyAnnouncement(announcement, commitKey) ? { ok: false, code: "fork", announcement } : { ok: false, code: "bad-signature" };
}
