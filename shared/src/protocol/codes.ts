/**
 * Every expected outcome, in one table: used unchanged on the wire, as log field and as metric label.
 * shared/spec/codes.md says what each means; a test compares that page with these lists. Append only: the index is on the wire.
 */

/** What the coordinator answers to a result frame. */
export const RESULT_CODES = [
  "accepted",
  "late",
  "duplicate",
  "unknown-step",
  "not-my-slot",
  "wrong-head",
  "not-ready",
  "diverged",
  "not-finite",
] as const;
export type ResultCode = (typeof RESULT_CODES)[number];

/** Why the coordinator ends a session. */
export const SESSION_CODES = [
  "finished",
  "stopping",
  "wrong-version",
  "wrong-job",
  "malformed",
  "not-in-time",
  "replaced",
  "stopped-hearing",
] as const;
export type SessionCode = (typeof SESSION_CODES)[number];

/** What becomes of an announcement, from gossip, a repair or a range. */
export const ANNOUNCEMENT_CODES = {
  applied: "accept",
  repeat: "ignore",
  old: "ignore",
  gap: "ignore",
  "too-far-ahead": "ignore",
  "wrong-job": "ignore",
  "too-large": "reject",
  malformed: "reject",
  "wrong-schema": "reject",
  "wrong-version": "reject",
  "bad-signature": "reject",
  fork: "ignore",
  "old-epoch": "ignore",
  rewind: "ignore",
  "other-branch": "ignore",
} as const;
export type AnnouncementCode = keyof typeof ANNOUNCEMENT_CODES;
