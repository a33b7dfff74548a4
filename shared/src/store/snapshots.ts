/**
 * The snapshots that this node has: blobs in a folder of their own with an index beside them (shared/spec/snapshots.md). The index
 * is written whole or not at all; a snapshot that the disk has no room for is left out, and the job goes on.
 */
import { open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/limits.ts";
import { type Snapshot, snapshotIndex } from "../protocol/snapshots.ts";
import { type BlobFailure, type BlobFiles, openBlobFiles, writeFailure } from "./blobs.ts";

/** Checkpoints from one snapshot to the next where nothing else is asked for: a replay of the steps between costs far less than measuring one. */
export const CHECKPOINTS_BETWEEN = 4;

export interface Snapshots {
  /** Newest first. */
  all(): readonly Snapshot[];
  /** Where they lie; what is downloaded goes here as well. */
  blobs: BlobFiles;
  /** Whether the state after `step` is `every` steps or more beyond the newest one, and none is being written. */
  due(step: number, every: number): boolean;
  /** Makes one: `fill` writes the state after `step` to the file that it is given. Called at once, before anything is awaited. */
  write(
    step: number,
    best: number | null,
    fill: (file: string) => Promise<{ stateHash: string }>,
  ): Promise<{ ok: true; snapshot: Snapshot } | BlobFailure>;
  /** Lists one whose blob is here already, and drops those that `kept` does not name. */
  keep(snapshot: Snapshot, best: number | null): Promise<{ ok: true } | BlobFailure>;
}

/** Opens, or makes, a folder of snapshots, of which `most` are kept. Throws when it is unusable. */
export async function openSnapshots(dir: string, most: number = LIMITS.snapshotsKeptMax): Promise<Snapshots> {
  const blobs = await openBlobFiles(dir);
  const index = join(dir, "index.json");
  const draft = join(dir, "draft.new");
  let writing = false;
  let known = (await readIndex(index)).filter(({ id }) => blobs.has(id));

  let turn: Promise<unknown> = Promise.resolve();
  /** One after the other: a snapshot may be taken from a peer while one is written, and each drops what it does not know. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = turn.then(work);
    turn = done.catch(() => {});
    return done;
  }

  async function list(snapshot: Snapshot, best: number | null): Promise<{ ok: true } | BlobFailure> {
    const all = [snapshot, ...known.filter(({ step }) => step !== snapshot.step)].sort((one, other) => other.step - one.step);
    const steps = new Set(
      kept(
        all.map(({ step }) => step),
        best,
        most,
      ),
    );
    const next = all.filter(({ step }) => steps.has(step));
    try {
      await writeWhole(index, JSON.stringify(next, null, 1));
      known = next;
      const named = new Set(next.map(({ id }) => id));
      // Unfinished downloads of snapshots that nobody needs any more go, too.
      for (const name of await readdir(dir)) {
        const id = /^([0-9a-f]{64})\./.exec(name)?.[1];
        if (id !== undefined && !named.has(id)) await blobs.remove(id);
      }
      return { ok: true };
    } catch (error) {
      return writeFailure(dir, error);
    }
  }

  return {
    all: () => known,
    blobs,
    due: (step, every) => !writing && step - (known[0]?.step ?? -1) >= every,
    async write(step, best, fill) {
      writing = true;
      try {
        const { stateHash } = await fill(draft);
        return await inTurn(async () => {
          const put = await blobs.put({ file: draft });
          if (!put.ok) return put;
          const snapshot = { step, stateHash, id: put.id, bytes: put.bytes };
          const listed = await list(snapshot, best);
          return listed.ok ? { ok: true, snapshot } : listed;
        });
      } catch (error) {
        return writeFailure(dir, error);
      } finally {
        await rm(draft, { force: true }).catch(() => {});
        writing = false;
      }
    },
    keep: (snapshot, best) => inTurn(() => list(snapshot, best)),
  };
}

/**
 * Which of these steps' snapshots are kept: the newest two, the best evaluated one, then, as long as there is room, the one nearest to
 * each age of 2, 4, 8 ... times the newest two's distance. Pure; at most `most`.
 */
export function kept(steps: readonly number[], best: number | null, most: number): number[] {
  const newest = [...steps].sort((one, other) => other - one);
  const [first, second] = newest;
  if (first === undefined || second === undefined) return newest.slice(0, most);
  const wanted = new Set([first, second]);
  if (best !== null && newest.includes(best)) wanted.add(best);
  for (let age = 2 * (first - second); age < 2 * (first - (newest.at(-1) as number)); age *= 2)
    wanted.add(newest.reduce((near, step) => (Math.abs(first - age - step) < Math.abs(first - age - near) ? step : near)));
  return [...wanted].slice(0, most);
}

async function readIndex(file: string): Promise<Snapshot[]> {
  try {
    const parsed = snapshotIndex.safeParse(JSON.parse(await readFile(file, "utf8")));
    return parsed.success ? parsed.data : [];
  } catch {
    // None yet, or damaged: snapshots can always be made again.
    return [];
  }
}

/** Beside it first, flushed, then by a rename: a crash leaves the old file or the new one. */
async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
