/** What a classifier's last layer sees of examples: its encoder's forward passes, once and for all. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Example } from "@zoswarm/shared/data/examples";
import { feedsOf } from "@zoswarm/shared/data/feeds";
import { openModelSession } from "@zoswarm/shared/evaluate/session";
import { trainableOf } from "@zoswarm/shared/model/lift";
import { addObjective } from "@zoswarm/shared/model/objective";
import { readModel, writeModel } from "@zoswarm/shared/model/onnx";
import { withValueAsOutput } from "@zoswarm/shared/model/outputs";
import type { InputSpec } from "@zoswarm/shared/protocol/manifest";

/** What the head sees of examples, row-major [rows, width], and their classes. */
export interface Features {
  values: Float32Array;
  width: number;
  labels: Int32Array;
}

export interface Encoder {
  /** Parameters of the whole model, its last layer included. */
  parameters: number;
  /** In batches of `batch` examples, the last of what is left: `forwards` passes. */
  featuresOf(examples: readonly Example[], batch: number): Promise<{ features: Features; forwards: number }>;
  close(): Promise<void>;
}

/**
 * Opens what comes before the product with `weight` in a model file, on one thread. `inputs` are the job's, from its manifest. Throws where
 * no product reads that weight.
 */
export async function openEncoder(file: string, weight: string, inputs: readonly InputSpec[]): Promise<Encoder> {
  const read = readModel(await readFile(file));
  if (!read.ok) throw new Error(read.message);
  const seen = read.model.graph.node.find(({ opType, input }) => opType === "MatMul" && input[1] === weight)?.input[0];
  const open = seen === undefined ? undefined : withValueAsOutput(read.model, seen);
  if (seen === undefined || open === undefined) throw new Error(`${file}: no product of a value with "${weight}"`);
  const trainable = trainableOf(read.model);
  if (!trainable.ok) throw new Error(trainable.message);
  const cut = addObjective(open, { kind: "none", output: seen }, { generates: false });
  if (!cut.ok) throw new Error(cut.message);
  const folder = await mkdtemp(join(tmpdir(), "zoswarm-encoder-"));
  const graph = join(folder, "encoder.onnx");
  await writeFile(graph, writeModel(cut.model));
  // Its weights are inside the graph: nothing is fed.
  const session = await openModelSession(graph, { tensors: [] } as unknown as Parameters<typeof openModelSession>[1], 1);
  return {
    parameters: trainable.tensors.reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1), 0),
    async featuresOf(examples, batch) {
      const parts: Float32Array[] = [];
      for (let from = 0; from < examples.length; from += batch) {
        const feeds = feedsOf(inputs, { labels: null, positions: false, targets: false }, examples.slice(from, from + batch));
        const { scores } = await session.forward(feeds);
        if (scores !== null) parts.push(scores);
      }
      const values = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
      parts.reduce((at, part) => {
        values.set(part, at);
        return at + part.length;
      }, 0);
      const labels = Int32Array.from(examples, ({ label }) => label);
      return { features: { values, width: values.length / examples.length, labels }, forwards: parts.length };
    },
    async close() {
      await session.release();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
