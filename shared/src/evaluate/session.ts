/**
 * The runtime's session over a lifted graph: theta is fed zero-copy from the kernel's memory, so what the kernel writes is what
 * the next forward sees. The only file that calls onnxruntime-node.
 */
import * as ort from "onnxruntime-node";
import type { Feed } from "../data/feeds.ts";
import type { Parameters } from "../zo/kernel.ts";

/** The outputs that an objective's graph may have (model/objective.ts). */
export interface Forward {
  /** Of every row, or of every place of every row. */
  losses: Float32Array | null;
  /** Row-major [rows, classes], or [rows]. */
  scores: Float32Array | null;
  /** Most likely next token at every place, row-major [rows, columns]. */
  predicted: BigInt64Array | null;
  /** Most likely next token of every row. */
  next: BigInt64Array | null;
}

export interface ModelSession {
  /** Which of the objective's inputs the graph has. */
  inputNames: readonly string[];
  /** One forward pass at the parameters as they are in memory now. */
  forward(feeds: Readonly<Record<string, Feed>>): Promise<Forward>;
  /** Time spent inside the runtime since the start, in seconds. */
  seconds(): number;
  release(): Promise<void>;
}

/**
 * Opens a session. Threads are pinned, because results may differ between thread counts, and do not spin, because several
 * sessions on one machine would spin against each other (measured). By path, so that frozen weights beside the graph are mapped into
 * memory. Throws the runtime's error, which names the node.
 */
export async function openModelSession(graphFile: string, parameters: Parameters, threads: number): Promise<ModelSession> {
  const session = await ort.InferenceSession.create(graphFile, {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // What it cannot run it says by an exception; it need not be printed too.
    logSeverityLevel: 4,
    // A 4-bit base keeps its float activations: rounded to 8 bits, the loss would move in steps (model/base.ts).
    extra: { session: { intra_op: { allow_spinning: "0" }, qdq_matmulnbits_accuracy_level: "1" } },
  });
  const theta: Record<string, ort.Tensor> = {};
  parameters.tensors.forEach(({ name, shape }, t) => {
    theta[name] = new ort.Tensor("float32", parameters.view(t), shape);
  });
  let seconds = 0;
  return {
    inputNames: session.inputNames.filter((name) => !(name in theta)),
    async forward(given) {
      const feeds = { ...theta };
      for (const [name, { type, data, dims }] of Object.entries(given))
        feeds[name] = new ort.Tensor(type as "int64", data as BigInt64Array, dims);
      const from = performance.now();
      const outputs = await session.run(feeds);
      seconds += (performance.now() - from) / 1000;
      return {
        losses: (outputs["zoswarm/loss"]?.data ?? null) as Float32Array | null,
        scores: (outputs["zoswarm/scores"]?.data ?? null) as Float32Array | null,
        predicted: (outputs["zoswarm/predicted"]?.data ?? null) as BigInt64Array | null,
        next: (outputs["zoswarm/next"]?.data ?? null) as BigInt64Array | null,
      };
    },
    seconds: () => seconds,
    release: () => session.release(),
  };
}
