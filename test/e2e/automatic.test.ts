/** A job without a rate: what the coordinator chose and why it ended stand in the ledger, and everybody who replays it ends with the same bits. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, type Running, workerArgs } from "./processes.ts";
import { replayByReference } from "./reference.ts";
import { writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-automatic-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.info(processes.tails());
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

const data = () => join(dir, "data");
const report = (name: string) => join(dir, `${name}.json`);
const reported = async (name: string) => JSON.parse(await readFile(report(name), "utf8"));
/** A job that only forward passes end. */
const jobOf = async (forwards: number) =>
  (await writeTinyJob(dir, { job: { steps: undefined, rate: undefined, directionsLog2: undefined, stop: { forwards } } })).job;
const startCoordinator = (job: string) => processes.start("coordinator", coordinatorArgs(job, data(), ["--report", report("coordinator")]));
const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", report(name)]));

interface Line {
  kind: string;
  step?: number;
  settings?: object;
  reason?: string;
  why?: string;
  stateHash?: string;
}

/** All ended well and with one state hash, which the bundle replays to; gives the bundle's lines. */
async function expectOneEnd(coordinator: Running, workers: Record<string, Running>): Promise<Line[]> {
  const [, hash = ""] = await coordinator.line(/^finished: state hash ([0-9a-f]{64})$/);
  for (const one of [coordinator, ...Object.values(workers)])
    expect(await one.ended, one.lines.slice(-3).join("\n")).toEqual({ code: 0, signal: null });
  for (const name of Object.keys(workers)) expect(await reported(name)).toMatchObject({ stateHash: hash });
  const bundle = join(dir, "bundle");
  expect(await processes.start("coordinator", ["export", data(), bundle]).ended).toEqual({ code: 0, signal: null });
  const lines = (await readFile(join(bundle, "ledger.jsonl"), "utf8")).trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as Line);
  expect(entries.at(-1)?.stateHash).toBe(hash);
  expect(replayByReference(bundle) ?? hash).toContain(hash);
  return entries;
}

test("it begins with settings from the ledger and ends with its budget; started again it is over at once", async () => {
  const job = await jobOf(150);
  const coordinator = startCoordinator(job);
  const [address, page] = [await joinAddress(coordinator), await pageAddress(coordinator)];
  expect(await (await fetch(`${page}/api/job`)).json()).toMatchObject({
    ...{ steps: null, rate: null, epsilon: null, directionsPerStep: null, decisions: [], forwardsCommitted: 0 },
    stop: { target: null, patience: 12, forwards: 150 },
  });
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^decided after step 0: rate \S+, epsilon 2\^-\d+, \d+ directions a step: \S/);
  await coordinator.line(/^step 1 {2}\d+\/150 forwards {2}loss /);
  const entries = await expectOneEnd(coordinator, workers);
  const end = entries.find(({ kind }) => kind === "end");
  expect(end).toMatchObject({ reason: "forwards", why: expect.stringMatching(/./) });
  await coordinator.line(/^decided after step \d+: the job is over: its forward passes are spent/);
  // Nothing but what is known of the last state follows the end.
  expect(entries.slice(entries.indexOf(end as Line) + 1).map(({ kind }) => kind)).toEqual(["evaluation"]);
  expect(entries.find(({ kind }) => kind === "rate")).toMatchObject({ settings: expect.any(Object), why: expect.stringMatching(/./) });
  const { decisions, forwardsCommitted } = await reported("coordinator");
  expect(decisions.at(-1).entry).toMatchObject({ kind: "end", reason: "forwards" });
  expect(forwardsCommitted).toBeGreaterThanOrEqual(150);

  const again = startCoordinator(job);
  const [, hash] = await again.line(/^finished: state hash ([0-9a-f]{64})$/);
  expect([hash, await again.ended]).toEqual([entries.at(-1)?.stateHash, { code: 0, signal: null }]);
});

test("one whose coordinator is killed on the way goes on with the settings of its ledger, to the same end", async () => {
  const job = await jobOf(3_000);
  const first = startCoordinator(job);
  const address = await joinAddress(first);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await first.line(/^step 60 /);
  first.kill("SIGKILL");
  await first.ended;
  const port = /\/tcp\/(\d+)/.exec(address)?.[1];
  const second = processes.start("coordinator", [...coordinatorArgs(job, data()), "--listen", `/ip4/127.0.0.1/tcp/${port}`]);
  const entries = await expectOneEnd(second, workers);
  const steps = entries.flatMap(({ kind, step }) => (kind === "commit" ? [step] : []));
  expect(steps).toEqual(steps.map((_, step) => step));
  expect(steps.length).toBeGreaterThan(60);
  expect(entries.filter(({ kind }) => kind === "end")).toHaveLength(1);
});
