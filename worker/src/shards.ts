/**
 * The training examples of a worker: the shards that its batches touch, fetched when they are first needed, checked, and kept on disk;
 * the newest are kept decoded. Nothing else of the data set is downloaded.
 */
import { readFile } from "node:fs/promises";
import { decodeShard, type Example, type ExampleIndex } from "@zoswarm/shared/data/examples";

/** Decoded shards that are kept: about 256 KiB each. */
const KEPT_MAX = 64;

export interface Shards {
  /** The examples at these places, in this order. Rejects where a shard cannot be had. */
  examples(indices: readonly number[]): Promise<Example[]>;
}

/** `fileOf` gives the verified file of a shard, downloading it if need be. */
export function createShards(index: ExampleIndex, fileOf: (shard: { id: string; bytes: number }) => Promise<string>): Shards {
  const kept = new Map<number, Promise<Example[]>>();
  const load = async (at: number): Promise<Example[]> => {
    const shard = index.shards[at];
    if (shard === undefined) throw new RangeError(`there is no shard ${at}; there are ${index.shards.length}`);
    const examples = decodeShard(Uint8Array.from(await readFile(await fileOf(shard))));
    const wanted = Math.min(index.perShard, index.count - at * index.perShard);
    if (examples.length !== wanted)
      throw new Error(`shard ${at} has ${examples.length} examples, the index says ${wanted}: tell the launcher`);
    return examples;
  };
  const shardAt = (at: number): Promise<Example[]> => {
    const known = kept.get(at) ?? load(at);
    kept.delete(at);
    kept.set(at, known);
    known.catch(() => kept.delete(at));
    for (const oldest of kept.keys()) {
      if (kept.size <= KEPT_MAX) break;
      kept.delete(oldest);
    }
    return known;
  };
  return {
    examples: (indices) =>
      Promise.all(indices.map(async (i) => (await shardAt(Math.floor(i / index.perShard)))[i % index.perShard] as Example)),
  };
}
