/** The loop and the gains that tricks are compared by, on a tiny job. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyJob } from "../../e2e/tinyjob.ts";
import { type Lab, openLab } from "./lab.ts";
import { type Tensor, withGains } from "./tricksgains.ts";
import { TRICKS } from "./trickslist.ts";
import { type Settings, train } from "./trickstrain.ts";

const BASE: Settings = {
  ...{ m: 4, groups: 1, batch: 8, estimator: "one-sided", rule: "normalised" },
  ...{ rate: 0.01, clip: 2, epsilonLog2: -10 },
};
let dir: string;
let job: Record<string, unknown>;
let lab: Lab;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-tricks-"));
  const { model, tokenizer, train: rows, heldout } = await writeTinyJob(join(dir, "input"), { width: 8 });
  job = {
    name: "tiny",
    model,
    tokenizer,
    train: rows,
    heldout,
    labels: ["weather", "kitchen"],
    batch: 8,
    maxTokens: 16,
    steps: 10,
    rate: 1,
  };
  lab = await openLab(job, join(dir, "data"));
});
afterAll(async () => {
  await lab.close();
  await rm(dir, { recursive: true, force: true });
});

describe("train", () => {
  it("looks before a step would cost too much, and counts passes over full batches", async () => {
    const steps = async (settings: Partial<Settings>) =>
      (await train(lab, { name: "one", settings: () => settings }, BASE, 1, [40, 100])).map((point) => [point.forwards, point.steps]);
    expect(await steps({})).toEqual([
      [32, 2],
      [96, 6],
    ]);
    expect(await steps({ estimator: "two-sided", batch: 4, groups: 2 })).toEqual([
      [32, 1],
      [96, 3],
    ]);
  });

  it("judges the mean of the last states and goes on from the last one", async () => {
    const looks = [64, 128];
    const [plain, averaged] = [
      await train(lab, { name: "plain" }, BASE, 1, looks),
      await train(lab, { name: "averaged", averaged: 0.5 }, BASE, 1, looks),
    ];
    const end = await lab.stateHash();
    expect(averaged[1]?.loss).not.toBe(plain[1]?.loss);
    await train(lab, { name: "plain" }, BASE, 1, looks);
    expect(await lab.stateHash()).toBe(end);
  });

  it("takes every trick of the list", async () => {
    for (const trick of TRICKS.filter(({ gains }) => gains === undefined)) {
      const points = await train(lab, trick, { ...BASE, m: 2 }, 1, [64]);
      expect(points[0]?.loss, trick.name).toBeGreaterThan(0);
    }
  });
});

describe("withGains", () => {
  it("keeps the length of a step, and freezes where it is told to", async () => {
    const { tensors } = lab.manifest;
    const first = tensors[0]?.name;
    const rule = { gain: ({ name }: { name: string }) => (name === first ? null : 2.2) };
    const { keys, times } = await withGains(job, lab, rule, dir);
    expect(keys).toMatchObject({ gains: tensors.slice(1).map(({ name }) => ({ pattern: name, gain: 2 })) });
    const counts = tensors.map(({ shape }) => elementsOf(shape));
    const all = counts.reduce((sum, count) => sum + count, 0);
    expect(16 * (all - (counts[0] as number)) * times ** 2).toBeCloseTo(all, 6);
  });

  it("finds out where the losses change most", async () => {
    const seen = new Map<string, number>();
    const gain = ({ name, signal }: Tensor) => {
      seen.set(name, signal);
      return 0;
    };
    await withGains(job, lab, { gain, usesSignal: true }, dir);
    // A classifier of zeros passes nothing on to what is before it.
    const [most, next = Number.NaN] = [...seen.values()].sort((one, other) => other - one);
    expect(seen.get("classifier.weight")).toBe(most);
    expect([...seen].find(([, signal]) => signal === next)?.[0]).toBe("classifier.bias");
  });
});
