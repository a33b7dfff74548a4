/** `coordinator run`: from a job file to a finished job, or a message that says what to change. */
import { access, constants, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { loadPeerKey } from "@zoswarm/shared/net/identity";
import { createNode, type SwarmNode } from "@zoswarm/shared/net/node";
import { type Metric, type Objective, stepsAsked } from "@zoswarm/shared/protocol/manifest";
import { onStopSignal } from "@zoswarm/shared/signals";
import { lockFolder } from "@zoswarm/shared/store/lock";
import { CHECKPOINTS_BETWEEN } from "@zoswarm/shared/store/snapshots";
import { typedPath } from "@zoswarm/shared/typed";
import { collectDefaultMetrics, Registry } from "prom-client";
import { readJobFile } from "./config.ts";
import { type Change, type Coordinator, startCoordinator } from "./coordinator.ts";
import { createJob } from "./create.ts";
import { type Fault, filesOf, type JobFolder, readFolder, refuseOther, specOf, stateOf } from "./folder.ts";
import { registerMetrics } from "./http/metrics.ts";
import { startHttp } from "./http/server.ts";
import { type Lease, takeLease } from "./lease.ts";
import { loadJob, readHeldout } from "./load.ts";
import { reportOf } from "./report.ts";
import { LEDGER_BYTES, refuseFull } from "./room.ts";
import type { Round } from "./round/state.ts";
import type { StandbyOptions } from "./standbys.ts";
import { refuseSucceeded } from "./successor.ts";
import { decisionLine } from "./tell.ts";
import { createView } from "./view.ts";

export interface RunOptions {
  data?: string;
  listen: string[];
  announce: string[];
  http: { host: string; port: number };
  /** Take a free port where the one asked for is taken. */
  anyPort: boolean;
  waitForWorkers: number;
  /** Steps between snapshots, rounded up to the next checkpoint. */
  snapshotEvery?: number;
  threads: number;
  /** MiB a second of blobs, to all newcomers together. */
  upload: number;
  /** Who gets the job's folder and every entry. */
  standby?: StandbyOptions;
  /** A PostgreSQL address: this coordinator announces only while it holds the job's lease there. */
  lease?: string;
  report?: string;
}

const DASHBOARD = fileURLToPath(new URL("../dashboard/dist", import.meta.url));
/** How long a finished coordinator serves those who are still fetching the end. */
const LINGER_MS_MAX = 15_000;
/** And those who are between two dials, which are up to redialRefusedMsMax apart, or a little more. */
const ABSENT_MS_MIN = 5_000;

/** Runs a job to its end. Resolves to what stopped it; expected failures are values. */
export async function run(jobFile: string, options: RunOptions): Promise<{ ok: true; ended: "finished" | "stopped" } | Fault<string>> {
  const unreportable = await refuseReport(options.report);
  if (unreportable !== null) return unreportable;
  const opened = await openJob(typedPath(jobFile), options.data);
  if (!opened.ok) return opened;
  const full = await refuseFull(opened.dir, LEDGER_BYTES);
  if (full !== null) return full;
  const locked = lockFolder(opened.dir);
  if (!locked.ok) return locked;
  try {
    return await runFolder(opened, options);
  } finally {
    locked.release();
  }
}

/** Null where a report can be written at the end: better known now. */
async function refuseReport(report: string | undefined): Promise<Fault<"report-unwritable"> | null> {
  if (report === undefined) return null;
  const folder = dirname(typedPath(report));
  try {
    await access(folder, constants.W_OK);
    return null;
  } catch (error) {
    const message = `--report ${report}: cannot write in ${folder} (${(error as Error).message}); name a file in a folder that exists`;
    return { ok: false, code: "report-unwritable", message };
  }
}

/** The job's folder: resumed where it is this job's, made where there is none, else refused. */
async function openJob(jobFile: string, data: string | undefined): Promise<({ ok: true } & JobFolder) | Fault<string>> {
  const read = await readJobFile(jobFile);
  if (!read.ok) return read;
  const hashed = await specOf(read.job);
  if (!hashed.ok) return hashed;
  const dir = data === undefined ? `${jobFile.replace(/\.(ya?ml|json)$/, "")}.data` : typedPath(data);
  const state = stateOf(dir);
  if (state === "foreign")
    return { ok: false, code: "not-a-data-folder", message: `data folder ${dir}: holds other files; name a new folder with --data` };
  if (state === "free") {
    const made = await createJob(hashed.spec, dir);
    if (!made.ok) return made;
    console.log(
      `made the job: ${made.trainRows} training and ${made.heldoutRows} held-out examples, ${made.truncated} texts cut at ${read.job.maxTokens} tokens`,
    );
    for (const doubt of made.doubts) console.log(`WARNING: ${doubt}`);
    for (const { name, reason } of made.frozen.slice(0, 10)) console.log(`not trained: "${name}" ${reason}`);
    if (made.frozen.length > 10) console.log(`not trained: ${made.frozen.length - 10} more`);
  }
  const folder = readFolder(dir);
  if (!folder.ok) return folder;
  return refuseOther(folder, hashed.spec) ?? folder;
}

async function openNode(
  dir: string,
  { listen, announce, anyPort }: RunOptions,
): Promise<{ ok: true; node: SwarmNode; registry: Registry } | Fault<string>> {
  const key = await loadPeerKey(filesOf(dir).peerKey);
  if (!key.ok) return key;
  const open = async (addresses: readonly string[]) => {
    const registry = new Registry();
    const created = await createNode({ role: "coordinator", privateKey: key.privateKey, listen: addresses, announce, registry });
    return created.ok ? { ...created, registry } : created;
  };
  const opened = await open(listen);
  if (opened.ok || opened.code !== "port-in-use" || !anyPort) return opened;
  console.log(`${opened.message}; taking a free one`);
  return open(listen.map((address) => address.replace(/\/tcp\/\d+/, "/tcp/0")));
}

type Ended = { ok: true; ended: "finished" | "stopped" } | Fault<string>;

/** Runs the job of a folder that this process holds; with a lease, where one is asked for or held already. */
export async function runFolder(folder: JobFolder, options: RunOptions, held: Lease | null = null): Promise<Ended> {
  const wait = { onWaiting: () => console.log("another coordinator holds the lease: waiting for it") };
  const never = new AbortController().signal;
  const lease = held ?? (options.lease === undefined ? null : await takeLease(options.lease, folder.jobId, never, wait));
  try {
    return await runJob(folder, options, lease);
  } finally {
    await lease?.release();
  }
}

async function runJob(folder: JobFolder, options: RunOptions, lease: Lease | null): Promise<Ended> {
  const { dir, manifest, jobId } = folder;
  const startedMs = performance.now();
  // A worker that finds the port open must find the whole coordinator behind it: what takes long comes first.
  const loaded = await loadJob(folder, { waitFor: options.waitForWorkers, threads: options.threads });
  const succeeded = refuseSucceeded(dir, loaded);
  const opened = succeeded ?? (await openNode(dir, options));
  if (!opened.ok) {
    await loaded.close();
    return opened;
  }
  const { node, registry } = opened;
  let change: (change: Change) => void = () => {};
  const coordinator = await startCoordinator({
    loaded,
    node,
    snapshotEvery: options.snapshotEvery ?? CHECKPOINTS_BETWEEN * manifest.job.evaluateEvery,
    upload: options.upload,
    ...(options.standby && { standby: options.standby }),
    log: (line) => console.log(line),
    onChange: (each) => change(each),
  });
  const majorityBaseline = await baselineOf(dir, manifest.objective);
  const { view, changed } = createView(coordinator, {
    joinCommand: () => `npm run worker -- --join ${addressOf(node)}`,
    addresses: () => node.addresses(),
    majorityBaseline,
    payload: () => node.traffic.payload(),
  });
  change = (each) => {
    changed(each);
    say(coordinator, each);
  };
  registerMetrics(registry, view);
  // The process's own: memory, processor time, how late its event loop is.
  collectDefaultMetrics({ register: registry });
  const serve = (port: number) =>
    startHttp({ view, registry, host: options.http.host, port, dashboardDir: DASHBOARD, onFault: (error) => console.error(error.message) });
  let http = await serve(options.http.port);
  if (!http.ok && http.code === "port-in-use" && options.anyPort) {
    console.log(`${http.message}; taking a free one`);
    http = await serve(0);
  }
  if (!http.ok) {
    await coordinator.stop();
    return http;
  }
  // Before anyone is told that it runs: who is told may stop it.
  const unhandle = onStopSignal(() => void coordinator.stop());
  console.log(`job "${manifest.name}" ${jobId.slice(0, 12)} in ${dir}`);
  console.log("volunteers download the training data and can read it: launch only what they may see");
  console.log(`page      ${http.url}`);
  console.log(`join with npm run worker -- --join ${addressOf(node)}`);
  try {
    const ended = await Promise.race([coordinator.done, ...(lease === null ? [] : [lease.lost])]);
    if (ended === "finished") await untilAlone(node, coordinator.absent() ? ABSENT_MS_MIN : 0);
    if (options.report !== undefined)
      await writeFile(
        typedPath(options.report),
        `${JSON.stringify(await reportOf(coordinator, node, majorityBaseline, startedMs), null, 1)}\n`,
      );
    console.log(ended === "finished" ? `finished: state hash ${coordinator.stateHash()}` : "stopped; the same command goes on from here");
    return { ok: true, ended };
  } finally {
    unhandle();
    await http.close();
    await coordinator.stop();
  }
}

/** One address to tell people: one that others can reach where there is one. */
function addressOf(node: SwarmNode): string {
  const addresses = node.addresses();
  return addresses.find((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address)) ?? addresses[0] ?? "";
}

/** What always answering the commonest class would score; null where the metric is another. */
async function baselineOf(dir: string, { classes, metric }: Objective): Promise<number | null> {
  if (metric !== "accuracy" || classes === 0) return null;
  const counts = new Map<number, number>();
  const heldout = await readHeldout(dir);
  for (const { label } of heldout) counts.set(label, (counts.get(label) ?? 0) + 1);
  return Math.max(...counts.values()) / heldout.length;
}

function say({ round }: Coordinator, change: Change): void {
  const { history } = round.replica;
  const loss = history.losses.at(-1);
  if (change.kind === "committed" && loss) {
    const took = change.seconds === null ? "" : `  ${change.seconds.toFixed(2)} s`;
    console.log(
      `${stepText(round, loss.step)}  loss ${loss.meanLoss?.toFixed(4) ?? "-"}  ${loss.committed}/${loss.directions} directions${took}`,
    );
  }
  const decision = history.decisions.at(-1);
  if (change.kind === "decided" && decision) console.log(decisionLine(decision));
  const evaluation = history.evaluations.at(-1);
  if (change.kind === "evaluated" && evaluation)
    console.log(
      `held out after step ${evaluation.step + 1}: loss ${evaluation.loss.toFixed(4)}, ${scoreText(evaluation.score, round.manifest.objective.metric)}`,
    );
}

/** How far the job is: in steps where the launcher asked for so many, else in forward passes. */
function stepText({ manifest: { job }, replica: { history } }: Round, step: number): string {
  const asked = stepsAsked(job);
  if (asked !== null) return `step ${step + 1}/${asked}`;
  return `step ${step + 1}  ${history.forwards}/${job.stop.forwards} forwards`;
}

/** A score as people read it: shares in percent. */
function scoreText(score: number, metric: Metric): string {
  const isShare = metric === "accuracy" || metric === "f1" || metric === "exact-match";
  return `${metric.replaceAll("-", " ")} ${isShare ? `${(100 * score).toFixed(1)} %` : score.toPrecision(4)}`;
}

/** Waits until everybody has gone, and `msMin` at least. */
async function untilAlone(node: SwarmNode, msMin: number): Promise<void> {
  await setTimeout(msMin);
  if (node.peers().length === 0) return;
  const alone = Promise.withResolvers<void>();
  const look = () => queueMicrotask(() => node.peers().length === 0 && alone.resolve());
  const timer = globalThis.setTimeout(alone.resolve, LINGER_MS_MAX);
  node.libp2p.addEventListener("peer:disconnect", look);
  await alone.promise;
  node.libp2p.removeEventListener("peer:disconnect", look);
  clearTimeout(timer);
}
