import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "@zoswarm/shared/data/batches";
import type { Example } from "@zoswarm/shared/data/examples";
import type { LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import { beforeAll, describe, expect, it } from "vitest";
import { type DataOptions, readData } from "./data.ts";
import { ID, jobOf, objectiveOf, testFolder, wordTokenizer } from "./job.testing.ts";

const dir = testFolder();
let tokenizer: LoadedTokenizer;
beforeAll(async () => {
  tokenizer = await wordTokenizer(dir, { framed: false });
});

let files = 0;
function fileOf(rows: readonly object[]): string {
  const file = join(dir, `rows${files++}.jsonl`);
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

/** Rows of two letters each, all different. */
const rowsOf = (count: number, labelOf: (i: number) => unknown = (i) => i % 2) =>
  Array.from({ length: count }, (_, i) => ({ text: `${"abcdefghij"[Math.floor(i / 10)]} ${"abcdefghij"[i % 10]}`, label: labelOf(i) }));

const read = (job: Record<string, unknown>, more: Partial<DataOptions> = {}) =>
  readData(jobOf(job), { objective: objectiveOf(), features: [], tokenizer, fixedLength: null, ...more });

async function data(...args: Parameters<typeof read>) {
  const made = await read(...args);
  if (!made.ok) throw new Error(made.message);
  return made;
}

async function faultOf(...args: Parameters<typeof read>) {
  const made = await read(...args);
  return made.ok ? "none" : { code: made.code, message: made.message };
}

const shown = (examples: readonly Example[]) => examples.map(({ tokens }) => Array.from(tokens).join(" "));
const countsOf = (examples: readonly Example[]) => [0, 1].map((label) => examples.filter((each) => each.label === label).length);

describe("held-out rows", () => {
  it("come from a file of their own, in its order", async () => {
    const heldout = fileOf([
      { text: "j j", label: 1 },
      { text: "i", label: 0 },
    ]);
    const made = await data({ train: fileOf(rowsOf(4)), heldout });
    expect(made).toMatchObject({ classes: 2, labels: ["0", "1"], truncated: 0, train: { length: 4 } });
    expect(made.heldout).toMatchObject([
      { tokens: [ID.j, ID.j], label: 1 },
      { tokens: [ID.i], label: 0 },
    ]);
  });

  it.each([
    ["a share", { share: 0.2 }, [4, 4], [16, 16]],
    ["a number of each class", { perClass: 3 }, [3, 3], [17, 17]],
  ])("are %s of the training rows, and are never trained on", async (_, heldout, held, left) => {
    const made = await data({ train: fileOf(rowsOf(40)), heldout });
    expect(countsOf(made.heldout)).toEqual(held);
    expect(countsOf(made.train)).toEqual(left);
    const kept = new Set(shown(made.heldout));
    expect(shown(made.train).filter((row) => kept.has(row))).toEqual([]);
  });

  it("that stand in the training file twice are in neither part a second time", async () => {
    const twice = [...rowsOf(20), ...rowsOf(20)];
    const made = await data({ train: fileOf(twice), heldout: { perClass: 4 } });
    const kept = new Set(shown(made.heldout));
    expect(kept.size).toBe(8);
    expect(made.train).toHaveLength(40 - 2 * 8);
    expect(shown(made.train).some((row) => kept.has(row))).toBe(false);
  });

  it("are the same for the same job, and others for another seed", async () => {
    const train = fileOf(rowsOf(60));
    const job = { train, heldout: { perClass: 5 }, shots: 8 };
    expect(await data(job)).toEqual(await data(job));
    const [one, other] = [await data(job), await data({ ...job, seed: "another" })];
    expect(shown(one.heldout)).not.toEqual(shown(other.heldout));
    expect(shown(one.train)).not.toEqual(shown(other.train));
  });
});

describe("shots", () => {
  it("are so many rows of each class, the fewer among the more, and none of what is held out", async () => {
    const train = fileOf(rowsOf(60));
    const [few, more] = [
      await data({ train, heldout: { share: 0.25 }, shots: 3 }),
      await data({ train, heldout: { share: 0.25 }, shots: 6 }),
    ];
    expect([countsOf(few.train), countsOf(more.train)]).toEqual([
      [3, 3],
      [6, 6],
    ]);
    expect(shown(few.heldout)).toEqual(shown(more.heldout));
    const [within, kept] = [new Set(shown(more.train)), new Set(shown(few.heldout))];
    expect(shown(few.train).every((row) => within.has(row))).toBe(true);
    expect(shown(more.train).some((row) => kept.has(row))).toBe(false);
  });

  it("beyond what a class has are refused by the class's name, as is too much that is held out", async () => {
    const train = fileOf(rowsOf(10, (i) => (i < 3 ? "rare" : "usual")));
    const heldout = fileOf([{ text: "j", label: "rare" }]);
    expect(await faultOf({ train, heldout, shots: 4 })).toEqual({
      code: "too-few-rows",
      message: "shots: class rare has 3 distinct texts, fewer than the 4 to hold out; add rows or hold out fewer",
    });
    expect(await faultOf({ train, heldout: { perClass: 4 } })).toMatchObject({
      message: expect.stringMatching(/^heldout: class rare has 3/),
    });
    expect(await faultOf({ train: fileOf(rowsOf(4)), heldout: { perClass: 2 } })).toEqual({
      code: "too-few-rows",
      message: "train: no row is left to train on; hold out fewer",
    });
  });
});

describe("labels", () => {
  const heldout = () => fileOf([{ text: "a", label: 0 }]);

  it("are the job's names, at their index, which the data may use too", async () => {
    const train = fileOf(rowsOf(4, (i) => ["ham", "spam", 0, 1][i]));
    const made = await data({ train, heldout: heldout(), labels: ["spam", "ham"] });
    expect(made).toMatchObject({ classes: 2, labels: ["spam", "ham"] });
    expect(made.train.map(({ label }) => label)).toEqual([1, 0, 0, 1]);
  });

  it("are found in both files, in sorted order, where the job names none", async () => {
    const made = await data(
      { train: fileOf(rowsOf(4, (i) => ["yes", "no"][i % 2])), heldout: fileOf([{ text: "a", label: "maybe" }]) },
      { objective: objectiveOf({ classes: 0 }) },
    );
    expect(made).toMatchObject({ classes: 3, labels: ["maybe", "no", "yes"] });
    expect(made.train.map(({ label }) => label)).toEqual([2, 1, 2, 1]);
  });

  it("are numbers up to the model's last class, though the data has three of 214", async () => {
    const train = fileOf(rowsOf(30, (i) => [3, 70, 213][i % 3]));
    const made = await data({ train, heldout: { perClass: 2 }, shots: 4 }, { objective: objectiveOf({ classes: 214 }) });
    expect(made.classes).toBe(214);
    expect(made.labels).toHaveLength(214);
    expect(new Set(made.train.map(({ label }) => label))).toEqual(new Set([3, 70, 213]));
    expect([made.train.length, made.heldout.length]).toEqual([12, 6]);
    const labels = made.train.map(({ label }) => label);
    const batch = batchOf({ jobId: "ab".repeat(32), step: 0, group: 0, size: 6, labels, classes: made.classes });
    expect(batch.map((i) => labels[i]).sort()).toEqual([213, 213, 3, 3, 70, 70]);
    // Names have no numbers to go by, but the model still has all its classes.
    const named = await data(
      { train: fileOf(rowsOf(6, (i) => ["no", "yes"][i % 2])), heldout: { perClass: 1 } },
      { objective: objectiveOf({ classes: 5 }) },
    );
    expect(named).toMatchObject({ classes: 5, labels: ["no", "yes"] });
  });

  it("that do not fit the model are refused", async () => {
    const train = fileOf(rowsOf(6, (i) => i % 3));
    expect(await faultOf({ train, heldout: heldout() })).toEqual({
      code: "records-malformed",
      message: expect.stringMatching(/rows\d+\.jsonl:3: label: 2 is no label; the 2 labels are "0", "1"\n.*:6: label: 2 is no label/),
    });
    const named = { train: fileOf(rowsOf(3, (i) => ["x", "y", "z"][i])), heldout: fileOf([{ text: "a", label: "x" }]) };
    expect(await faultOf(named)).toEqual({
      code: "labels-misfit",
      message: "label: the data has 3 labels, the model 2 classes; correct the data, or take another model",
    });
    expect(await faultOf({ train, heldout: heldout(), labels: ["a", "b", "c"] })).toMatchObject({ code: "labels-misfit" });
    expect(await faultOf({ train, heldout: fileOf([{ text: "a", label: 7 }]) }, { objective: objectiveOf({ classes: 3 }) })).toMatchObject({
      message: expect.stringMatching(/rows\d+\.jsonl:1: label: 7 is no label/),
    });
  });
});

describe("readData", () => {
  it("splits rows without classes as one", async () => {
    const job = { objective: "causal-lm", train: fileOf(rowsOf(20)), heldout: { perClass: 5 } };
    const made = await data(job, { objective: objectiveOf({ kind: "tokens", classes: 0 }) });
    expect(made).toMatchObject({ classes: 0, labels: null, train: { length: 15 }, heldout: { length: 5 } });
  });

  it("refuses more tokens than the model takes, those that are generated among them", async () => {
    const job = { train: fileOf(rowsOf(4)), heldout: { perClass: 1 }, maxTokens: 8 };
    expect(await faultOf(job, { fixedLength: 7 })).toEqual({
      code: "too-many-tokens",
      message: "maxTokens: the model takes 7 tokens, no more; it is 8",
    });
    expect(await faultOf(job, { fixedLength: 8 })).toBe("none");
    expect(await faultOf(job, { fixedLength: 9, objective: objectiveOf({ generate: 3 }) })).toMatchObject({
      message: "maxTokens: the model takes 9 tokens, no more; it is 8, and 2 more are read to generate 3",
    });
  });

  it("says which file and column it lacks", async () => {
    const train = fileOf([{ text: "a" }]);
    expect(await faultOf({ train, heldout: { perClass: 1 } })).toMatchObject({
      message: expect.stringContaining(`${train}:1: label: is missing`),
    });
    expect(await faultOf({ train: fileOf(rowsOf(2)), heldout: join(dir, "none.jsonl") })).toMatchObject({
      code: "records-unreadable",
      message: expect.stringContaining("none.jsonl"),
    });
  });
});
