import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createAnnouncement, parseAnnouncement, verifyAnnouncement } from "../protocol/announcement.ts";
import { type CommitEntry, type Entry, packCoefficients, toHex } from "../protocol/entries.ts";
import { type Manifest, manifestBytes } from "../protocol/manifest.ts";
import { commitVerifier, createCommitKey, readCommitKey, sha256Hex } from "../protocol/signing.ts";
import { commitPlain, splitTensors } from "../zo/apply.ts";
import { copies, groupOf, KEY, startOf, tensor } from "../zo/sample.ts";
import { stateHash } from "../zo/statehash.ts";
import { writeBundle } from "./bundle.ts";

/** The independent reading of the arithmetic lies beside the repository where there is one. */
const REFERENCE = fileURLToPath(new URL("../../../../shared/spec/reference.py", import.meta.url));
const HAS_REFERENCE = existsSync(REFERENCE) && spawnSync("python3", ["-c", "import numpy"]).status === 0;
if (!HAS_REFERENCE) console.log("skipped: replay of a bundle by reference.py, because it or python3 with numpy is not here");

const TENSORS = [tensor([7, 40], 22), tensor([], 20, 3), tensor([300], 24, -2)];
const INITIAL = startOf(TENSORS, 1, 2 ** 20);
const { key: signingKey, publicHex } = readCommitKey(createCommitKey().privatePem);
const MANIFEST: Manifest = {
  ...{ version: 1, name: "bundle", key: [...KEY], commitKey: publicHex, stateHash: stateHash(INITIAL), staleness: 0 },
  ...{
    model: { id: "11".repeat(32), bytes: 1 },
    initial: { id: "22".repeat(32), bytes: 4 },
    examples: { id: "33".repeat(32), bytes: 1 },
    frozen: null,
    tokenizer: null,
    shardBytes: 1,
  },
  inputs: [{ name: "ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } }],
  objective: { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null },
  tensors: TENSORS.map((each) => ({ ...each, shape: [...each.shape] })),
  job: {
    ...{ steps: 5, groups: 2, directionsLog2: 3, batch: 2, epsilonLog2: -10, estimator: "two-sided", rule: "normalised", rate: 0.01 },
    ...{ evaluateEvery: 1, deadlineMs: 1000, deadlineFloorMs: 1000, quorum: 0.5 },
    stop: { target: null, patience: null, forwards: null },
  },
};
const MANIFEST_BYTES = manifestBytes(MANIFEST);
const JOB = sha256Hex(MANIFEST_BYTES);

/** A step's commit: 8 directions of group 0 and 2 of group 5, those without a contributor. */
const commit = (step: number): CommitEntry => ({
  ...{ kind: "commit", step, meanLoss: step === 1 ? null : 0.5 - step / 64 },
  groups: [groupOf(0, 3, 30, 999, step), groupOf(5, 1, 33, 2 ** 15 - 1, step)],
  contributors: [
    [1, 8],
    [0, 2],
  ],
});
/** The state hash by the plain implementation after the commits of these steps, and no others. */
function after(...steps: number[]): string {
  const x = copies(INITIAL);
  for (const step of steps) commitPlain(x, TENSORS, KEY, commit(step));
  return stateHash(x);
}
const evaluation = (step: number, stateHash: string): Entry => ({
  ...{ kind: "evaluation", step, stateHash, loss: 0.625, score: 0.75, examples: 8 },
});
const restore = (step: number, stateHash: string): Entry => ({ kind: "restore", step, stateHash });

const ENTRIES: Entry[] = [
  { kind: "roster", peers: [{ peerId: "12D3KooWAAAAAAAAAAAAAAAAAAAA", name: "Ada" }] },
  { kind: "rate", rate: 0.01, epsilonLog2: -10, groups: 2, directionsLog2: 3, probing: false, reference: 2.5, why: "a probe" },
  evaluation(-1, after()),
  commit(0),
  commit(1),
  evaluation(0, after(0)),
  evaluation(1, after(0, 1)),
  restore(-1, after()),
  commit(2),
  restore(0, after(0)),
  evaluation(2, after(2)),
  { kind: "epoch", epoch: 1 },
  commit(3),
  commit(4),
  { kind: "end", reason: "forwards", why: "enough" },
];

/** Signs entries one after the other, each on the one before. */
function signed(entries: readonly (Entry | null)[], key = signingKey, jobId = JOB): Uint8Array[] {
  let [seq, prevHash, epoch] = [0, jobId, 0];
  return entries.map((entry) => {
    if (entry?.kind === "epoch") epoch = entry.epoch;
    const announcement = createAnnouncement({ jobId, epoch, seq, prevHash, entry, task: null }, key);
    if (entry !== null) [seq, prevHash] = [seq + 1, announcement.hash];
    return announcement.bytes;
  });
}
const LEDGER = signed(ENTRIES);

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-bundle-"));
  writeFileSync(join(dir, "initial"), Buffer.concat(INITIAL.map(({ buffer }) => new Uint8Array(buffer))));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Writes a bundle from pages of four entries. */
const write = (ledger: readonly Uint8Array[], initialFile = join(dir, "initial"), manifest = MANIFEST_BYTES) =>
  writeBundle(join(dir, "out"), { manifestBytes: manifest, initialFile, range: (fromSeq) => ledger.slice(fromSeq, fromSeq + 4) });
const readBack = (name: string) => readFileSync(join(dir, "out", name));
const readLines = () => readBack("ledger.jsonl").toString("utf8").split("\n").slice(0, -1);
/** The fields of a line that the tests look at. */
type Line = { groups?: CommitEntry["groups"]; step: number; restore?: number; stateHash?: string };

describe("a bundle", () => {
  it("holds the manifest and the initial state byte for byte, and nothing but its four files", () => {
    expect(write(LEDGER)).toEqual({ ok: true, entries: 15, steps: 3, stateHash: after(0, 3, 4) });
    expect(readdirSync(join(dir, "out")).sort()).toEqual(["chain.bin", "initial.bin", "ledger.jsonl", "manifest.json"]);
    expect(readdirSync(dir).sort()).toEqual(["initial", "out"]);
    expect(Uint8Array.from(readBack("manifest.json"))).toEqual(MANIFEST_BYTES);
    expect(readBack("initial.bin").equals(readFileSync(join(dir, "initial")))).toBe(true);
  });

  it("takes an evaluation of a state that training set out from, though it is no checkpoint and comes after the next commit", () => {
    const bytes = manifestBytes({ ...MANIFEST, job: { ...MANIFEST.job, evaluateEvery: 4 } });
    const found = { ...(ENTRIES[1] as Extract<Entry, { kind: "rate" }>), why: "found" };
    const ways: Entry[][] = [
      [commit(0), commit(1), restore(0, after(0)), found, commit(2), evaluation(0, after(0))],
      [commit(0), found, commit(1), evaluation(0, after(0))],
    ];
    for (const way of ways) {
      const ledger = signed([ENTRIES[0] as Entry, evaluation(-1, after()), ...way], signingKey, sha256Hex(bytes));
      expect(write(ledger, undefined, bytes)).toMatchObject({ ok: true, entries: way.length + 2 });
      rmSync(join(dir, "out"), { recursive: true });
    }
  });

  it("says every entry in a line; a state hash stands only where it is the state after that line", () => {
    write(LEDGER);
    const step = (n: number) => {
      const { meanLoss, contributors, groups } = commit(n);
      return { kind: "commit", step: n, groups: groups.map((group) => ({ ...group, a: Array.from(group.a) })), meanLoss, contributors };
    };
    const evaluated = (n: number) => ({ kind: "evaluation", evaluated: n, loss: 0.625, score: 0.75, examples: 8 });
    const expected = [
      { kind: "roster", peers: [{ peerId: "12D3KooWAAAAAAAAAAAAAAAAAAAA", name: "Ada" }] },
      {
        kind: "rate",
        settings: { rate: 0.01, epsilonLog2: -10, groups: 2, directionsLog2: 3, probing: false, reference: 2.5 },
        why: "a probe",
      },
      { ...evaluated(-1), stateHash: MANIFEST.stateHash },
      step(0),
      step(1),
      // It came after the commit of step 1: another state than the one it is about.
      evaluated(0),
      { ...evaluated(1), stateHash: after(0, 1) },
      { kind: "restore", restore: -1, stateHash: after() },
      step(2),
      { kind: "restore", restore: 0, stateHash: after(0) },
      // Evaluated before the rollback, told after it.
      evaluated(2),
      { kind: "epoch", epoch: 1 },
      step(3),
      step(4),
      { kind: "end", reason: "forwards", why: "enough", stateHash: after(0, 3, 4) },
    ].map((line, seq) => ({ seq, ...line }));
    expect(readLines().map((line) => JSON.parse(line))).toEqual(expected);
    expect(readBack("ledger.jsonl").at(-1)).toBe(10);
  });

  it("can be replayed from its files alone by the plain implementation", () => {
    write(LEDGER);
    const { tensors, key }: Manifest = JSON.parse(readBack("manifest.json").toString("utf8"));
    const kept = new Map([[-1, splitTensors(Uint8Array.from(readBack("initial.bin")), tensors)]]);
    let x = copies(kept.get(-1) ?? []);
    const hashes: [string, string][] = [];
    for (const { groups, step, restore, stateHash: stated } of readLines().map((line): Line => JSON.parse(line))) {
      if (groups) {
        commitPlain(x, tensors, key, { step, groups });
        kept.set(step, copies(x));
      }
      if (restore !== undefined) x = copies(kept.get(restore) ?? []);
      if (stated !== undefined) hashes.push([stated, stateHash(x)]);
    }
    expect(hashes.map(([stated]) => stated)).toEqual(hashes.map(([, replayed]) => replayed));
    expect(hashes).toHaveLength(5);
    expect(readLines().at(-1)).toContain(`"stateHash":"${hashes.at(-1)?.[1]}"`);
  });

  it("keeps the chain as it was signed: lengths, bytes, links and signatures", () => {
    write(LEDGER);
    const chain = Uint8Array.from(readBack("chain.bin"));
    const found: Uint8Array[] = [];
    for (let at = 0; at < chain.byteLength; ) {
      const length = new DataView(chain.buffer, at, 4).getUint32(0, true);
      found.push(chain.slice(at + 4, at + 4 + length));
      at += 4 + length;
    }
    expect(found.map(toHex)).toEqual(LEDGER.map(toHex));
    const announcements = found.flatMap((bytes) => {
      const parsed = parseAnnouncement(bytes);
      return parsed.ok ? [parsed.announcement] : [];
    });
    const key = commitVerifier(publicHex);
    expect(announcements.map((each) => verifyAnnouncement(each, key))).toEqual(ENTRIES.map(() => true));
    expect(announcements.map(({ prevHash }) => prevHash)).toEqual([JOB, ...announcements.slice(0, -1).map(({ hash }) => hash)]);
    expect(announcements.map(({ entry }) => entry)).toEqual(ENTRIES);
  });

  it.skipIf(!HAS_REFERENCE)("is replayed to the same state hash by the independent reading in numpy", () => {
    write(LEDGER);
    const { status, stdout, stderr } = spawnSync("python3", [REFERENCE, "replay", join(dir, "out")], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout.trim().split("\n")).toEqual([`initial ${after()}`, "steps 5", `final ${after(0, 3, 4)}`]);
  });

  it("of a ledger without entries ends in the initial state, and may fill an empty folder", () => {
    mkdirSync(join(dir, "out"));
    expect(write([])).toEqual({ ok: true, entries: 0, steps: 0, stateHash: MANIFEST.stateHash });
    expect([readBack("ledger.jsonl").byteLength, readBack("chain.bin").byteLength]).toEqual([0, 0]);
  });
});

describe("nothing is left behind", () => {
  const refused = (code: string, message: string) => ({ ok: false, code, message: expect.stringContaining(message) });
  const swapped = (seq: number, ...instead: Uint8Array[]) => [...LEDGER.slice(0, seq), ...instead, ...LEDGER.slice(seq + 1)];
  const at = (seq: number) => LEDGER[seq] as Uint8Array;
  const flipped = (bytes: Uint8Array, i: number) => bytes.map((byte, j) => (j === i ? byte ^ 1 : byte));
  const coefficient = Buffer.from(at(3)).indexOf(packCoefficients(commit(0).groups[0]?.a ?? []).bytes);
  const otherKey = readCommitKey(createCommitKey().privatePem).key;
  const forked = signed(ENTRIES.map((entry) => (entry.kind === "rate" ? { ...entry, rate: 0.5 } : entry)));

  it.each<[string, Uint8Array[], string]>([
    ["a bit of a signature is flipped", swapped(4, flipped(at(4), at(4).byteLength - 1)), "entry 4 does not hold: bad-signature"],
    ["a coefficient is flipped", swapped(3, flipped(at(3), coefficient)), "entry 3 does not hold: bad-signature"],
    ["somebody else signed", signed(ENTRIES, otherKey), "entry 0 does not hold: bad-signature"],
    ["an entry is missing", swapped(3), "entry 3 does not hold: gap"],
    ["an entry stands twice", swapped(5, at(4)), "entry 5 does not hold: repeat"],
    ["a branch of another history goes on", [...LEDGER.slice(0, 4), ...forked.slice(4)], "entry 4 does not hold: fork"],
    ["bytes are cut off", swapped(13, at(13).slice(0, -1)), "entry 13 does not hold: malformed"],
    ["a task without an entry stands in it", signed([...ENTRIES, null]), "entry 15 breaks the ledger's rules"],
    ["a step comes after the end", signed([...ENTRIES, commit(5)]), "entry 15 breaks the ledger's rules"],
    ["a step comes again", signed([...ENTRIES.slice(0, -1), commit(4)]), "entry 14 breaks the ledger's rules"],
    ["a restore names a step that never was", signed([...ENTRIES.slice(0, -1), restore(9, after())]), "entry 14 breaks the ledger's rules"],
  ])("where %s", (_, ledger, message) => {
    expect(write(ledger)).toEqual(refused("ledger-damaged", message));
    expect(readdirSync(dir)).toEqual(["initial"]);
  });

  it.each<[string, Entry]>([
    ["an evaluation", evaluation(4, after(0, 1, 3, 4))],
    ["an evaluation of an earlier step", evaluation(0, after(1))],
    ["a restore", restore(1, after(1))],
  ])("where %s states another hash than the replay gives", (_, entry) => {
    expect(write(signed([...ENTRIES.slice(0, -1), entry]))).toEqual(refused("wrong-state", "entry 14: it states the state hash"));
    expect(readdirSync(dir)).toEqual(["initial"]);
  });

  it("where the initial state is another, outside the lattice, cut short, or not there", () => {
    const bytes = readFileSync(join(dir, "initial"));
    for (const [i, mask] of [
      [100, 1],
      [3, 0x70],
    ] as const) {
      writeFileSync(
        join(dir, "initial"),
        bytes.map((byte, j) => (j === i ? byte ^ mask : byte)),
      );
      expect(write(LEDGER)).toEqual(refused("wrong-state", "is not the initial state that the manifest names"));
    }
    for (const cut of [bytes.subarray(0, -1), new Uint8Array(0), Buffer.concat([bytes, bytes])]) {
      writeFileSync(join(dir, "initial"), cut);
      expect(write(LEDGER)).toEqual(refused("wrong-state", "is not the initial state that the manifest names"));
    }
    expect(() => write(LEDGER, join(dir, "none"))).toThrow("ENOENT");
    expect(readdirSync(dir)).toEqual(["initial"]);
  });

  it("where the folder holds a file already, which stays as it was", () => {
    mkdirSync(join(dir, "out"));
    writeFileSync(join(dir, "out", "manifest.json"), "mine");
    expect(write(LEDGER)).toEqual(refused("folder-not-empty", `${join(dir, "out")} holds files already`));
    expect(readdirSync(dir).sort()).toEqual(["initial", "out"]);
    expect(readdirSync(join(dir, "out"))).toEqual(["manifest.json"]);
    expect(readBack("manifest.json").toString()).toBe("mine");
  });
});
