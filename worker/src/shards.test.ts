import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ExampleIndex, encodeShard, exampleOf } from "@zoswarm/shared/data/examples";
import { afterAll, describe, expect, it } from "vitest";
import { createShards } from "./shards.ts";

const dir = mkdtempSync(join(tmpdir(), "zoswarm-shards-"));
afterAll(() => rmSync(dir, { recursive: true }));

/** `count` examples, each with its own number as its token, in files of `perShard`; which were asked for, in order. */
function served(count: number, perShard: number) {
  const examples = Array.from({ length: count }, (_, i) => exampleOf([i]));
  const shards = Array.from({ length: Math.ceil(count / perShard) }, (_, at) => ({ id: `${perShard}-${at}`, bytes: 1 }));
  shards.forEach(({ id }, at) => {
    writeFileSync(join(dir, id), encodeShard(examples.slice(at * perShard, (at + 1) * perShard)));
  });
  const index: ExampleIndex = { count, perShard, labels: new Int32Array(count), shards };
  const asked: string[] = [];
  const fileOf = async ({ id }: { id: string }) => {
    asked.push(id);
    return join(dir, id);
  };
  return { index, asked, fileOf };
}

const numbers = async (shards: ReturnType<typeof createShards>, indices: number[]) =>
  (await shards.examples(indices)).map(({ tokens }) => tokens[0]);

describe("createShards", () => {
  it("gives examples in the order that they are asked for, from the shards that they are in and no others, each fetched once", async () => {
    const { index, asked, fileOf } = served(10, 3);
    const shards = createShards(index, fileOf);
    expect(await numbers(shards, [9, 1, 0, 9, 2])).toEqual([9, 1, 0, 9, 2]);
    expect(asked).toEqual(["3-3", "3-0"]);
    expect(await numbers(shards, [5, 1])).toEqual([5, 1]);
    expect(asked).toEqual(["3-3", "3-0", "3-1"]);
    expect(await shards.examples([])).toEqual([]);
  });

  it("fetches a shard once for batches that want it at the same time", async () => {
    const { index, asked, fileOf } = served(4, 2);
    const shards = createShards(index, fileOf);
    expect(await Promise.all([numbers(shards, [0]), numbers(shards, [1])])).toEqual([[0], [1]]);
    expect(asked).toEqual(["2-0"]);
  });

  it("says why a shard cannot be had, and tries again when it is next needed", async () => {
    const { index, asked, fileOf } = served(4, 2);
    let fails = 1;
    const shards = createShards(index, (shard) => (fails-- > 0 ? Promise.reject(new Error("no peer has it")) : fileOf(shard)));
    await expect(shards.examples([0, 3])).rejects.toThrow("no peer has it");
    expect(await numbers(shards, [3, 0])).toEqual([3, 0]);
    expect(asked).toEqual(["2-1", "2-0"]);
  });

  it("refuses a shard with more or fewer examples than the index says, and what is no shard", async () => {
    const { index, fileOf } = served(5, 2);
    const other = (at: number, file: string) =>
      createShards(index, async (shard) => (shard === index.shards[at] ? join(dir, file) : fileOf(shard)));
    await expect(other(0, "2-2").examples([0])).rejects.toThrow("shard 0 has 1 examples, the index says 2: tell the launcher");
    await expect(other(2, "2-0").examples([4])).rejects.toThrow("shard 2 has 2 examples, the index says 1: tell the launcher");
    writeFileSync(join(dir, "noise"), "noise");
    await expect(other(1, "noise").examples([2])).rejects.toThrow("not a data set of examples");
    await expect(createShards(index, fileOf).examples([6])).rejects.toThrow("there is no shard 3; there are 3");
  });

  it("keeps the 64 shards that were used last", async () => {
    const { index, asked, fileOf } = served(66, 1);
    const shards = createShards(index, fileOf);
    await numbers(
      shards,
      Array.from({ length: 64 }, (_, i) => i),
    );
    // Shard 0 is used again, so shard 1 is now the oldest.
    await numbers(shards, [0, 64]);
    expect(asked).toHaveLength(65);
    expect(await numbers(shards, [0, 2, 63, 64])).toEqual([0, 2, 63, 64]);
    expect(asked).toHaveLength(65);
    expect(await numbers(shards, [1])).toEqual([1]);
    expect(asked.slice(64)).toEqual(["1-64", "1-1"]);
  });
});
