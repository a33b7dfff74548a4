/** First-order training beside ours: backpropagation of the whole language model in PyTorch, or of the demo classifier's head alone. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { firstOrder } from "./firstorder.ts";
import { headReference } from "./head.ts";
import type { JobName } from "./jobs.ts";
import type { Lab } from "./lab.ts";

const STORIES = fileURLToPath(new URL("../../../../shared/models/stories260K/stories260K.bin", import.meta.url));
const RATES = [1e-3, 2e-3];
const DECAY = 0.01;
/** A forward and a backward pass cost three forward passes. */
const FORWARDS_PER_STEP = 3;

export async function firstOrderOf(name: JobName, lab: Lab, dir: string, seed: number, forwards: number): Promise<unknown> {
  await lab.reset(seed);
  if (name === "lm") {
    const steps = Math.floor(forwards / FORWARDS_PER_STEP);
    return firstOrder({
      model: STORIES,
      batches: Array.from({ length: steps }, (_, step) => lab.batch(step, 0, lab.manifest.job.batch)),
      heldout: lab.heldout,
      initialLoss: (await lab.evaluate()).loss,
      rates: RATES,
      decay: DECAY,
      evaluateAt: [1, 3, 10, 33, 100, 200, 300, 400, steps].filter((step) => step <= steps),
    });
  }
  if (name !== "demo") return { skipped: "there is no first-order reference for this job" };
  const { inputs, objective } = lab.manifest;
  return headReference({
    model: join(dir, "model.onnx"),
    ...{ weight: "classifier.weight", inputs, classes: objective.classes, train: lab.train, heldout: lab.heldout, seed },
  });
}
