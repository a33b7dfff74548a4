/** A real small job's model, opened in both ways: as a frozen encoder, and over plain arrays. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeShard, type Example } from "@zoswarm/shared/data/examples";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readJobFile } from "../../../coordinator/src/config.ts";
import { createJob } from "../../../coordinator/src/create.ts";
import { filesOf, readFolder, specOf } from "../../../coordinator/src/folder.ts";
import { type TinyJob, writeTinyJob } from "../../e2e/tinyjob.ts";
import { openEncoder } from "./features.ts";
import { headReference } from "./head.ts";
import { mezoStep, openPlain } from "./mezo.ts";

const WEIGHT = "classifier.weight";
const WIDTH = 16;
let dir: string;
let job: TinyJob;
let manifest: Manifest;
let pathOf: (id: string) => string;
let examples: Example[];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-quality-"));
  job = await writeTinyJob(join(dir, "input"), { width: WIDTH });
  const read = await readJobFile(job.job);
  if (!read.ok) throw new Error(read.message);
  const hashed = await specOf(read.job);
  if (!hashed.ok) throw new Error(hashed.message);
  const made = await createJob(hashed.spec, join(dir, "data"));
  if (!made.ok) throw new Error(made.message);
  const folder = readFolder(join(dir, "data"));
  if (!folder.ok) throw new Error(folder.message);
  manifest = folder.manifest;
  const files = filesOf(join(dir, "data"));
  pathOf = (await openBlobFiles(files.blobs)).path;
  examples = decodeShard(Uint8Array.from(await readFile(files.heldout)));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe("openEncoder and openPlain", () => {
  it("agree on what the last layer sees", async () => {
    const encoder = await openEncoder(job.model, WEIGHT, manifest.inputs);
    const { features, forwards } = await encoder.featuresOf(examples.slice(0, 20), 8);
    await encoder.close();
    expect({ forwards, width: features.width, labels: [...features.labels] }).toEqual({
      forwards: 3,
      width: WIDTH,
      labels: examples.slice(0, 20).map(({ label }) => label),
    });
    const plain = await openPlain(manifest, pathOf);
    expect(encoder.parameters).toBe(plain.parameters.reduce((sum, { length }) => sum + length, 0));
    // A last layer that passes on the third and the tenth feature.
    const weight = plain.parameters[manifest.tensors.findIndex(({ name }) => name === WEIGHT)] as Float32Array;
    weight[2 * 2] = 1;
    weight[2 * 9 + 1] = 1;
    const { scores } = await plain.judge.observe(examples.slice(0, 20));
    await plain.close();
    scores.forEach(([third, tenth], row) => {
      expect(third).toBeCloseTo(features.values[row * WIDTH + 2] as number, 5);
      expect(tenth).toBeCloseTo(features.values[row * WIDTH + 9] as number, 5);
    });
  });

  it("name the weight that no product reads", async () => {
    await expect(openEncoder(job.model, "no.weight", manifest.inputs)).rejects.toThrow(/no product of a value with "no.weight"/);
  });
});

describe("openPlain", () => {
  it("lets MeZO train, and comes back to the initial state", async () => {
    const { parameters, judge, reset, close } = await openPlain(manifest, pathOf);
    const lossAt = async () => judge.lossOf([await judge.observe(examples)]) ?? Number.NaN;
    expect(await lossAt()).toBeCloseTo(Math.log(2), 6);
    for (let t = 0; t < 200; t++) await mezoStep({ parameters, lossAt, seed: 1, epsilon: 1e-3, rate: 0.02 }, t);
    expect(await lossAt()).toBeLessThan(0.6);
    await reset();
    expect(await lossAt()).toBeCloseTo(Math.log(2), 6);
    await close();
  });
});

describe("headReference", () => {
  it("trains the last layer, and counts what that takes", async () => {
    const found = await headReference({
      model: job.model,
      weight: WEIGHT,
      inputs: manifest.inputs,
      classes: 2,
      train: examples.slice(0, 50),
      heldout: examples.slice(50),
      seed: 1,
    });
    expect(found.curve).toHaveLength(found.epochs);
    expect(found.curve.at(-1)?.loss).toBeLessThan(0.5);
    expect(found).toMatchObject({ forwards: 3, forwardEquivalents: 3, wireBytesPerStep: { head: 4 * (2 * WIDTH + 2) } });
  });
});
