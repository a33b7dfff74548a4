/**
 * A job in one process: the coordinator's own making of it, the evaluator that workers run, and neither network nor disk in
 * between. What the quality benchmark compares runs in here, forward pass by forward pass, from a seed.
 */
import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { batchOf } from "@zoswarm/shared/data/batches";
import { decodeIndex, decodeShard, type Example } from "@zoswarm/shared/data/examples";
import type { Evaluation, MeasuredLoss } from "@zoswarm/shared/evaluate/calls";
import { loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import type { Estimator } from "@zoswarm/shared/protocol/announcement";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import type { Commit } from "@zoswarm/shared/zo/commit";
import type { Key } from "@zoswarm/shared/zo/lattice";
import { createJob } from "../../../coordinator/src/create.ts";
import { filesOf, readFolder, specOf } from "../../../coordinator/src/folder.ts";
import { jobFileSchema } from "../../../coordinator/src/jobfile.ts";
import { CURVATURE_BY } from "../../../coordinator/src/round/steer.ts";

export interface Lab {
  manifest: Manifest;
  /** The file of a blob. */
  pathOf(id: string): string;
  train: Example[];
  heldout: Example[];
  /** Forward passes of measurements since `reset`, evaluations left out. */
  forwards(): number;
  /** Back to the initial state, with the directions and batches of a seed. */
  reset(seed: number): Promise<void>;
  batch(step: number, group: number, size: number): Example[];
  measure(request: {
    step: number;
    group: number;
    m: number;
    epsilonLog2: number;
    estimator: Estimator;
    examples: readonly Example[];
    directions?: readonly number[];
  }): Promise<MeasuredLoss[]>;
  apply(commit: Commit): Promise<void>;
  restore(commits: readonly Commit[]): Promise<void>;
  stateHash(): Promise<string>;
  evaluate(examplesMax?: number): Promise<Evaluation>;
  curvature(step: number, epsilonLog2: number): Promise<{ curvature: number; forwards: number }>;
  close(): Promise<void>;
}

/** Makes the job that these keys describe, in a new folder `dir` that is removed at the end. */
export async function openLab(job: Record<string, unknown>, dir: string): Promise<Lab> {
  const hashed = await specOf(jobFileSchema.parse(job));
  if (!hashed.ok) throw new Error(hashed.message);
  const made = await createJob(hashed.spec, dir);
  if (!made.ok) throw new Error(made.message);
  const folder = readFolder(dir);
  if (!folder.ok) throw new Error(folder.message);
  const { manifest } = folder;
  const blobs = await openBlobFiles(filesOf(dir).blobs);
  const evaluator = startEvaluator({ threads: 1 });
  const heldout = Uint8Array.from(await readFile(filesOf(dir).heldout));
  await evaluator.call("setHeldout", { shards: [heldout] });
  const index = decodeIndex(Uint8Array.from(await readFile(blobs.path(manifest.examples.id))));
  const shards: Example[][] = [];
  for (const { id } of index.shards) shards.push(decodeShard(Uint8Array.from(await readFile(blobs.path(id)))));
  let jobId = "";
  let from = 0;
  let forwards = 0;
  return {
    manifest,
    pathOf: blobs.path,
    train: shards.flat(),
    heldout: decodeShard(heldout),
    forwards: () => forwards - from,
    async reset(seed) {
      jobId = createHash("sha256").update(`quality ${seed}`).digest("hex");
      const key = [0, 1, 2, 3].map((word) => Number.parseInt(jobId.slice(8 * word, 8 * word + 8), 16)) as unknown as Key;
      await evaluator.call("load", { ...loadRequestOf(manifest, blobs.path), key });
      from = forwards;
    },
    batch: (step, group, size) =>
      batchOf({ jobId, step, group, size, labels: index.labels, classes: manifest.objective.classes }).map(
        (i) => shards[Math.floor(i / index.perShard)]?.[i % index.perShard] as Example,
      ),
    async measure({ directions, ...request }) {
      const all = directions ?? Array.from({ length: 2 ** request.m }, (_, k) => k);
      const { losses } = await evaluator.call("measure", { ...request, directions: all });
      forwards += losses.length * (request.estimator === "two-sided" ? 2 : 1);
      return losses;
    },
    apply: async (commit) => void (await evaluator.call("replay", { commits: [commit] })),
    restore: async (commits) => void (await evaluator.call("reset", { commits })),
    stateHash: async () => (await evaluator.call("stateHash", null)).stateHash,
    evaluate: (examplesMax) => evaluator.call("evaluate", { batch: manifest.job.batch, ...(examplesMax !== undefined && { examplesMax }) }),
    curvature: (step, epsilonLog2) => evaluator.call("curvature", { step: Math.max(0, step), epsilonLog2, ...CURVATURE_BY }),
    async close() {
      await evaluator.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
