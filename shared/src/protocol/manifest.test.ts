import { describe, expect, it } from "vitest";
import { LIMITS } from "./limits.ts";
import { type Manifest, manifestBytes, readManifest } from "./manifest.ts";
import { sha256Hex } from "./signing.ts";

const id = "ab".repeat(32);
const MANIFEST: Manifest = {
  ...{ version: 1, name: "job", key: [1, 2, 3, 4], commitKey: id, stateHash: id, staleness: 0, shardBytes: 7 },
  ...{ model: { id, bytes: 1 }, frozen: null, tokenizer: null, initial: { id, bytes: 4 }, examples: { id, bytes: 1 } },
  inputs: [
    { name: "ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } },
    { name: "past", type: "float32", dims: ["batch", 4, 0, 8], source: { from: "constant", value: 0 } },
  ],
  objective: { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null },
  tensors: [{ name: "w", shape: [2, 3], q: 22, gain: 0 }],
  job: {
    ...{ steps: 5, groups: 2, directionsLog2: 3, batch: 2, epsilonLog2: -10, estimator: "two-sided", rule: "normalised", rate: 0.01 },
    ...{ evaluateEvery: 1, deadlineMs: 1000, deadlineFloorMs: 1000, quorum: 0.5 },
    stop: { target: null, patience: null, forwards: null },
  },
};
const read = (change: Record<string, unknown>) => readManifest(manifestBytes({ ...MANIFEST, ...change } as Manifest));

describe("readManifest", () => {
  it("reads what was written; the job's id is the hash of those bytes", () => {
    const bytes = manifestBytes(MANIFEST);
    expect(readManifest(bytes)).toEqual({ ok: true, manifest: MANIFEST, jobId: sha256Hex(bytes) });
  });

  it.each<[string, Record<string, unknown>]>([
    ["another version", { version: 2 }],
    ["an unknown key", { more: 1 }],
    ["a name with control characters", { name: "a\u0007b" }],
    ["a key of three words", { key: [1, 2, 3] }],
    ["no tensors", { tensors: [] }],
    ["a lattice out of range", { tensors: [{ name: "w", shape: [2], q: 29, gain: 0 }] }],
    ["a gain that leaves the lattice", { tensors: [{ name: "w", shape: [2], q: 18, gain: -8 }] }],
    ["no inputs", { inputs: [] }],
    ["an input that nothing fills", { inputs: [{ ...MANIFEST.inputs[0], source: { from: "clock" } }] }],
    ["an input that would fill the memory", { inputs: [{ ...MANIFEST.inputs[1], dims: ["batch", 65_536, 65_536] }] }],
    ["a program that is too long", { objective: { ...MANIFEST.objective, reward: "x".repeat(65_537) } }],
    ["an unknown metric", { objective: { ...MANIFEST.objective, metric: "luck" } }],
    ["a rate of zero", { job: { ...MANIFEST.job, rate: 0 } }],
    ["a rate without its epsilon", { job: { ...MANIFEST.job, epsilonLog2: null } }],
    ["too many directions", { job: { ...MANIFEST.job, rate: null, directionsLog2: 16 } }],
    ["no patience at all", { job: { ...MANIFEST.job, stop: { ...MANIFEST.job.stop, patience: 0 } } }],
    ["a job that does not say what stops it", { job: { ...MANIFEST.job, stop: undefined } }],
    ["a blob that is no blob", { model: { id: "ab", bytes: 1 } }],
  ])("refuses %s", (_, change) => {
    expect(read(change)).toMatchObject({ ok: false, code: "wrong-schema" });
  });

  it("reads a job that leaves its settings to the coordinator, some of them given", () => {
    const stop = { target: 0.9, patience: 3, forwards: 20_000 };
    for (const given of [{}, { epsilonLog2: -8 }, { groups: 4, directionsLog2: 5 }]) {
      const job = { ...MANIFEST.job, rate: null, epsilonLog2: null, groups: null, directionsLog2: null, stop, ...given };
      expect(read({ job })).toMatchObject({ ok: true, manifest: { job } });
    }
  });

  it("refuses what is too large before it is read, and what is no JSON", () => {
    expect(readManifest(new Uint8Array(LIMITS.manifestBytesMax + 1))).toMatchObject({ ok: false, code: "too-large" });
    expect(readManifest(Uint8Array.of(0xff))).toMatchObject({ ok: false, code: "malformed" });
    expect(readManifest(new TextEncoder().encode("{"))).toMatchObject({ ok: false, code: "malformed" });
  });
});
