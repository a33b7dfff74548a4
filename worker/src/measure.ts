/** Measures the losses of a task's slots, group by group, in the evaluator's thread. It decides nothing: what becomes of them is the lifecycle's. */
import { batchOf } from "@zoswarm/shared/data/batches";
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";
import type { Loss, VolunteerEffect } from "./lifecycle/lifecycle.ts";
import type { Shards } from "./shards.ts";

export interface Measuring {
  manifest: Manifest;
  jobId: string;
  evaluator: Evaluator;
  /** Labels of the training examples. */
  labels: Int32Array;
  shards: Shards;
}

/** The losses of `slots`, and how long they took; fewer losses where `signal` aborts it. */
export async function measureSlots(
  { task, slots, known: earlier }: Pick<Extract<VolunteerEffect, { kind: "measure" }>, "task" | "slots" | "known">,
  { manifest, jobId, evaluator, labels, shards }: Measuring,
  signal: AbortSignal,
): Promise<{ losses: Loss[]; elapsedMs: number }> {
  const losses: Loss[] = [];
  const startMs = performance.now();
  let first = 0;
  for (const { g, m, batch } of task.groups) {
    const end = first + 2 ** m;
    const isHere = (slot: number) => slot >= first && slot < end;
    const here = slots.filter(isHere);
    // Below the least that can be centred, both sides of each direction are measured.
    const known = new Set([...here, ...earlier.filter(isHere)]);
    const estimator = task.estimator === "one-sided" && known.size < CENTRE_MIN ? "two-sided" : task.estimator;
    if (here.length > 0) {
      const drawn = batchOf({
        jobId,
        step: task.step,
        group: batch,
        size: manifest.job.batch,
        labels,
        classes: manifest.objective.classes,
      });
      const examples = await shards.examples(drawn);
      if (signal.aborted) break;
      const measured = await evaluator.call(
        "measure",
        {
          step: task.step,
          group: g,
          m,
          epsilonLog2: task.epsilonLog2,
          estimator,
          directions: here.map((slot) => slot - first),
          examples,
        },
        signal,
      );
      for (const { k, plus, minus } of measured.losses) losses.push({ slot: first + k, plus, minus });
      if (measured.aborted) break;
    }
    first = end;
  }
  return { losses, elapsedMs: Math.min(3_600_000, Math.round(performance.now() - startMs)) };
}
