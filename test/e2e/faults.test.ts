/** Faults as they happen at home: killed, frozen and restarted processes. Whatever happens, all replicas end with the same bits. */
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commitPlain, splitTensors } from "@zoswarm/shared/zo/apply";
import type { Commit } from "@zoswarm/shared/zo/commit";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, portToKeep, type Running, workerArgs } from "./processes.ts";
import { replayByReference } from "./reference.ts";
import { type TinyJob, writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir = "";
let port = 0;

beforeEach(async () => {
  port = await portToKeep();
  dir = await mkdtemp(join(tmpdir(), "zoswarm-faults-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(processes.tails());
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

/** Always at the address that its workers know. */
const startCoordinator = (job: TinyJob, more: readonly string[] = []) =>
  processes.start("coordinator", coordinatorArgs(job.job, join(dir, "data"), more, port));

const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", join(dir, `${name}.json`)]));

/** Resolves once the job is over everywhere, to the state hash that the coordinator and every worker report. */
async function agreedHash(coordinator: Running, workers: Record<string, Running>): Promise<string> {
  const [, hash] = await coordinator.line(/^finished: state hash ([0-9a-f]{64})$/);
  for (const [name, worker] of Object.entries(workers)) {
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(JSON.parse(await readFile(join(dir, `${name}.json`), "utf8"))).toMatchObject({ stateHash: hash });
  }
  expect(await coordinator.ended).toEqual({ code: 0, signal: null });
  return hash as string;
}

/** The state that the exported history leads to, by the plain implementation. */
async function replayedHash(): Promise<{ hash: string; steps: number[] }> {
  const bundle = join(dir, "bundle");
  const exporting = processes.start("coordinator", ["export", join(dir, "data"), bundle]);
  expect(await exporting.ended).toEqual({ code: 0, signal: null });
  const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8"));
  const x = splitTensors(Uint8Array.from(await readFile(join(bundle, "initial.bin"))), manifest.tensors).map((part) => part.slice());
  const lines = (await readFile(join(bundle, "ledger.jsonl"), "utf8")).trim().split("\n");
  const commits = lines.map((line) => JSON.parse(line)).filter((line) => line.groups !== undefined) as Commit[];
  for (const commit of commits) commitPlain(x, manifest.tensors, manifest.key, commit);
  return { hash: stateHash(x), steps: commits.map(({ step }) => step) };
}

test("a worker that is killed costs no step; restarted, it fetches what it missed", async () => {
  const steps = 600;
  const coordinator = startCoordinator(await writeTinyJob(dir, { job: { steps, deadlineSeconds: 2 } }), ["--wait-for-workers", "2"]);
  const address = await joinAddress(coordinator);
  const [ada, first] = [startWorker(address, "ada"), startWorker(address, "alan")];
  await coordinator.line(/^step 5\//);
  first.kill("SIGKILL");
  expect(await first.ended).toEqual({ code: null, signal: "SIGKILL" });
  await coordinator.line(/^step \d+\/.* 8\/8 directions/, coordinator.lines.length);
  // While ada is frozen no step can be taken, so alan is back before the job is over, however fast steps are.
  ada.kill("SIGSTOP");
  const alan = startWorker(address, "alan");
  await alan.line(/^step \d+\//);
  ada.kill("SIGCONT");
  const hash = await agreedHash(coordinator, { ada, alan });
  expect(await replayedHash()).toEqual({ hash, steps: Array.from({ length: steps }, (_, step) => step) });
});

test("a coordinator that is killed goes on from what is durable, with the workers that it had", async () => {
  const steps = 400;
  const job = await writeTinyJob(dir, { job: { steps } });
  const first = startCoordinator(job);
  const address = await joinAddress(first);
  const ada = startWorker(address, "ada");
  const [, at] = await first.line(/^step (\d+)\//);
  first.kill("SIGKILL");
  await first.ended;
  const second = startCoordinator(job);
  const hash = await agreedHash(second, { ada });
  expect(Number(at)).toBeLessThan(steps);
  expect(await replayedHash()).toEqual({ hash, steps: Array.from({ length: steps }, (_, step) => step) });
});

test.each([1, 3])(
  "with staleness %i steps overlap; killed workers and coordinators cost nothing, and every replay agrees",
  async (staleness) => {
    const steps = 400;
    const job = await writeTinyJob(dir, { job: { steps, staleness, deadlineSeconds: 2 } });
    const first = startCoordinator(job, ["--wait-for-workers", "2"]);
    const address = await joinAddress(first);
    const [ada, gone] = [startWorker(address, "ada"), startWorker(address, "alan")];
    await first.line(/^step 9\//);
    gone.kill("SIGKILL");
    await gone.ended;
    // As above: frozen until alan is back.
    ada.kill("SIGSTOP");
    const alan = startWorker(address, "alan");
    await alan.line(/^step \d+\//);
    ada.kill("SIGCONT");
    first.kill("SIGKILL");
    await first.ended;
    const second = startCoordinator(job);
    const hash = await agreedHash(second, { ada, alan });
    expect(await replayedHash()).toEqual({ hash, steps: Array.from({ length: steps }, (_, step) => step) });
    expect(replayByReference(join(dir, "bundle")) ?? hash).toContain(hash);
  },
);

test("a frozen worker costs the deadline, its directions count for nothing, and it catches up when it wakes", async () => {
  const job = await writeTinyJob(dir, { job: { steps: 600, deadlineSeconds: 0.5, quorum: 0.25, directionsLog2: 3 } });
  const coordinator = startCoordinator(job, ["--wait-for-workers", "2"]);
  const address = await joinAddress(coordinator);
  const [ada, alan] = [startWorker(address, "ada"), startWorker(address, "alan")];
  await coordinator.line(/^step 3\//);
  alan.kill("SIGSTOP");
  const [, committed] = await coordinator.line(/^step \d+\/.* ([1-7])\/8 directions/);
  alan.kill("SIGCONT");
  const hash = await agreedHash(coordinator, { ada, alan });
  expect(Number(committed)).toBeGreaterThanOrEqual(2);
  expect((await replayedHash()).hash).toBe(hash);
});

test("Ctrl-C stops both programs cleanly, and the same commands go on from there", async () => {
  const job = await writeTinyJob(dir, { job: { steps: 400 } });
  const first = startCoordinator(job);
  const early = startWorker(await joinAddress(first), "ada");
  await first.line(/^step 3\//);
  early.kill("SIGINT");
  expect(await early.ended).toEqual({ code: 0, signal: null });
  first.kill("SIGINT");
  expect(await first.ended).toEqual({ code: 0, signal: null });
  expect(first.lines.at(-1)).toMatch(/^stopped/);
  expect(early.errors).toEqual([]);
  const second = startCoordinator(job);
  const hash = await agreedHash(second, { ada: startWorker(await joinAddress(second), "ada") });
  expect((await replayedHash()).hash).toBe(hash);
});

/** A line to a port of this machine that can be cut, and mended. */
async function line(to: number): Promise<{ port: number; cut(): void; mend(): Promise<void> }> {
  const open = new Set<Socket>();
  const listening = async (port: number) => {
    const server = createServer((near) => {
      const far = connect(to, "127.0.0.1");
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const)
        open.add(one.on("error", () => other.destroy()).on("close", () => other.destroy()));
      near.pipe(far).pipe(near);
    });
    await once(server.listen(port, "127.0.0.1"), "listening");
    return server;
  };
  let server = await listening(0);
  const { port } = server.address() as AddressInfo;
  return {
    port,
    cut() {
      server.close();
      for (const socket of open) socket.destroy();
      open.clear();
    },
    async mend() {
      server = await listening(port);
    },
  };
}

test("a worker whose line is down when the job is finished hears of it when it dials again", async () => {
  const coordinator = startCoordinator(await writeTinyJob(dir, { job: { steps: 400 } }), ["--wait-for-workers", "2"]);
  const address = await joinAddress(coordinator);
  const far = await line(port);
  const ada = startWorker(address, "ada");
  const alan = startWorker(address.replace(/\/tcp\/\d+/, `/tcp/${far.port}`), "alan");
  await coordinator.line(/^step 5\//);
  far.cut();
  await coordinator.line(/^worker alan left/);
  // The last thing that is told before the end: alan is still away then.
  await coordinator.line(/^held out after step 400:/);
  await far.mend();
  await agreedHash(coordinator, { ada, alan });
  far.cut();
});
