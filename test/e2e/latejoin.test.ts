/** Joining late: a newcomer to a long history takes a snapshot where that is faster, from other volunteers, and holds the same bits. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { commitVerifier, readCommitKey } from "@zoswarm/shared/protocol/signing";
import type { Snapshot } from "@zoswarm/shared/protocol/snapshots";
import { createReplica, receive } from "@zoswarm/shared/replica/replica";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, type Running, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

/** Steps of 2^16 directions: replaying one takes milliseconds even on a tiny model, measuring one would take minutes. */
const LONG = { steps: 300, m: 16 };
const STEPS = 320;
const EVERY = 10;

const processes = createProcesses();
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-late-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(processes.tails());
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

/** Writes `LONG` into the ledger of a stopped coordinator's folder, signed by its key. */
async function lengthen(data: string): Promise<void> {
  const read = readManifest(Uint8Array.from(await readFile(join(data, "manifest.json"))));
  if (!read.ok) throw new Error(read.message);
  const { manifest, jobId } = read;
  const { key } = readCommitKey(await readFile(join(data, "commit.key"), "utf8"));
  const store = openLedgerStore(join(data, "ledger"));
  const replica = createReplica(jobId, manifest.job);
  const verifier = commitVerifier(manifest.commitKey);
  for (const bytes of store.range(0)) receive(replica, bytes, verifier, true);
  for (let step = 0; step < LONG.steps; step++) {
    const a = Int32Array.from({ length: 2 ** LONG.m }, (_, k) => ((Math.imul(k + step, 0x9e3779b1) >>> 16) & 0xff) - 128);
    const entry = {
      kind: "commit" as const,
      step,
      groups: [{ g: 0, m: LONG.m, p: 44, a }],
      meanLoss: 0.5,
      contributors: [[0, 2 ** LONG.m] as [number, number]],
    };
    const { nextSeq: seq, headHash: prevHash, epoch } = replica.history;
    const announcement = createAnnouncement({ jobId, epoch, seq, prevHash, entry, task: null }, key);
    expect(receive(replica, announcement.bytes, verifier, true).code).toBe("applied");
    await store.append(seq, announcement.bytes);
  }
  await store.close();
}

const startCoordinator = (job: string) =>
  processes.start("coordinator", coordinatorArgs(job, join(dir, "data"), ["--wait-for-workers", "2"]));
const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", join(dir, `${name}.json`)]));

/** A coordinator whose job has a long history behind it, and a snapshot at its end. */
async function startLong(): Promise<{ coordinator: Running; job: string }> {
  const { job } = await writeTinyJob(dir, { job: { steps: STEPS, evaluateEvery: EVERY } });
  const first = startCoordinator(job);
  await first.line(/^held out after step 0/);
  first.kill("SIGTERM");
  await first.ended;
  await lengthen(join(dir, "data"));
  const coordinator = startCoordinator(job);
  await coordinator.line(new RegExp(`^snapshot after step ${LONG.steps}: `));
  return { coordinator, job };
}

test("newcomers take the snapshot where their own speeds promise more of it, one of them from the other, and end with the same bits", async () => {
  const { coordinator } = await startLong();
  const address = await joinAddress(coordinator);
  const ada = startWorker(address, "ada");
  await ada.line(/^catching up by snapshot: the snapshot after step 300 \(0\.0 MB at .* a replay of \d+ steps at /);
  // No step is taken before there are two: ada is a donor once she is ready.
  const page = await pageAddress(coordinator);
  await vi.waitFor(async () => expect(await (await fetch(`${page}/api/workers`)).text()).toContain('"ready"'), { timeout: 60_000 });
  const alan = startWorker(address, "alan");
  await alan.line(/^donors {5}1 other volunteer, /);
  await alan.line(/^catching up by snapshot: /);
  const [, hash] = await coordinator.line(/^finished: state hash ([0-9a-f]{64})$/);
  for (const [name, worker] of Object.entries({ ada, alan })) {
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(JSON.parse(await readFile(join(dir, `${name}.json`), "utf8"))).toMatchObject({ stateHash: hash });
  }
});

test("a volunteer that keeps snapshots writes the very ones that the coordinator writes, as many as it keeps", async () => {
  // Steps are long enough for each snapshot to be written before the next is due, and the last one before the end.
  const { job } = await writeTinyJob(dir, { job: { steps: 108, directionsLog2: 8, evaluateEvery: 4 } });
  const coordinator = processes.start("coordinator", coordinatorArgs(job, join(dir, "data")));
  const ada = processes.start("worker", workerArgs(await joinAddress(coordinator), join(dir, "ada"), ["--keep-snapshots"]));
  expect(await ada.ended).toEqual({ code: 0, signal: null });
  expect(await coordinator.ended).toEqual({ code: 0, signal: null });
  const [folder = ""] = await readdir(join(dir, "ada", "snapshots"));
  const indexIn = async (place: string) => JSON.parse(await readFile(join(place, "index.json"), "utf8")) as Snapshot[];
  const [mine, theirs] = [await indexIn(join(dir, "ada", "snapshots", folder)), await indexIn(join(dir, "data", "snapshots"))];
  expect(theirs.map(({ step }) => step)).toEqual(expect.arrayContaining([95, 79, 15]));
  expect(mine.map(({ step }) => step)).toEqual([95, 79]);
  for (const one of mine) expect(theirs).toContainEqual(one);
});
