import { expect, test } from "vitest";
import { COMMIT_KEY, commitKeyOf, commitOf, HASH, JOB_ID, restoreOf, rosterOf, startChain, taskOf } from "./announcement.testing.ts";
import { type Announcement, createAnnouncement } from "./announcement.ts";
import { encode } from "./codec.ts";
import { ANNOUNCEMENT_CODES, type AnnouncementCode } from "./codes.ts";
import { LIMITS } from "./limits.ts";
import { signPayload } from "./signing.ts";
import { type Head, validateAnnouncement } from "./validate.ts";

/** A ledger of three entries in epoch 2, the first in epoch 1; place 0 is forgotten. */
const chain = startChain();
const before = chain.branch();
const taken = [chain.next(rosterOf("ada"), null, 1), chain.next(restoreOf(-1), taskOf(0), 2), chain.next(commitOf(0), taskOf(1), 2)];
const head: Head = {
  jobId: JOB_ID,
  epoch: 2,
  nextSeq: 3,
  headHash: chain.prevHash,
  hashAt: (seq) => (seq === 0 ? undefined : taken[seq]?.hash),
};
const AHEAD_MAX = 1_000_000;

type Content = Pick<Announcement, "jobId" | "epoch" | "seq" | "prevHash" | "entry" | "task">;
/** The next announcement as it should be, but for what is said otherwise. */
const next = (otherwise: Partial<Content> = {}, key = COMMIT_KEY.key) =>
  createAnnouncement({ jobId: JOB_ID, epoch: 2, seq: 3, prevHash: head.headHash, entry: commitOf(1), task: null, ...otherwise }, key);
const forger = commitKeyOf(9).key;
const judge = ({ bytes }: { bytes: Uint8Array }, known: Partial<Head> = {}) =>
  validateAnnouncement(bytes, Object.freeze({ ...head, ...known }), COMMIT_KEY.verifier);
const raw = (payload: unknown, key = COMMIT_KEY.key) => {
  const encoded = encode(payload);
  return { bytes: encode([encoded, signPayload(encoded, key)]) };
};

const examples: Record<AnnouncementCode, { bytes: Uint8Array }> = {
  applied: next(),
  repeat: taken[1] as Announcement,
  old: next({ seq: 2, entry: null, task: taskOf(1) }),
  gap: next({ seq: 4 }),
  "too-far-ahead": next({ seq: 3 + AHEAD_MAX + 1 }),
  "wrong-job": next({ jobId: HASH }),
  "too-large": { bytes: new Uint8Array(LIMITS.announcementBytesMax + 1) },
  malformed: { bytes: next().bytes.subarray(1) },
  "wrong-schema": raw([1, "no announcement"]),
  "wrong-version": raw([2, "no announcement"]),
  "bad-signature": next({}, forger),
  fork: next({ prevHash: HASH }),
  "old-epoch": next({ epoch: 1 }),
  rewind: next({ epoch: 3, seq: 2, prevHash: (taken[1] as Announcement).hash, entry: { kind: "epoch", epoch: 3 } }),
  "other-branch": next({ epoch: 3, prevHash: HASH }),
};

test.each(Object.keys(ANNOUNCEMENT_CODES) as AnnouncementCode[])("%s is what the gate can say, and only applied is ok", (code) => {
  const judged = judge(examples[code]);
  expect(judged.code).toBe(code);
  expect(judged.ok).toBe(code === "applied");
});

test("of several faults the one that is checked first is named: job, epoch, window, signature, chain", () => {
  const faults: [AnnouncementCode, Partial<Content>, known?: Partial<Head>][] = [
    ["wrong-job", { jobId: HASH, epoch: 1, seq: 3 + AHEAD_MAX + 1, prevHash: HASH }],
    ["old-epoch", { epoch: 1, seq: 3 + AHEAD_MAX + 1, prevHash: HASH }],
    ["too-far-ahead", { seq: 3 + AHEAD_MAX + 1, prevHash: HASH }],
    ["bad-signature", { seq: 3 + AHEAD_MAX, prevHash: HASH }],
    ["bad-signature", { seq: 3, prevHash: HASH }],
    ["bad-signature", { seq: 2, prevHash: HASH }],
  ];
  for (const [code, otherwise] of faults) expect(judge(next(otherwise, forger)), code).toEqual({ ok: false, code });
  expect(judge(next({ seq: 4, prevHash: HASH })).code).toBe("gap");
});

test("what cannot be read is refused before anything that it says is believed", () => {
  const otherJob = new Uint8Array(32);
  expect(judge(raw([1, otherJob, 0, 0, otherJob, [9], null], forger)).code).toBe("wrong-schema");
  expect(judge(raw([2, otherJob, 0, 0, otherJob, [9], null], forger)).code).toBe("wrong-version");
  expect(judge(raw(otherJob, forger)).code).toBe("wrong-schema");
  const padding = new Uint8Array(LIMITS.announcementBytesMax);
  expect(judge(raw([2, padding], forger)).code).toBe("too-large");
});

test("what extends the head is handed over as it was signed, and so is what stands on it without an entry", () => {
  for (const announcement of [next(), next({ entry: null, task: taskOf(1) })]) {
    const judged = judge(announcement);
    expect(judged.ok && judged.announcement).toMatchObject({ seq: 3, hash: announcement.hash, entry: announcement.entry });
  }
  expect(judge(next({ entry: null, task: taskOf(1), prevHash: HASH })).code).toBe("fork");
});

test("the window reaches a million places ahead of the head, and a forged announcement is never more than forged", () => {
  const [last, beyond] = [{ seq: 3 + AHEAD_MAX }, { seq: 3 + AHEAD_MAX + 1 }];
  expect([judge(next(last)).code, judge(next(beyond)).code]).toEqual(["gap", "too-far-ahead"]);
  expect([judge(next(last, forger)).code, judge(next(beyond, forger)).code]).toEqual(["bad-signature", "too-far-ahead"]);
  // The gate moves nothing itself; the node moves the head by what was applied (replica.test.ts).
  expect(judge(next(beyond), { nextSeq: 4 }).code).toBe("gap");
});

test("a gap is verified and handed over; a forged one says nothing", () => {
  const ahead = next({ seq: 5 });
  expect(judge(ahead)).toMatchObject({ code: "gap", announcement: { seq: 5, hash: ahead.hash } });
  expect(judge(next({ seq: 5 }, forger))).toEqual({ ok: false, code: "bad-signature" });
});

test("a second payload for a place that is taken is a fork where it is validly signed, and the proof is handed over", () => {
  const other = next({ seq: 2, prevHash: (taken[1] as Announcement).hash, entry: commitOf(0, [[1, 4]]) });
  expect(judge(other)).toMatchObject({ code: "fork", announcement: { seq: 2, hash: other.hash } });
  // The same entry after another history is another payload.
  expect(judge(next({ seq: 2, prevHash: HASH, entry: commitOf(0), task: taskOf(1) })).code).toBe("fork");
  expect(judge(next({ seq: 2, prevHash: HASH }, forger))).toEqual({ ok: false, code: "bad-signature" });
});

test("the same payload again is a repeat, in whatever envelope; at a forgotten place nothing can be told but that it is old", () => {
  for (const announcement of taken.slice(1)) {
    expect(judge(announcement)).toEqual({ ok: false, code: "repeat" });
    expect(judge({ bytes: encode([announcement.payload, new Uint8Array(64)]) })).toEqual({ ok: false, code: "repeat" });
  }
  const first = before.next(rosterOf("bob"), null, 2);
  expect(judge(first)).toEqual({ ok: false, code: "old" });
  expect(judge(first, { hashAt: (seq) => taken[seq]?.hash }).code).toBe("fork");
});

test("a task of the past without an entry is old and no fork, whoever signed it", () => {
  for (const key of [COMMIT_KEY.key, forger])
    expect(judge(next({ seq: 1, entry: null, task: taskOf(0) }, key))).toEqual({ ok: false, code: "old" });
});

test("of a coordinator that was succeeded even a repeat counts for nothing; a successor's announcement is applied", () => {
  expect(judge(taken[0] as Announcement, { hashAt: (seq) => taken[seq]?.hash }).code).toBe("old-epoch");
  expect(judge(taken[0] as Announcement, { epoch: 1, hashAt: (seq) => taken[seq]?.hash }).code).toBe("repeat");
  expect(judge(next({ epoch: 1 }), { epoch: 1 }).code).toBe("applied");
  expect(judge(next({ epoch: 3 }))).toMatchObject({ code: "applied", announcement: { epoch: 3 } });
});

test("a higher epoch is no fork: it rewinds from a parent that is known, and is looked for further back from one that is not", () => {
  const parent = (taken[1] as Announcement).hash;
  const begins = { epoch: 3, seq: 2, entry: { kind: "epoch", epoch: 3 } } as const;
  expect(judge(next({ ...begins, prevHash: parent }))).toMatchObject({ code: "rewind", announcement: { epoch: 3, seq: 2 } });
  expect(judge(next({ ...begins, prevHash: HASH })).code).toBe("other-branch");
  expect(judge(next({ ...begins, seq: 1, prevHash: HASH })).code).toBe("other-branch");
  expect(judge(next({ ...begins, seq: 0, prevHash: JOB_ID })).code).toBe("rewind");
  expect(judge(next({ ...begins, seq: 4, prevHash: HASH })).code).toBe("gap");
  // Without an entry nothing begins.
  expect(judge(next({ epoch: 3, seq: 2, prevHash: parent, entry: null, task: taskOf(1) })).code).toBe("other-branch");
  for (const otherwise of [
    { ...begins, prevHash: parent },
    { epoch: 3, prevHash: HASH },
    { epoch: 3, seq: 4 },
  ])
    expect(judge(next(otherwise, forger))).toEqual({ ok: false, code: "bad-signature" });
});
