/** Runs a graph for the tests of what builds graphs: on one thread, as a volunteer does, and without a worker. */
import * as ort from "onnxruntime-node";

export type Values = Float32Array | BigInt64Array;
export interface Fed {
  shape: readonly number[];
  values: Values;
}

/** Every output by its name, of a graph or of the file at a path, of the last of `times` runs over the same inputs. Throws the runtime's error, which names the node. */
export async function runGraph(graph: Uint8Array | string, feeds: Readonly<Record<string, Fed>>, times = 1): Promise<Record<string, Fed>> {
  // One of the runtime's overloads for each, and none for both.
  const session = await ort.InferenceSession.create(graph as string, { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 });
  const tensorOf = ({ shape, values }: Fed) =>
    values instanceof Float32Array ? new ort.Tensor("float32", values, shape) : new ort.Tensor("int64", values, shape);
  try {
    const tensors = Object.fromEntries(Object.entries(feeds).map(([name, fed]) => [name, tensorOf(fed)]));
    for (let run = 1; run < times; run++) await session.run(tensors);
    const outputs = Object.entries(await session.run(tensors));
    return Object.fromEntries(outputs.map(([name, { dims, data }]) => [name, { shape: dims, values: data as Values }]));
  } finally {
    await session.release();
  }
}
