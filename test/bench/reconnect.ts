/**
 * How soon a killed coordinator's workers carry on: from the first moment that its port answers again to the first step that is
 * committed, and until the last worker is back, after it was away for several times. `--crowd N` adds N workers in few processes: then
 * only the first step has a bound, as a crowd is let in at the pace that the coordinator's processor allows.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { createProcesses, joinAddress, workerArgs } from "../e2e/processes.ts";
import { writeTinyJob } from "../e2e/tinyjob.ts";

const BOUND_MS = 3_000;
const WORKERS = ["ada", "alan", "grace"];
const HOST = fileURLToPath(new URL("hosts.ts", import.meta.url));
const CROWD_PER_PROCESS = 20;

/** Resolves when somebody listens at a port of this machine. */
async function answers(port: number): Promise<void> {
  const open = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
  while (!(await open())) await setTimeout(5);
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({
    args,
    options: {
      crowd: { type: "string", default: "0" },
      downtimes: { type: "string", default: "1,10,30" },
      rounds: { type: "string", default: "3" },
      report: { type: "string" },
    },
  });
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-reconnect-"));
  const processes = createProcesses();
  const hosts: ChildProcess[] = [];
  const crowd = Number(values.crowd);
  const names = [...WORKERS, ...Array.from({ length: crowd }, (_, i) => `worker-${i}`)];
  try {
    const { job } = await writeTinyJob(dir, { job: { steps: 100_000, evaluateEvery: 10_000, directionsLog2: crowd > 0 ? 8 : 3 } });
    const start = (port: string) =>
      processes.start("coordinator", [
        ...["run", job, "--data", join(dir, "data"), "--http", "127.0.0.1:0"],
        ...["--listen", `/ip4/127.0.0.1/tcp/${port}`],
      ]);
    let coordinator = start("0");
    const address = await joinAddress(coordinator);
    const port = /\/tcp\/(\d+)/.exec(address)?.[1] as string;
    for (const name of WORKERS) processes.start("worker", workerArgs(address, join(dir, name), ["--name", name]));
    for (let first = 0; first < crowd; first += CROWD_PER_PROCESS) {
      const count = String(Math.min(CROWD_PER_PROCESS, crowd - first));
      hosts.push(spawn(process.execPath, [HOST, address, dir, String(first), count], { stdio: ["ignore", "ignore", "inherit"] }));
    }
    for (const name of names) await coordinator.line(new RegExp(`^worker ${name} joined`));
    await coordinator.line(/^step 10\//);
    const measured: { downSeconds: number; firstStepMs: number; allBackMs: number }[] = [];
    for (const downSeconds of values.downtimes.split(",").map(Number))
      for (let round = 0; round < Number(values.rounds); round++) {
        coordinator.kill("SIGKILL");
        await coordinator.ended;
        await setTimeout(1000 * downSeconds);
        coordinator = start(port);
        await answers(Number(port));
        const fromMs = performance.now();
        const since = async (done: Promise<unknown>) => done.then(() => Math.round(performance.now() - fromMs));
        const [firstStepMs, ...backMs] = await Promise.all([
          since(coordinator.line(/^step /)),
          ...names.map((name) => since(coordinator.line(new RegExp(`^worker ${name} joined`)))),
        ]);
        const one = { downSeconds, firstStepMs, allBackMs: Math.max(...backMs) };
        console.log(
          `away ${downSeconds} s: first step after ${one.firstStepMs} ms, all ${names.length} workers back after ${one.allBackMs} ms`,
        );
        measured.push(one);
      }
    const longest = Math.max(...measured.map(({ firstStepMs, allBackMs }) => (crowd > 0 ? firstStepMs : Math.max(firstStepMs, allBackMs))));
    console.log(`${longest <= BOUND_MS ? "ok  " : "MISS"} the longest is ${longest} ms, at most ${BOUND_MS}`);
    if (values.report !== undefined)
      writeFileSync(typedPath(values.report), `${JSON.stringify({ boundMs: BOUND_MS, longestMs: longest, measured }, null, 2)}\n`);
    return longest <= BOUND_MS;
  } finally {
    for (const host of hosts) host.kill("SIGKILL");
    await processes.killAll();
    await rm(dir, { recursive: true, force: true });
  }
}
