/** A job without a rate: what the coordinator chose and why it ended stand in the ledger, and everybody who replays it ends with the same bits. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, portToKeep, type Running, workerArgs } from "./processes.ts";
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
/** A job without a rate. */
const jobOf = async (keys: Record<string, unknown>) => (await writeTinyJob(dir, { job: { rate: undefined, ...keys } })).job;
const startCoordinator = (job: string, port = 0) =>
  processes.start("coordinator", coordinatorArgs(job, data(), ["--report", report("coordinator")], port));
const startWorker = (address: string, name: string) =>
  processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", report(name)]));

interface Line {
  kind: string;
  step?: number;
  restore?: number;
  evaluated?: number;
  loss?: number;
  settings?: { rate: number; probing: boolean };
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

/** Decisions on the rate, in order. */
const ratesOf = (entries: readonly Line[]) => entries.filter(({ kind, why }) => kind === "rate" && why !== "");

test("it finds its rate by a probe, goes back, trains with what was found and ends with its budget; started again it is over at once", async () => {
  const job = await jobOf({ steps: undefined, directionsLog2: undefined, stop: { forwards: 1_500 } });
  const coordinator = startCoordinator(job);
  const [address, page] = [await joinAddress(coordinator), await pageAddress(coordinator)];
  expect(await (await fetch(`${page}/api/job`)).json()).toMatchObject({
    ...{ steps: null, rate: null, epsilon: null, directionsPerStep: null, decisions: [], forwardsCommitted: 0 },
    stop: { target: null, patience: 12, forwards: 1_500 },
  });
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^decided after step 0: rate \S+, epsilon 2\^-\d+, \d+ directions a step: a first look/);
  await coordinator.line(/^step 1 {2}\d+\/1500 forwards {2}loss /);
  const entries = await expectOneEnd(coordinator, workers);
  const rates = ratesOf(entries);
  const found = rates.find(({ settings }) => settings?.probing === false) as Line;
  const trials = rates.slice(0, rates.indexOf(found));
  expect(trials.length).toBeGreaterThanOrEqual(3);
  expect(trials.map(({ why }) => why?.replace(/[,;:].*/, ""))).toEqual(["a first look", ...trials.slice(1).map(() => "a trial")]);
  expect(found.why).toMatch(
    /^one step gains most at rate \S+; half of it is for many, and less as slopes flatten\. \d workers? measures? \S+ directions a second/,
  );
  expect(found.settings?.rate).toBeGreaterThan(trials[0]?.settings?.rate as number);
  // The longest step that was tried has left the state: nobody trains from there.
  expect(entries[entries.indexOf(found) - 1]?.kind).toBe("restore");
  const end = entries.find(({ kind }) => kind === "end");
  expect(end).toMatchObject({ reason: "forwards", why: expect.stringMatching(/./) });
  await coordinator.line(/^decided after step \d+: the job is over: its forward passes are spent/);
  // Nothing but what is known of the last state follows the end, and the way to the best one where that was another.
  const after = entries.slice(entries.indexOf(end as Line) + 1).map(({ kind }) => kind);
  expect(["", "restore"]).toContain(after.filter((kind) => kind !== "evaluation").join());
  const { decisions, forwardsCommitted } = await reported("coordinator");
  expect(decisions.find(({ entry }: { entry: Line }) => entry.kind === "end").entry).toMatchObject({ reason: "forwards" });
  expect(forwardsCommitted).toBeGreaterThanOrEqual(1_500);

  const again = startCoordinator(job);
  const [, hash] = await again.line(/^finished: state hash ([0-9a-f]{64})$/);
  expect([hash, await again.ended]).toEqual([entries.at(-1)?.stateHash, { code: 0, signal: null }]);
});

test("one whose coordinator is killed in the middle of the probe begins it again from the initial state, and comes to one end", async () => {
  // A step of so many directions takes a while: the kill finds the probe under way.
  const job = await jobOf({ steps: 40, directionsLog2: 11 });
  const port = await portToKeep();
  const first = startCoordinator(job, port);
  const address = await joinAddress(first);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await first.line(/^decided after step 1: .*: a trial/);
  first.kill("SIGKILL");
  await first.ended;
  const second = startCoordinator(job, port);
  const entries = await expectOneEnd(second, workers);
  const steps = entries.flatMap(({ kind, step }) => (kind === "commit" ? [step] : []));
  expect(steps).toEqual(Array.from({ length: 40 }, (_, step) => step));
  const rates = ratesOf(entries);
  const looks = rates.filter(({ why }) => why?.startsWith("a first look"));
  expect(looks).toHaveLength(2);
  expect(rates.indexOf(looks[1] as Line)).toBeLessThan(rates.findIndex(({ settings }) => settings?.probing === false));
  // Back to the initial state comes right before the second look, once that state is tried anew.
  expect(entries.slice(0, entries.indexOf(looks[1] as Line)).findLast(({ kind }) => kind === "restore")).toMatchObject({ restore: -1 });
});

test("one whose held-out loss rises in the course of training goes back with half the rate, and ends in its best state on every machine", async () => {
  // Sixteen texts are soon known by heart, and a quarter of the held-out labels is wrong: the surer the model becomes, the more they
  // cost, beyond all noise, whatever key the job has drawn.
  const keys = { rate: undefined, steps: 240, stop: { patience: 8 }, evaluateEvery: 5 };
  const { job, heldout } = await writeTinyJob(dir, { trainRows: 16, heldoutRows: 512, job: keys });
  const rows = (await readFile(heldout, "utf8")).trim().split("\n");
  const flipped = rows.map((row, i) => (i % 8 < 2 ? row.replace(/"label":(\d)/, (_, label) => `"label":${1 - label}`) : row));
  await writeFile(heldout, `${flipped.join("\n")}\n`);
  const coordinator = startCoordinator(job);
  const address = await joinAddress(coordinator);
  const workers = { ada: startWorker(address, "ada"), alan: startWorker(address, "alan") };
  await coordinator.line(/^decided after step \d+: rate .*: the held-out loss rose from .* back to the best state with half the rate/);
  const entries = await expectOneEnd(coordinator, workers);
  const rates = ratesOf(entries);
  const back = rates.findIndex(({ why }) => why?.startsWith("the held-out loss rose"));
  expect(rates[back]?.settings?.rate).toBe((rates[back - 1]?.settings?.rate as number) / 2);
  expect(entries[entries.indexOf(rates[back] as Line) - 1]?.kind).toBe("restore");
  expect(entries.find(({ kind }) => kind === "end")).toMatchObject({ reason: "patience" });
  // The lowest of all losses that were taken since the probe is the end's.
  const found = entries.findLastIndex(({ kind }, i) => kind === "restore" && i < entries.indexOf(rates[back] as Line) - 1);
  const trained = entries.filter(({ kind, evaluated }, i) => kind === "evaluation" && (i > found || evaluated === entries[found]?.restore));
  const lowest = trained.reduce((least, one) => ((one.loss as number) < (least.loss as number) ? one : least));
  expect(entries.at(-1)).toMatchObject({ kind: "restore", restore: lowest.evaluated, stateHash: lowest.stateHash });
});
