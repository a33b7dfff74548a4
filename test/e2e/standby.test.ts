/** A coordinator that is lost for good, and its standby on "another machine": what was announced stays, and whoever held more goes back. */
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commitPlain, splitTensors } from "@zoswarm/shared/zo/apply";
import type { Commit } from "@zoswarm/shared/zo/commit";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, portToKeep, type Running, workerArgs } from "./processes.ts";
import { contradictions, startRecorder } from "./recorder.ts";
import { replayByReference } from "./reference.ts";
import { writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir = "";

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-standby-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(processes.tails());
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

const at = (name: string) => join(dir, name);
const listen = (port: number) => `/ip4/127.0.0.1/tcp/${port}`;
const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, at(name), ["--name", name, "--report", at(`${name}.json`)]));
const startStandby = (address: string, port: number, more: readonly string[] = []) =>
  processes.start("coordinator", ["standby", address, "--data", at("copy"), "--listen", listen(port), "--http", "127.0.0.1:0", ...more]);
const promote = (port: number) =>
  processes.start("coordinator", ["promote", at("copy"), "--listen", listen(port), "--http", "127.0.0.1:0"]);

/**
 * A job whose coordinator has a standby, and the commands that start it again. Its steps are long: a worker may pause for 2 s between
 * two dials, and the job must not be over when it finds the promoted coordinator, which does not wait for it.
 */
async function startJob(mode: "sync" | "async", steps: number, more: readonly string[] = []) {
  const job = await writeTinyJob(dir, { job: { steps, directionsLog2: 8 } });
  const [port, standbyPort] = [await portToKeep(), await portToKeep()];
  const start = (more: readonly string[]) =>
    processes.start("coordinator", coordinatorArgs(job.job, at("data"), ["--wait-for-workers", "2", ...more], port));
  const plain = start([]);
  const address = await joinAddress(plain);
  const standby = startStandby(address, standbyPort, more);
  const peerId = (await standby.line(/--standby (\S+)$/))[1] as string;
  await standby.line(/has no standby/);
  plain.kill("SIGINT");
  expect(await plain.ended).toEqual({ code: 0, signal: null });
  const restart = () => start(["--standby", peerId, "--standby-mode", mode, ...more]);
  const coordinator = restart();
  await standby.line(/^has the folder of job/);
  return { address, standby, standbyPort, coordinator, restart };
}

/** Resolves once a worker has a step of the promoted coordinator's own: one of the coordinator before it may be the first that it hears. */
async function takesPart(worker: Running, port: number, promoted: Running): Promise<void> {
  await worker.line(new RegExp(`^connected to \\S+/tcp/${port}/`));
  const [, own] = await promoted.line(/^step (\d+)\//);
  for (let heard = 0; heard < Number(own); ) heard = Number((await worker.line(/^step (\d+)\//, worker.lines.length))[1]);
}

async function finished(promoted: Running, workers: Record<string, Running>): Promise<string> {
  const [, hash] = await promoted.line(/^finished: state hash ([0-9a-f]{64})$/);
  for (const [name, worker] of Object.entries(workers)) {
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(JSON.parse(await readFile(at(`${name}.json`), "utf8"))).toMatchObject({ stateHash: hash });
  }
  expect(await promoted.ended).toEqual({ code: 0, signal: null });
  return hash as string;
}

/** The promoted folder's bundle, and the state that the plain implementation makes of it. */
async function replayed(): Promise<{ hash: string; kinds: string[] }> {
  const exporting = processes.start("coordinator", ["export", at("copy"), at("bundle")]);
  expect(await exporting.ended).toEqual({ code: 0, signal: null });
  const manifest = JSON.parse(await readFile(at("bundle/manifest.json"), "utf8"));
  const x = splitTensors(Uint8Array.from(await readFile(at("bundle/initial.bin"))), manifest.tensors).map((part) => part.slice());
  const lines = (await readFile(at("bundle/ledger.jsonl"), "utf8")).trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as { kind: string });
  for (const commit of entries.filter(({ kind }) => kind === "commit"))
    commitPlain(x, manifest.tensors, manifest.key, commit as never as Commit);
  return { hash: stateHash(x), kinds: entries.map(({ kind }) => kind) };
}

test("in mode sync nothing that was announced is lost when the coordinator is killed and its standby promoted", async () => {
  const { address, standby, standbyPort, coordinator, restart } = await startJob("sync", 300);
  expect((await stat(at("copy/commit.key"))).mode & 0o077).toBe(0);
  await joinAddress(coordinator);
  const recorder = await startRecorder(at("data"), address);
  const [ada, first] = [startWorker(address, "ada"), startWorker(address, "alan")];
  await coordinator.line(/^step 10\//);
  coordinator.kill("SIGKILL");
  await coordinator.ended;
  await recorder.stop();
  const promoted = promote(standbyPort);
  expect(await standby.ended).toEqual({ code: 0, signal: null });
  await promoted.line(/^promoted: epoch 1 begins/);
  await Promise.all([takesPart(ada, standbyPort, promoted), takesPart(first, standbyPort, promoted)]);

  // The old coordinator comes back. The first worker that knows better proves it; from then on it does not start any more.
  ada.kill("SIGSTOP");
  first.kill("SIGKILL");
  await first.ended;
  const old = restart();
  await joinAddress(old);
  const alan = startWorker(address, "alan");
  await alan.line(/this coordinator is of epoch 0, and one of epoch 1 took over: leaving it/);
  for (const start of [() => old, restart]) {
    const again = start();
    expect(await again.ended).toEqual({ code: 1, signal: null });
    expect(again.errors.join("\n")).toMatch(/^a coordinator of epoch 1 took this job over/m);
  }
  expect(JSON.parse(await readFile(at("data/incidents.jsonl"), "utf8"))).toMatchObject({ code: "old-coordinator" });
  ada.kill("SIGCONT");

  const hash = await finished(promoted, { ada, alan });
  const { hash: plain, kinds } = await replayed();
  expect(plain).toBe(hash);
  expect(kinds.filter((kind) => kind === "epoch")).toHaveLength(1);
  expect(replayByReference(at("bundle")) ?? hash).toContain(hash);
  expect(kinds.filter((kind) => kind === "commit")).toHaveLength(300);
  expect(recorder.heard.size).toBeGreaterThan(10);
  expect(contradictions(recorder.heard, at("bundle"))).toEqual([]);
  for (const name of ["ada", "alan"]) expect(existsSync(at(`${name}/incidents.jsonl`))).toBe(false);
});

test("in mode sync a coordinator whose standby is away announces nothing, says so, and goes on when it is back", async () => {
  const { address, standby, coordinator, standbyPort } = await startJob("sync", 200);
  const page = await pageAddress(coordinator);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^step 5\//);
  standby.kill("SIGKILL");
  await standby.ended;
  const gone = coordinator.lines.length;
  await coordinator.line(/^WARNING: the standby \S+ does not answer, so nothing is announced/, gone);
  expect(await (await fetch(`${page}/healthz`)).text()).toMatch(/the standby \S+ does not answer/);
  const seen = coordinator.lines.length;
  const back = startStandby(address, standbyPort);
  const again = /^the standby has everything again/;
  await coordinator.line(again, seen);
  // What follows that line may have come with it.
  const waited = coordinator.lines.slice(
    seen,
    coordinator.lines.findIndex((line, i) => i >= seen && again.test(line)),
  );
  expect(waited.filter((line) => line.startsWith("step "))).toEqual([]);
  await finished(coordinator, workers);
  await back.line(/^the job is finished, and all of it is here/);
  expect(await back.ended).toEqual({ code: 0, signal: null });
});

test("in mode async a promotion may drop the last steps: workers go back to what the standby had, and record it", async () => {
  const { address, standby, standbyPort, coordinator } = await startJob("async", 300);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^step 5\//);
  standby.kill("SIGSTOP");
  const [, step] = await coordinator.line(/^step (\d+)\//, coordinator.lines.length);
  await coordinator.line(new RegExp(`^step ${Number(step) + 10}/`));
  for (const gone of [coordinator, standby]) {
    gone.kill("SIGKILL");
    await gone.ended;
  }
  const promoted = promote(standbyPort);
  const hash = await finished(promoted, workers);
  const { hash: plain, kinds } = await replayed();
  expect(plain).toBe(hash);
  expect(kinds.filter((kind) => kind === "commit")).toHaveLength(300);
  for (const name of Object.keys(workers))
    expect(JSON.parse(await readFile(at(`${name}/incidents.jsonl`), "utf8"))).toMatchObject({ code: "epoch-rewind" });
});

test("in mode sync a coordinator whose folder is an older copy announces nothing in the place of what its standby has", async () => {
  const { address, standby, coordinator, restart } = await startJob("sync", 1_000);
  coordinator.kill("SIGINT");
  await coordinator.ended;
  await cp(at("data"), at("older"), { recursive: true });
  const going = restart();
  for (const name of ["ada", "alan"]) startWorker(address, name);
  await going.line(/^step 5\//);
  going.kill("SIGKILL");
  await going.ended;
  await rm(at("data"), { recursive: true });
  await rename(at("older"), at("data"));
  const older = restart();
  expect(await standby.ended).toEqual({ code: 1, signal: null });
  expect(standby.errors.join("\n")).toMatch(
    /^the coordinator has \d+ ledger entries, this standby \d+: that one's folder is an older copy/m,
  );
  await older.line(/^WARNING: the standby has \d+ ledger entries or more, this coordinator \d+$/);
  expect(older.lines.filter((line) => line.startsWith("step "))).toEqual([]);
});

const DATABASE = process.env.ZOSWARM_TEST_POSTGRES;

test.skipIf(DATABASE === undefined)("with a lease the standby takes over by itself when the coordinator that held it is gone", async () => {
  const lease = ["--lease", DATABASE as string];
  const { address, standby: leased, coordinator } = await startJob("sync", 300, lease);
  await leased.line(/^the coordinator holds the lease/);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^step 10\//);
  coordinator.kill("SIGKILL");
  await leased.line(/^promoted: epoch 1 begins/);
  const hash = await finished(leased, workers);
  expect((await replayed()).hash).toBe(hash);
});
