import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { readJobFile } from "./config.ts";
import { courseOf } from "./jobfile.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const LEAST = {
  name: "Job",
  model: "m.onnx",
  tokenizer: "sub/t.json",
  train: "/data/train.jsonl",
  heldout: "h.jsonl",
  steps: 10,
  rate: 1e-4,
};

async function read(content: string | Record<string, unknown>) {
  const file = join(folder, "job.yaml");
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return readJobFile(file);
}

async function faultsOf(content: Record<string, unknown>): Promise<string[]> {
  const answer = await read(content);
  if (answer.ok) throw new Error("it was taken");
  expect(answer.code).toBe("job-invalid");
  const [first, ...faults] = answer.message.split("\n");
  expect(first).toMatch(/^job file .+job\.yaml: (a fault|\d+ faults)$/);
  return faults;
}

describe("readJobFile", () => {
  it("fills in what is not said, and resolves paths against the file", async () => {
    const answer = await read(
      "name: Job\nmodel: m.onnx\ntokenizer: sub/t.json\ntrain: /data/train.jsonl\nheldout: h.jsonl\nsteps: 10\nrate: 1e-4\n",
    );
    expect(answer).toEqual({
      ok: true,
      job: {
        ...LEAST,
        model: join(folder, "m.onnx"),
        tokenizer: join(folder, "sub", "t.json"),
        heldout: join(folder, "h.jsonl"),
        ...{ maxTokens: 128, stop: {}, batch: 16, estimator: "one-sided", rule: "normalised" },
        ...{
          gains: [],
          evaluateEvery: 5,
          staleness: 0,
          deadlineSeconds: 30,
          deadlineFloorSeconds: 2,
          quorum: 0.5,
          trained: "full",
          seed: "zoswarm",
        },
        ...{ objective: "classification", measure: "loss", on: "completion", packed: false },
        columns: { text: "text", label: "label", value: "value", target: "target", inputs: {} },
      },
    });
    expect(await read(LEAST)).toEqual(answer);
  });

  it("names every key that is wrong, and no other", async () => {
    const wrong = {
      name: "",
      model: 7,
      labels: ["one"],
      maxTokens: 0,
      steps: 1.5,
      groups: 65,
      batch: 4097,
      epsilonLog2: 1,
      estimator: "three-sided",
      rule: "other",
      rate: 0,
      evaluateEvery: 0,
      deadlineSeconds: 0.01,
      quorum: 1.1,
      unknown: true,
    };
    const keys = fc.subarray(Object.keys(wrong) as (keyof typeof wrong)[], { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(keys, async (chosen) => {
        const faults = await faultsOf({ ...LEAST, ...Object.fromEntries(chosen.map((key) => [key, wrong[key]])) });
        expect(faults.map((fault) => /^ {2}(\w+): /.exec(fault)?.[1]).sort()).toEqual([...chosen].sort());
      }),
    );
  });

  it("names the place inside a list, and what stands there", async () => {
    const gains = [
      { pattern: "a", gain: 1 },
      { pattern: "", gain: 9, gian: 1 },
    ];
    const faults = await faultsOf({ ...LEAST, gains });
    expect(faults).toHaveLength(3);
    expect(faults.join("\n")).toMatch(/ {2}gains\.1\.pattern: .+\(it is ""\)/);
    expect(faults.join("\n")).toMatch(/ {2}gains\.1\.gain: .+<=8 \(it is 9\)/);
    expect(faults.join("\n")).toContain("  gains.1.gian: unknown key");
  });

  it("says which keys are missing", async () => {
    const { tokenizer: _, steps: _steps, rate: _rate, ...needed } = LEAST;
    expect((await faultsOf({})).map((fault) => fault.replace(/( \(|; ).*/, ""))).toEqual(
      [...Object.keys(needed), "tokenizer"].map((key) => `  ${key}: is missing`),
    );
  });

  it("refuses keys that do not fit together, also beside other faults, but not where one of them is wrong by itself", async () => {
    const many = { groups: 2, directionsLog2: 16 };
    expect(await faultsOf({ ...LEAST, ...many })).toEqual([expect.stringMatching(/131072 directions a step; at most 65536 fit/)]);
    expect(await faultsOf({ ...LEAST, ...many, rate: -1 })).toHaveLength(2);
    expect(await faultsOf({ ...LEAST, ...many, groups: 65 })).toEqual([expect.stringContaining("  groups: ")]);
    expect(await faultsOf({ ...LEAST, directionsLog2: 1 })).toEqual([expect.stringContaining("at least 2 (it is 1)")]);
    expect(await read({ ...LEAST, directionsLog2: 1, estimator: "two-sided" })).toMatchObject({ ok: true });
    const { rate: _, steps: _steps, ...automatic } = LEAST;
    expect(await faultsOf({ ...automatic, rule: "plain" })).toEqual([
      "  rate: is chosen only under rule: normalised (it is plain); give a rate, or leave the rule out",
    ]);
    expect(await faultsOf({ ...LEAST, rule: "plain", rate: -1 })).toEqual([expect.stringContaining("  rate: ")]);
    expect(await faultsOf({ ...automatic, ...many })).toHaveLength(1);
    expect(await faultsOf({ ...automatic, steps: 39 })).toEqual([
      "  steps: a job whose rate is chosen needs at least 40 (it is 39); raise it, or give a rate",
    ]);
    expect(await faultsOf({ ...automatic, directionsLog2: 5, stop: { forwards: 1279 } })).toEqual([
      "  stop.forwards: a job whose rate is chosen needs at least 1280, for 40 steps of 32 directions (it is 1279); raise it, or give a rate",
    ]);
    expect(await faultsOf({ ...automatic, directionsLog2: 10 })).toEqual([expect.stringContaining("at least 40960")]);
    expect(await read({ ...automatic, directionsLog2: 10, steps: 40 })).toMatchObject({ ok: true });
  });

  it("fixes everything where a rate is given, as the job file or as usual, and else leaves what is not given to the coordinator", async () => {
    const { rate, steps, ...rest } = LEAST;
    const courseOfFile = async (keys: Record<string, unknown>) => {
      const answer = await read({ ...rest, ...keys });
      return answer.ok ? courseOf(answer.job) : answer;
    };
    const nothing = { target: null, patience: null, forwards: null };
    expect(await courseOfFile({ rate, steps })).toEqual({
      ...{ steps: 10, rate, epsilonLog2: -10, groups: 1, directionsLog2: 4, stop: nothing },
    });
    expect(await courseOfFile({ rate, epsilonLog2: -7, groups: 2, stop: { target: 0.9 } })).toEqual({
      ...{ steps: LIMITS.stepsMax, rate, epsilonLog2: -7, groups: 2, directionsLog2: 4 },
      stop: { ...nothing, target: 0.9, forwards: 20_000 },
    });
    const open = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };
    expect(await courseOfFile({})).toEqual({ ...open, steps: LIMITS.stepsMax, stop: { target: null, patience: 12, forwards: 20_000 } });
    expect(await courseOfFile({ steps: 40, directionsLog2: 6 })).toEqual({ ...open, steps: 40, directionsLog2: 6, stop: nothing });
    expect(await courseOfFile({ stop: { patience: 3, forwards: 640 } })).toMatchObject({
      stop: { target: null, patience: 3, forwards: 640 },
    });
  });

  it("refuses what the objective cannot use, with what it needs", async () => {
    for (const [keys, fault] of [
      [{ objective: "masked-lm" }, "  words: objective masked-lm needs a label word for each class"],
      [{ words: ["bad", "good"] }, "  template: label words need a prompt"],
      [{ objective: "regression", completion: "x" }, "  completion: is for objective causal-lm; the objective is regression"],
      [{ objective: "reward" }, "  reward: the objective needs a JavaScript file"],
      [{ reward: "r.js" }, "  reward: is not used"],
      [{ measure: "exact-match" }, "  generate: exact-match compares generated text"],
      [{ generate: { tokens: 4 } }, "  generate: is for exact-match and rewards"],
      [{ objective: "causal-lm", packed: true, template: "{text}" }, "  packed: is for plain texts"],
      [{ objective: "regression", measure: "accuracy" }, "  measure: accuracy needs classes"],
      [{ tokenizer: undefined }, "  tokenizer: is missing; or else columns.inputs"],
    ] as const)
      expect(await faultsOf({ ...LEAST, ...keys })).toEqual([expect.stringContaining(fault)]);
    const { tokenizer: _, ...pictures } = LEAST;
    expect(await read({ ...pictures, columns: { inputs: { image: "pixels" } } })).toMatchObject({ ok: true });
  });

  it("takes data files with their format, and places all of them beside the job file", async () => {
    const train = { file: "t.txt", format: "text", by: "paragraph" };
    expect(await read({ ...LEAST, train, heldout: { share: 0.1 } })).toMatchObject({
      ok: true,
      job: { train: { ...train, file: join(folder, "t.txt") }, heldout: { share: 0.1 } },
    });
    expect(await faultsOf({ ...LEAST, heldout: { share: 1 } })).toEqual([expect.stringContaining("  heldout")]);
  });

  it("refuses what is no list of keys, no YAML, or not there", async () => {
    for (const content of ["", "7", "[1]", "text"])
      expect(await read(content)).toMatchObject({ code: "job-invalid", message: expect.stringContaining("a list of keys and values") });
    expect(await read("steps: [")).toMatchObject({ ok: false, code: "job-malformed" });
    expect(await read("steps: 1\nsteps: 2\n")).toMatchObject({ code: "job-malformed", message: expect.stringContaining("must be unique") });
    expect(await readJobFile(join(folder, "none.yaml"))).toMatchObject({ ok: false, code: "job-unreadable" });
  });
});
