/**
 * The runtime's session over a lifted graph: theta is fed zero-copy from the kernel's memory, so what the kernel writes is what
 * the next forward sees. The only file that calls onnxruntime-node.
 */
import * as ort from "onnxruntime-node";
import type { Batch } from "../data/examples.ts";
import type { Parameters } from "../zo/kernel.ts";

export interface Forward {
  /** Loss of every row. */
  losses: Float32Array;
  /** Row-major [rows, classes]. */
  logits: Float32Array;
  classes: number;
}

export interface ModelSession {
  /** One forward pass over a batch at the parameters as they are in memory now. */
  forward(batch: Batch): Promise<Forward>;
  /** Time spent inside the runtime since the start, in seconds. */
  seconds(): number;
  release(): Promise<void>;
}

/**
 * Opens a session. Threads are pinned, because results may differ between thread counts, and do not spin, because several
 * sessions on one machine would spin against each other (measured). Throws the runtime's error, which names the node.
 */
export async function openModelSession(graph: Uint8Array, parameters: Parameters, threads: number): Promise<ModelSession> {
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  const theta: Record<string, ort.Tensor> = {};
  parameters.tensors.forEach(({ name, shape }, t) => {
    theta[name] = new ort.Tensor("float32", parameters.view(t), shape);
  });
  let seconds = 0;
  return {
    async forward({ inputIds, attentionMask, labels, rows, columns }) {
      const feeds = {
        ...theta,
        input_ids: new ort.Tensor("int64", inputIds, [rows, columns]),
        attention_mask: new ort.Tensor("int64", attentionMask, [rows, columns]),
        labels: new ort.Tensor("int64", labels, [rows]),
      };
      const from = performance.now();
      const outputs = await session.run(feeds);
      seconds += (performance.now() - from) / 1000;
      const { loss, logits } = outputs;
      if (loss === undefined || logits === undefined) throw new Error('the graph has no outputs "loss" and "logits"');
      return { losses: loss.data as Float32Array, logits: logits.data as Float32Array, classes: logits.dims.at(-1) as number };
    },
    seconds: () => seconds,
    release: () => session.release(),
  };
}

/** Mean of per-example losses in float64; null where it is not finite. */
export function meanOf(losses: Float32Array): number | null {
  let sum = 0;
  for (const loss of losses) sum += loss;
  const mean = sum / losses.length;
  return Number.isFinite(mean) ? mean : null;
}

/** The class of the highest logit of each row; the lowest such class where they tie. */
export function predictionsOf({ logits, classes }: Forward): number[] {
  return Array.from({ length: logits.length / classes }, (_, row) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if ((logits[row * classes + c] as number) > (logits[row * classes + best] as number)) best = c;
    return best;
  });
}
