import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCommitKey } from "@zoswarm/shared/protocol/signing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { filesOf, type JobFolder, type JobSpec, readFolder, readFolderKey, refuseOther, specOf, stateOf } from "./folder.ts";
import type { JobFile } from "./jobfile.ts";
import { manifestOf } from "./round/driver.testing.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-folder-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const SPEC: JobSpec = {
  ...{ name: "Job", model: "/m", tokenizer: "/t", train: "/a", heldout: "/b", maxTokens: 8, steps: 10, groups: 1, directionsLog2: 3 },
  ...{ batch: 4, epsilonLog2: -10, estimator: "one-sided", rule: "normalised", rate: 0.1, gains: [], evaluateEvery: 5, stop: {} },
  ...{
    staleness: 0,
    deadlineSeconds: 1,
    deadlineFloorSeconds: 1,
    quorum: 0.5,
    seed: "s",
    objective: "classification",
    measure: "loss",
    on: "completion",
    packed: false,
  },
  ...{ trained: "full", columns: { text: "text", label: "label", value: "value", target: "target", inputs: {} } },
  sha256: { model: "11".repeat(32), tokenizer: "22".repeat(32), train: "33".repeat(32), heldout: "44".repeat(32) },
};

/** A folder as far as these functions read it. */
function writeFolder(at: string, spec: JobSpec = SPEC): { publicHex: string } {
  const { publicHex, privatePem } = createCommitKey();
  const files = filesOf(at);
  mkdirSync(at, { recursive: true });
  writeFileSync(files.spec, JSON.stringify(spec));
  writeFileSync(files.manifest, JSON.stringify(manifestOf(publicHex, {})));
  writeFileSync(files.commitKey, privatePem);
  return { publicHex };
}

function opened(at: string): JobFolder {
  const folder = readFolder(at);
  if (!folder.ok) throw new Error(folder.message);
  return folder;
}

describe("stateOf", () => {
  it("is free where nothing is, a job where one is, and foreign for everything else", () => {
    expect(stateOf(join(dir, "none"))).toBe("free");
    expect(stateOf(dir)).toBe("free");
    writeFileSync(join(dir, "letter.txt"), "");
    expect(stateOf(dir)).toBe("foreign");
    expect(stateOf(join(dir, "letter.txt"))).toBe("foreign");
    writeFolder(join(dir, "data"));
    expect(stateOf(join(dir, "data"))).toBe("job");
  });
});

describe("specOf", () => {
  it("hashes the files, and tells all that cannot be read at once", async () => {
    const [tokenizer, heldout] = [join(dir, "t"), join(dir, "h")];
    const job: JobFile = { ...SPEC, model: join(dir, "m"), tokenizer, train: join(dir, "m"), heldout };
    writeFileSync(job.model, "abc");
    const short = await specOf(job);
    expect(short).toMatchObject({ ok: false, code: "file-unreadable" });
    expect(!short.ok && short.message.split("\n")).toEqual([
      expect.stringContaining(`tokenizer: ${job.tokenizer} cannot be read`),
      expect.stringContaining(`heldout: ${heldout} cannot be read`),
    ]);
    writeFileSync(tokenizer, "");
    writeFileSync(heldout, "x");
    const read = await specOf(job);
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(read.ok && read.spec.sha256).toMatchObject({ model: abc, train: abc });
  });
});

describe("readFolder", () => {
  it("reads a job's folder and its own key", () => {
    const { publicHex } = writeFolder(dir);
    const folder = opened(dir);
    expect(folder.spec).toEqual(SPEC);
    expect(folder.manifest.commitKey).toBe(publicHex);
    expect(folder.jobId).toMatch(/^[0-9a-f]{64}$/);
    expect(readFolderKey(folder).asymmetricKeyType).toBe("ed25519");
    writeFileSync(filesOf(dir).commitKey, createCommitKey().privatePem);
    expect(() => readFolderKey(folder)).toThrow("is not the key of job");
  });

  it("refuses what is none, and names the file that is damaged", () => {
    expect(readFolder(join(dir, "none"))).toMatchObject({ ok: false, code: "not-a-data-folder" });
    writeFolder(dir);
    writeFileSync(filesOf(dir).manifest, "{}");
    expect(readFolder(dir)).toMatchObject({ code: "folder-damaged", message: expect.stringContaining(filesOf(dir).manifest) });
    rmSync(filesOf(dir).manifest);
    expect(readFolder(dir)).toMatchObject({ code: "folder-damaged", message: expect.stringContaining(dir) });
  });
});

describe("refuseOther", () => {
  it("takes an equal job, wherever its files lie", () => {
    writeFolder(dir);
    expect(refuseOther(opened(dir), { ...SPEC, model: "/elsewhere", train: "/renamed" })).toBeNull();
  });

  it("names both jobs and all that differs, also what only one of them says", () => {
    writeFolder(dir, { ...SPEC, labels: ["a", "b"] });
    const refused = refuseOther(opened(dir), { ...SPEC, name: "Other", steps: 11, sha256: { ...SPEC.sha256, train: "55".repeat(32) } });
    const lines = refused?.message.split("\n") ?? [];
    expect(lines[0]).toMatch(/^data folder .+ belongs to job "test" \(\w{12}\); the job file describes "Other", which differs:$/);
    expect(new Set(lines.slice(1, -1))).toEqual(
      new Set([
        '  name: "Job" there, "Other" in the job file',
        "  steps: 10 there, 11 in the job file",
        '  labels: ["a","b"] there, nothing in the job file',
        '  content of train: "333333333333" there, "555555555555" in the job file',
      ]),
    );
    expect(lines.at(-1)).toContain("--data");
  });
});
