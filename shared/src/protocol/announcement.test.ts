import { sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { runs } from "../zo/sample.ts";
import {
  COMMIT_KEY,
  commitKeyOf,
  commitOf,
  evaluationOf,
  HASH,
  JOB_ID,
  PEERS,
  restoreOf,
  rosterOf,
  taskOf,
} from "./announcement.testing.ts";
import { type Announcement, createAnnouncement, parseAnnouncement, slotsOf, type Task, verifyAnnouncement } from "./announcement.ts";
import { decode, encode } from "./codec.ts";
import { type Entry, packCoefficients, toHex } from "./entries.ts";
import { LIMITS } from "./limits.ts";
import { type ContributorRun, packRuns } from "./runs.ts";
import { sha256Hex, signPayload } from "./signing.ts";

const { key, verifier } = COMMIT_KEY;
const made = (entry: Entry | null, task: Task | null = null) =>
  createAnnouncement({ jobId: JOB_ID, epoch: 3, seq: 7, prevHash: HASH, entry, task }, key);
const id = new Uint8Array(32).fill(0x1b);
/** A payload that was never checked on its way out, in its envelope. */
const signed = (payload: Uint8Array) => encode([payload, signPayload(payload, key)]);
const carrying = (entry: unknown, task: unknown = null) => signed(encode([1, id, 0, 0, id, entry, task]));
const codeOf = (bytes: Uint8Array) => {
  const parsed = parseAnnouncement(bytes);
  return parsed.ok ? "parsed" : parsed.code;
};
/** msgpackr leaves a view on the arrays that it reads: bytes are compared as text. */
const inText = ({ bytes, payload, signature, ...rest }: Announcement) => ({ ...rest, bytes: [bytes, payload, signature].map(toHex) });
const read = (bytes: Uint8Array) => {
  const parsed = parseAnnouncement(bytes);
  if (!parsed.ok) throw new Error(parsed.code);
  return parsed.announcement;
};

const manyGroups: Entry = {
  kind: "commit",
  step: 0xfffffffe,
  groups: [
    { g: 0, m: 0, p: -8, a: Int32Array.of(-127) },
    { g: 5, m: 1, p: 80, a: Int32Array.of(-32_767, 32_767) },
    { g: 0xffffff, m: 2, p: 30, a: Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 0, 1) },
  ],
  meanLoss: null,
  contributors: [
    [0, 2],
    [0xffffffff, 4],
    [1, 1],
  ],
};
const rate: Entry = {
  kind: "rate",
  rate: 1e-3 / 3,
  epsilonLog2: -24,
  groups: 64,
  directionsLog2: 10,
  probing: true,
  reference: 1 / 3,
  why: "",
};
const end: Entry = { kind: "end", reason: "diverged", why: "ü".repeat(LIMITS.whyCharactersMax) };
const epoch: Entry = { kind: "epoch", epoch: 0xffffffff };

describe("an announcement reads back as it was made", () => {
  const roster = rosterOf("ada", "Ωmega 7", "");
  it.each<Entry>([commitOf(0), manyGroups, roster, rate, evaluationOf(-1), evaluationOf(9), restoreOf(-1), restoreOf(8), epoch, end])(
    "with an entry: $kind",
    (entry) => {
      const announcement = made(entry);
      expect(announcement.entry).toBe(entry);
      expect(inText(read(announcement.bytes))).toEqual(inText(announcement));
    },
  );

  const widest = Array.from({ length: LIMITS.groupsPerStepMax }, (_, g) => ({ g: 2 * g, m: 10, batch: 0xffffffff - g }));
  it.each<[string, Task]>([
    ["of one direction", { step: 0, groups: [{ g: 0, m: 0, batch: 0 }], epsilonLog2: 0, estimator: "two-sided" }],
    ["of one group of all directions", { ...taskOf(0xfffffffe, 16), estimator: "one-sided" }],
    ["of as many groups and directions as there may be", { step: 3, groups: widest, epsilonLog2: -24, estimator: "one-sided" }],
  ])("with a task %s", (_, task) => {
    for (const announcement of [made(null, task), made(commitOf(1), task)])
      expect(inText(read(announcement.bytes))).toEqual(inText(announcement));
  });

  it("with the largest commit that a round makes, each slot by another worker than the one before", () => {
    const contributors = Array.from({ length: LIMITS.directionsPerStepMax }, (_, i): [number, number] => [i, 1]);
    const groups = [{ g: 0, m: 16, p: 30, a: new Int32Array(2 ** 16).fill(2 ** 15 - 1) }];
    const announcement = made({ kind: "commit", step: 1, groups, meanLoss: 0.1, contributors }, taskOf(2, 16));
    expect(codeOf(announcement.bytes)).toBe("parsed");
  });

  it("with any coefficients, packed in as many bytes as the largest needs", () => {
    const values = (m: number) => {
      const length = { minLength: 2 ** m, maxLength: 2 ** m };
      return fc.oneof(...[7, 15, 31].map((bits) => fc.array(fc.integer({ min: -(2 ** bits), max: 2 ** bits - 1 }), length)));
    };
    fc.assert(
      fc.property(fc.nat(5).chain(values), (a) => {
        const { width, bytes } = packCoefficients(a);
        expect(bytes).toHaveLength(width * a.length);
        if (width > 1) expect(Math.max(...a.map(Math.abs))).toBeGreaterThan(2 ** (4 * width - 1) - 1);
        const entry = { ...commitOf(0, [[0, a.length]]), groups: [{ g: 0, m: Math.log2(a.length), p: 30, a: Int32Array.from(a) }] };
        expect(read(made(entry).bytes).entry).toEqual(entry);
      }),
      { ...runs(400), examples: [127, 128, -128, 32_767, 32_768, -32_768, -(2 ** 31), 2 ** 31 - 1].map((v): [number[]] => [[v]]) },
    );
  });
});

describe("what is no announcement is refused with its code", () => {
  const group = (g: number) => [g, 1, 30, 1, Uint8Array.of(1, 2)];
  const commit = (groups: unknown, contributors: ContributorRun[], meanLoss: unknown = 0.5) => [
    ...[0, 4, groups, meanLoss],
    packRuns(contributors),
  ];
  const task = (groups: unknown, epsilonLog2 = -10, estimator = 0, step = 5) => [step, groups, epsilonLog2, estimator];
  const peer = [PEERS[0], "ada"];
  const by = (...counts: number[]) => counts.map((count, who): ContributorRun => [who, count]);
  const times = (n: number, of: (i: number) => unknown) => Array.from({ length: n }, (_, i) => of(i));

  it.each<[string, unknown[]]>([
    ["a commit", commit([group(1), group(2)], [[0, 4]])],
    ["a roster", [1, [peer]]],
    ["a rate", [2, 0.1, -10, 2, 4, true, null, "a probe"]],
    ["a rate with a reference", [2, 0.1, -10, 2, 4, false, 3.5, "half"]],
    ["an evaluation", [3, -1, id, 0.7, 1, 8]],
    ["a restore", [4, -1, id]],
    ["an epoch", [5, 1]],
    ["an end", [6, "target", ""]],
  ])("though %s as such is none", (_, entry) => {
    expect(codeOf(carrying(entry, task([[1, 2, 0]])))).toBe("parsed");
    for (const other of [[...entry, 0], entry.slice(0, -1), [7, ...entry.slice(1)]]) expect(codeOf(carrying(other))).toBe("wrong-schema");
  });

  it.each<[string, unknown, unknown?]>([
    ["a commit of unsorted groups", commit([group(2), group(1)], [[0, 4]])],
    ["a commit of a double group", commit([group(1), group(1)], [[0, 4]])],
    ["a commit without groups", commit([], [])],
    ["a commit of too many groups", commit(times(65, group), [[0, 130]])],
    ["a commit of too many directions", commit([[0, 16, 30, 1, new Uint8Array(2 ** 16)], group(1)], by(65_536, 2))],
    ["a group of other than 2^m coefficients", commit([[0, 2, 30, 1, new Uint8Array(3)]], [[0, 4]])],
    ["a width of 3 bytes", commit([[0, 0, 30, 3, new Uint8Array(3)]], [[0, 1]])],
    ["an exponent out of bounds", commit([[0, 0, 81, 1, new Uint8Array(1)]], [[0, 1]])],
    ["a slot without a contributor", commit([group(1)], [[1, 1]])],
    ["a slot with two contributors", commit([group(1)], by(1, 2))],
    ["a contributor of no slot", commit([group(1)], by(0, 2))],
    ["a contributor of less than no slot", commit([group(1)], by(3, -1))],
    ["a mean loss that is no number", commit([group(1)], [[0, 2]], Number.NaN)],
    ["a roster of nobody", [1, []]],
    ["a roster of too many", [1, times(257, () => peer)]],
    ["a peer without an id", [1, [["ada", "ada"]]]],
    ["a name that moves the cursor", [1, [[PEERS[0], "\u001b[2J"]]]],
    ["a name that is too long", [1, [[PEERS[0], "a".repeat(65)]]]],
    ["a rate of 0", [2, 0, -10, 1, 4, false, null, ""]],
    ["an infinite rate", [2, Number.POSITIVE_INFINITY, -10, 1, 4, false, null, ""]],
    ["a rate of an epsilon above 1", [2, 0.1, 1, 1, 4, false, null, ""]],
    ["a rate that is neither a trial's nor not", [2, 0.1, -10, 1, 4, 0, null, ""]],
    ["a rate with a reference of 0", [2, 0.1, -10, 1, 4, false, 0, ""]],
    ["a rate with an infinite reference", [2, 0.1, -10, 1, 4, false, Number.POSITIVE_INFINITY, ""]],
    ["a rate without a word on its reference", [2, 0.1, -10, 1, 4, false, ""]],
    ["a rate of too many groups", [2, 0.1, -10, 65, 4, false, null, ""]],
    ["a rate of too many directions", [2, 0.1, -10, 2, 16, false, null, ""]],
    ["a reason that is too long", [2, 0.1, -10, 1, 4, false, null, "a".repeat(LIMITS.whyCharactersMax + 1)]],
    ["a reason that moves the cursor", [6, "target", "\u001b[2J"]],
    ["an end for no known reason", [6, "boredom", ""]],
    ["a state before the initial one", [4, -2, id]],
    ["a short state hash", [4, 0, id.slice(1)]],
    ["an epoch of more than 32 bits", [5, 2 ** 32]],
    ["a task of unsorted groups", null, task(times(2, (i) => [1 - i, 2, 0]))],
    ["a task of a double group", null, task(times(2, () => [1, 2, 0]))],
    ["a task without groups", null, task([])],
    ["a task of too many groups", null, task(times(65, (g) => [g, 0, 0]))],
    ["a task of too many directions", null, task(times(2, (g) => [g, g ? 0 : 16, 0]))],
    ["an epsilon above 1", null, task([[0, 0, 0]], 1)],
    ["an unknown estimator", null, task([[0, 0, 0]], -10, 2)],
    ["a step that no number is left for", null, task([[0, 0, 0]], -10, 0, 0xffffffff)],
  ])("wrong-schema: %s", (_, entry, ofTask = null) => expect(codeOf(carrying(entry, ofTask))).toBe("wrong-schema"));

  it("wrong-schema: an envelope or a payload of other parts", () => {
    const payload = encode([1, id, 0, 0, id, null, null]);
    expect(codeOf(signed(payload))).toBe("parsed");
    for (const envelope of [
      [payload],
      [payload, new Uint8Array(63)],
      [payload, signPayload(payload, key), 0],
      ["payload", new Uint8Array(64)],
    ])
      expect(codeOf(encode(envelope))).toBe("wrong-schema");
    for (const parts of [
      [id.slice(1), 0, 0, id],
      [id, -1, 0, id],
      [id, 0, 2 ** 32, id],
      [id, 0, 0.5, id],
      [id, 0, 0, "head"],
    ])
      expect(codeOf(signed(encode([1, ...parts, null, null])))).toBe("wrong-schema");
    expect(codeOf(signed(encode("payload")))).toBe("wrong-schema");
  });

  it("wrong-version: whatever else another version may say", () => {
    expect(codeOf(signed(encode([2, id, 0, 0, id, null, null])))).toBe("wrong-version");
    expect(codeOf(signed(encode([2, "of the future"])))).toBe("wrong-version");
  });

  it("too-large, malformed: by its size, an unreadable payload, and every way to cut it short", () => {
    expect(codeOf(new Uint8Array(LIMITS.announcementBytesMax + 1))).toBe("too-large");
    expect(codeOf(new Uint8Array(LIMITS.announcementBytesMax))).toBe("malformed");
    expect(codeOf(signed(Uint8Array.of(0x92, 0x01)))).toBe("malformed");
    const { bytes } = made(manyGroups, taskOf(1));
    for (let length = 0; length < bytes.byteLength; length++) expect(codeOf(bytes.subarray(0, length)), `${length}`).toBe("malformed");
  });
});

test("a signature holds for the very bytes and the very key: no bit of an announcement can be changed", () => {
  const announcement = made(commitOf(0), taskOf(1));
  expect(verifyAnnouncement(announcement, verifier)).toBe(true);
  expect(verifyAnnouncement(announcement, commitKeyOf(2).verifier)).toBe(false);
  expect(verifyAnnouncement({ ...announcement, signature: Uint8Array.from(sign(null, announcement.payload, key)) }, verifier)).toBe(false);
  for (let bit = 0; bit < 8 * announcement.bytes.byteLength; bit++) {
    const bytes = Uint8Array.from(announcement.bytes, (byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
    const parsed = parseAnnouncement(bytes);
    expect(parsed.ok && verifyAnnouncement(parsed.announcement, verifier), `bit ${bit}`).toBe(false);
  }
});

test("what is signed is kept as it came, even where it would be encoded otherwise here, and whatever becomes of the buffer", () => {
  const [array, version, ...rest] = encode([1, id, 0, 0, id, [5, 1], null]);
  const payload = Uint8Array.of(array as number, 0xce, 0, 0, 0, version as number, ...rest);
  const decoded = decode(payload, 1000);
  expect(decoded.ok && encode(decoded.value).byteLength).toBe(payload.byteLength - 4);
  const came = signed(payload);
  const buffer = Uint8Array.of(9, 9, ...came, 9);
  const announcement = read(buffer.subarray(2, -1));
  buffer.fill(0);
  expect([announcement.bytes, announcement.payload].map(toHex)).toEqual([came, payload].map(toHex));
  expect(announcement).toMatchObject({ hash: sha256Hex(payload), jobId: JOB_ID, prevHash: JOB_ID, entry: { epoch: 1 } });
  expect(verifyAnnouncement(announcement, verifier)).toBe(true);
});

test("a task has a slot for each direction of each group", () => {
  expect(slotsOf([{ m: 0 }, { m: 3 }, { m: 16 }])).toBe(1 + 8 + 65_536);
  expect(slotsOf([])).toBe(0);
});
