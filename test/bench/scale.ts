/**
 * One coordinator, as people start it, and many workers on the real network of this machine, with a model so small that the swarm's own
 * work is what is measured: steps and their times, and what a worker costs the coordinator in a step. `--profile DIR` leaves the
 * coordinator's CPU profile there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { createProcesses, joinAddress, pageAddress } from "../e2e/processes.ts";
import { writeTinyJob } from "../e2e/tinyjob.ts";

const HOST = fileURLToPath(new URL("hosts.ts", import.meta.url));
const WORKERS_PER_PROCESS = 13;
/** Steps that are not counted: until the JavaScript is compiled. */
const WARM_UP = 20;
/** Linux counts a process's time in hundredths of a second. */
const TICKS_PER_SECOND = 100;

/** Processor time in seconds and resident bytes of a process, as Linux tells them; null elsewhere. */
function usageOf(pid: number): { cpuSeconds: number; rssBytes: number } | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND, rssBytes: 1024 * Number(rss) };
  } catch {
    return null;
  }
}

const quantile = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number;

interface StepsPage {
  steps: { step: number; seconds: number | null }[];
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({
    args,
    options: {
      workers: { type: "string", default: "50" },
      steps: { type: "string", default: "300" },
      profile: { type: "string" },
      report: { type: "string" },
    },
  });
  const [workers, steps] = [Number(values.workers), Number(values.steps) + WARM_UP];
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-scale-"));
  const processes = createProcesses();
  const hosts: ChildProcess[] = [];
  try {
    // At least 4 slots for each, as the one-sided estimator wants.
    const directionsLog2 = Math.ceil(Math.log2(4 * workers));
    const job = { steps: steps + 1, directionsLog2, batch: 4, estimator: "one-sided", evaluateEvery: steps + 1, deadlineSeconds: 60 };
    const { job: file } = await writeTinyJob(dir, { job });
    const report = join(dir, "report.json");
    const coordinator = processes.start(
      "coordinator",
      [
        ...["run", file, "--data", join(dir, "data"), "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"],
        ...["--wait-for-workers", String(workers), "--report", report],
      ],
      values.profile === undefined ? {} : { env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${typedPath(values.profile)}` } },
    );
    const [address, page] = [await joinAddress(coordinator), await pageAddress(coordinator)];
    const fromMs = performance.now();
    for (let first = 0; first < workers; first += WORKERS_PER_PROCESS) {
      const count = Math.min(WORKERS_PER_PROCESS, workers - first);
      hosts.push(spawn(process.execPath, [HOST, address, dir, String(first), String(count)], { stdio: ["ignore", "ignore", "inherit"] }));
    }
    await coordinator.line(new RegExp(`^step ${WARM_UP}/`));
    const gatheredSeconds = (performance.now() - fromMs) / 1000;
    const before = usageOf(coordinator.pid);
    const startMs = performance.now();
    await coordinator.line(new RegExp(`^step ${steps}/`));
    const seconds = (performance.now() - startMs) / 1000;
    const after = usageOf(coordinator.pid);
    const times: number[] = [];
    for (let from = WARM_UP; from < steps; ) {
      const points = ((await (await fetch(`${page}/api/steps?from=${from}`)).json()) as StepsPage).steps;
      times.push(...points.filter(({ step }) => step < steps).flatMap(({ seconds: each }) => (each === null ? [] : [1000 * each])));
      if (points.length === 0) break;
      from = (points.at(-1)?.step ?? steps) + 1;
    }
    times.sort((one, other) => one - other);
    const ended = await coordinator.ended;
    if (ended.code !== 0) throw new Error(`the coordinator ended with ${ended.code ?? ended.signal}:\n${coordinator.errors.join("\n")}`);
    const { bytesPerStep } = JSON.parse(readFileSync(report, "utf8"));
    const counted = steps - WARM_UP;
    const measured = {
      workers,
      steps: counted,
      directions: 2 ** directionsLog2,
      gatheredSeconds,
      stepsPerSecond: counted / seconds,
      stepMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99) },
      /** At the coordinator, for each worker and step. */
      bytesPerWorkerStep: {
        in: { payload: bytesPerStep.in.payload / workers, wire: bytesPerStep.in.wire / workers },
        out: { payload: bytesPerStep.out.payload / workers, wire: bytesPerStep.out.wire / workers },
      },
      cpuMicrosecondsPerWorkerStep: before && after && (1e6 * (after.cpuSeconds - before.cpuSeconds)) / counted / workers,
      coordinatorCpuShare: before && after && (after.cpuSeconds - before.cpuSeconds) / seconds,
      rssBytes: after?.rssBytes ?? null,
    };
    const { bytesPerWorkerStep: bytes } = measured;
    console.log(
      `${workers} workers, ${measured.directions} directions a step, ${counted} steps; all were there after ${gatheredSeconds.toFixed(0)} s`,
    );
    console.log(`steps per second     ${measured.stepsPerSecond.toFixed(1)}`);
    console.log(`step time            p50 ${measured.stepMs.p50.toFixed(1)} ms, p99 ${measured.stepMs.p99.toFixed(1)} ms`);
    console.log(
      `bytes/worker/step    in ${bytes.in.payload.toFixed(0)} (wire ${bytes.in.wire.toFixed(0)}), out ${bytes.out.payload.toFixed(0)} (wire ${bytes.out.wire.toFixed(0)})`,
    );
    console.log(
      `CPU/worker/step      ${measured.cpuMicrosecondsPerWorkerStep?.toFixed(0) ?? "-"} us; the coordinator used ${(100 * (measured.coordinatorCpuShare ?? 0)).toFixed(0)} % of a core`,
    );
    console.log(`coordinator's memory ${((measured.rssBytes ?? 0) / 1e6).toFixed(0)} MB`);
    if (values.report !== undefined) writeFileSync(typedPath(values.report), `${JSON.stringify(measured, null, 2)}\n`);
    return true;
  } finally {
    for (const host of hosts) host.kill("SIGKILL");
    await processes.killAll();
    await rm(dir, { recursive: true, force: true });
  }
}
