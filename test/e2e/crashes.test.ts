/** Crashes of real processes at instants drawn from a seed: whatever was announced stays, once and unchanged, and all end with the same bits. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { refusalOf } from "./badinput.ts";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, portToKeep, type Running, workerArgs } from "./processes.ts";
import { contradictions, type Recorder, startRecorder } from "./recorder.ts";
import { generator, type TinyJob, writeTinyJob } from "./tinyjob.ts";

const SEED = Number(process.env.CRASH_SEED ?? 1);
const processes = createProcesses();
let dir = "";
let port = 0;
let recorder: Recorder | undefined;

beforeEach(async () => {
  port = await portToKeep();
  dir = await mkdtemp(join(tmpdir(), "zoswarm-crashes-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(`CRASH_SEED=${SEED}\n${processes.tails()}`);
  await recorder?.stop();
  recorder = undefined;
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

const data = () => join(dir, "data");
/** Always at the address that its workers know. */
const startCoordinator = (job: TinyJob, more: readonly string[] = []) =>
  processes.start("coordinator", coordinatorArgs(job.job, data(), more, port));
const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", join(dir, `${name}.json`)]));

async function killed(one: Running): Promise<void> {
  one.kill("SIGKILL");
  await one.ended;
}

/** The job is over everywhere with one state hash, and the exported bundle replays to it, every step once. */
async function expectOneTruth(coordinator: Running, names: string[], workers: Running[], steps: number): Promise<string> {
  const [, hash] = await coordinator.line(/^finished: state hash ([0-9a-f]{64})$/);
  for (const worker of workers) expect(await worker.ended, worker.lines.slice(-3).join("\n")).toEqual({ code: 0, signal: null });
  for (const name of names) expect(JSON.parse(await readFile(join(dir, `${name}.json`), "utf8"))).toMatchObject({ stateHash: hash });
  const bundle = join(dir, "bundle");
  const exporting = processes.start("coordinator", ["export", data(), bundle]);
  expect(await exporting.ended).toEqual({ code: 0, signal: null });
  const lines = (await readFile(join(bundle, "ledger.jsonl"), "utf8")).trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as { step?: number; groups?: unknown; stateHash?: string });
  expect(entries.at(-1)?.stateHash).toBe(hash);
  expect(entries.filter(({ groups }) => groups).map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, step) => step));
  return bundle;
}

test("a coordinator that is killed again and again loses nothing that it announced, and announces nothing twice differently", async () => {
  const random = generator(SEED);
  const below = (n: number) => Math.floor(n * random());
  const [steps, kills] = [1000, 8];
  const job = await writeTinyJob(dir, { job: { steps, evaluateEvery: 10 } });
  let coordinator = startCoordinator(job);
  const address = await joinAddress(coordinator);
  const listening = await startRecorder(data(), address);
  recorder = listening;
  const workers = [startWorker(address, "ada"), startWorker(address, "alan")];
  const heard = (more: number) =>
    new Promise<void>((resolve) => {
      const until = listening.heard.size + more;
      listening.onNew = () => {
        if (listening.heard.size >= until) resolve();
      };
    });
  await heard(3);
  for (let kill = 0; kill < kills; kill++) {
    const from = coordinator.lines.length;
    const instants: Record<string, () => Promise<unknown>> = {
      "when an entry is heard of": () => heard(1 + below(20)),
      "when a step is told": () => coordinator.line(/^step /, from),
      "when a worker joins": () => coordinator.line(/^worker .* joined/),
      "when it listens": () => joinAddress(coordinator),
      "while it starts": () => new Promise((resolve) => setTimeout(resolve, below(400))),
    };
    const [name = "", instant] = Object.entries(instants)[below(5)] ?? [];
    await instant?.();
    // Between what was seen and the next thing that happens.
    if (name !== "while it starts") await new Promise((resolve) => setTimeout(resolve, 3 * random()));
    await killed(coordinator);
    coordinator = startCoordinator(job);
  }
  expect(listening.heard.size).toBeLessThan(steps);
  const bundle = await expectOneTruth(coordinator, ["ada", "alan"], workers, steps);
  expect(listening.heard.size).toBeGreaterThan(steps / 2);
  expect(contradictions(listening.heard, bundle)).toEqual([]);
  // The check can fail: one other hash is found.
  listening.heard.get("0/5")?.add("other");
  expect(contradictions(listening.heard, bundle)).toHaveLength(1);
});

test("a worker that is killed while it downloads fetches only the rest", async () => {
  const job = await writeTinyJob(dir, { width: 2048, job: { steps: 2 } });
  // Slow enough for the kill to come before the whole of it.
  const coordinator = startCoordinator(job, ["--upload", "4"]);
  const [address, page] = [await joinAddress(coordinator), await pageAddress(coordinator)];
  const first = startWorker(address, "ada");
  await first.line(/^weights 25 %/);
  await killed(first);
  const { initial } = JSON.parse(await readFile(join(data(), "manifest.json"), "utf8"));
  const before = await blobBytes(page);
  expect(before).toBeGreaterThan(initial.bytes / 4);
  expect(first.lines.some((line) => /^weights 100 %/.test(line))).toBe(false);
  const second = startWorker(address, "ada");
  // What was there counts as done: the first that it tells is not the beginning.
  const [, share] = await second.line(/^weights (\d+) %/);
  expect(Number(share)).toBeGreaterThanOrEqual(25);
  await second.line(/^step 1\//);
  const inFlight = 8 * 256 * 1024;
  expect(await blobBytes(page)).toBeLessThan(initial.bytes + inFlight + 600_000);
  await expectOneTruth(coordinator, ["ada"], [second], 2);
});

/** What a coordinator has sent of blobs, by its metrics. */
async function blobBytes(page: string): Promise<number> {
  const metrics = await (await fetch(`${page}/metrics`)).text();
  return Number(/libp2p_data_transfer_bytes_total\{protocol="\/zoswarm\/blob\/1 sent"\} (\d+)/.exec(metrics)?.[1] ?? 0);
}

test("a worker that is killed at any point of its life goes on from what it has", async () => {
  const random = generator(SEED + 1);
  const steps = 1000;
  const job = await writeTinyJob(dir, { job: { steps, evaluateEvery: 100, deadlineSeconds: 1 } });
  const coordinator = startCoordinator(job);
  const address = await joinAddress(coordinator);
  const ada = startWorker(address, "ada");
  await ada.line(/^step 1\//);
  // Frozen, so that the job lasts until alan has died at every point: a step is then taken by him alone, after the deadline.
  ada.kill("SIGSTOP");
  for (const point of [/^connected/, /^job /, /^it sees/, /^it sees/, /^step /, /^step /, /^connected/, /^step /]) {
    const alan = startWorker(address, "alan");
    await alan.line(point);
    await new Promise((resolve) => setTimeout(resolve, 150 * random()));
    await killed(alan);
  }
  const alan = startWorker(address, "alan");
  await alan.line(/^step \d+\//);
  ada.kill("SIGCONT");
  await expectOneTruth(coordinator, ["ada", "alan"], [ada, alan], steps);
});

test("a ledger that a bad disk left unreadable is refused with the remedy, and the remedy works", async () => {
  const steps = 800;
  const job = await writeTinyJob(dir, { job: { steps } });
  const first = startCoordinator(job);
  const address = await joinAddress(first);
  const ada = startWorker(address, "ada");
  await first.line(/^step 60\//);
  await killed(first);
  ada.kill("SIGTERM");
  await ada.ended;
  const ledger = join(data(), "ledger");
  const whole = await readFile(join(ledger, "data.mdb"));
  await writeFile(join(ledger, "data.mdb"), whole.subarray(0, whole.byteLength - 8192));
  const said = await refusalOf(startCoordinator(job));
  expect(said).toMatch(
    /^the ledger in \S+\/data\/ledger is damaged .*nothing was changed\. Put the longest copy that exists in its place: /,
  );
  await rm(ledger, { recursive: true });
  const [, copy = ""] = /each worker keeps one in (jobs\/\w+) of its data folder/.exec(said) ?? [];
  await cp(join(dir, "ada", copy), ledger, { recursive: true });
  const second = startCoordinator(job);
  await joinAddress(second);
  await expectOneTruth(second, ["ada"], [startWorker(address, "ada")], steps);
});
