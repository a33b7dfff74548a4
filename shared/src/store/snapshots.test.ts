import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kept, openSnapshots } from "./snapshots.ts";

const HASH = "ab".repeat(32);
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-snapshots-"));
});
afterEach(() => rm(dir, { recursive: true }));

const fillWith = (text: string) => async (file: string) => {
  await writeFile(file, text);
  return { stateHash: HASH };
};

describe("a folder of snapshots", () => {
  it("lists the newest first, and still does after a restart", async () => {
    const snapshots = await openSnapshots(dir);
    const written = await snapshots.write(3, null, fillWith("three"));
    expect(written).toMatchObject({ ok: true, snapshot: { step: 3, stateHash: HASH, bytes: 5 } });
    await snapshots.write(7, null, fillWith("seven"));
    expect(snapshots.all().map(({ step }) => step)).toEqual([7, 3]);
    const again = await openSnapshots(dir);
    expect(again.all()).toEqual(snapshots.all());
    expect(await again.blobs.verify(again.all()[0]?.id ?? "")).toBe(true);
  });

  it("removes what is not kept any more, unfinished downloads too", async () => {
    const snapshots = await openSnapshots(dir, 2);
    for (const step of [1, 2, 3]) await snapshots.write(step, null, fillWith(`state ${step}`));
    await writeFile(join(dir, `${"cd".repeat(32)}.blob.part`), "half");
    await snapshots.write(4, null, fillWith("state 4"));
    const named = snapshots.all().flatMap(({ id }) => [`${id}.blob`, `${id}.list`]);
    expect((await readdir(dir)).sort()).toEqual([...named, "index.json"].sort());
    expect(snapshots.all().map(({ step }) => step)).toEqual([4, 3]);
  });

  it("lists one that is taken from a peer and one that is written at the same time", async () => {
    const snapshots = await openSnapshots(dir);
    const put = await snapshots.blobs.put(Buffer.from("five"));
    if (!put.ok) throw new Error(put.message);
    const taken = { step: 5, stateHash: HASH, id: put.id, bytes: put.bytes };
    const both = await Promise.all([snapshots.keep(taken, null), snapshots.write(3, null, fillWith("three")), snapshots.keep(taken, null)]);
    expect(both.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(snapshots.all().map(({ step, id }) => [step, snapshots.blobs.has(id)])).toEqual([
      [5, true],
      [3, true],
    ]);
  });

  it("goes on without a snapshot where it cannot be written, and leaves nothing half-written", async () => {
    const snapshots = await openSnapshots(dir);
    const full = await snapshots.write(3, null, () => Promise.reject(new Error("ENOSPC: no space left on device, write")));
    expect(full).toMatchObject({ ok: false, code: "disk-full", message: expect.stringMatching(/free some space/) });
    expect([snapshots.all(), await readdir(dir), snapshots.due(3, 1)]).toEqual([[], [], true]);
  });

  it("trusts no index further than its blobs: a damaged one, or one that lies, lists nothing", async () => {
    const snapshots = await openSnapshots(dir);
    await snapshots.write(3, null, fillWith("three"));
    const index = join(dir, "index.json");
    const [one] = JSON.parse(await readFile(index, "utf8"));
    for (const text of ["{", "[1]", JSON.stringify([{ ...one, id: "cd".repeat(32) }]), JSON.stringify([{ ...one, step: -1 }])]) {
      await writeFile(index, text);
      expect((await openSnapshots(dir)).all()).toEqual([]);
    }
  });

  it("has one due at the first state that is far enough beyond the newest, one at a time", async () => {
    const snapshots = await openSnapshots(dir);
    expect([snapshots.due(8, 10), snapshots.due(9, 10)]).toEqual([false, true]);
    const writing = snapshots.write(9, null, fillWith("nine"));
    expect(snapshots.due(30, 10)).toBe(false);
    await writing;
    expect([snapshots.due(18, 10), snapshots.due(19, 10)]).toEqual([false, true]);
  });
});

describe("what is kept", () => {
  it("stays bounded, with the newest two, the best, and older ones further and further apart", () => {
    const most = 8;
    const best = 30;
    let have: number[] = [];
    for (let step = 10; step <= 3000; step += 10) {
      have = kept([step, ...have], best, most);
      expect(have.length).toBeLessThanOrEqual(most);
      expect(have).toContain(step);
      if (step > 10) expect(have).toContain(step - 10);
      if (step >= best) expect(have).toContain(best);
      for (const age of [20, 40, 80].filter((each) => step - each > 0))
        expect(have.some((one) => step - one >= age / 2 && step - one <= 2 * age)).toBe(true);
    }
  });

  it("is what there is where that is little", () => {
    expect(kept([], null, 8)).toEqual([]);
    expect(kept([5], 5, 8)).toEqual([5]);
    expect(kept([5, 9], null, 1)).toEqual([9]);
  });
});
