/** The demo's job. */
import { join } from "node:path";
import { LABELS } from "./data.ts";

/** The job file of the demo, over the files in `input`. Rate, batch and group were chosen on the training mails alone. */
export function jobOf(input: string, steps: number) {
  return {
    name: "Spam or ham",
    model: join(input, "model.onnx"),
    tokenizer: join(input, "tokenizer.json"),
    train: join(input, "train.jsonl"),
    heldout: join(input, "heldout.jsonl"),
    labels: LABELS,
    maxTokens: 48,
    steps,
    directionsLog2: 4,
    batch: 24,
    epsilonLog2: -10,
    estimator: "one-sided",
    rule: "normalised",
    rate: 4e-5,
    gains: [{ pattern: "classifier.*", gain: 5 }],
    evaluateEvery: 16,
    deadlineSeconds: 30,
    quorum: 0.5,
  };
}
