/**
 * Whether staleness hides the way to the coordinator: real processes with a proxy between them that holds every byte back for 100 ms
 * each way, and a job whose steps take a worker somewhat longer than the round trip. What counts is the share of the time, between
 * the first task and the last commit, that the workers' threads spend in forward passes.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { GraphBuilder } from "@zoswarm/shared/model/graph";
import { typedPath } from "@zoswarm/shared/typed";
import { coordinatorArgs, createProcesses, joinAddress, type Processes, workerArgs } from "../e2e/processes.ts";
import { writeTinyJob } from "../e2e/tinyjob.ts";

const DELAY_MS = 100;
/** Least share of forward passes with staleness 1. */
const BOUND = 0.85;
/** A share of a step takes a worker at least this long by a first look: if the machine was busy then, still the round trip later. */
const SHARE_MS = 1.75 * 2 * DELAY_MS;
const WIDTH = 256;
const LAYERS = 128;

interface Run {
  staleness: number;
  workers: number;
  delayMs: number;
  forwardSeconds: number;
  /** With perturbing, feeding and applying commits. */
  busySeconds: number;
  wallSeconds: number;
  /** Forward time by wall time, of one worker. */
  share: number;
  forwardMs: number;
}

/** A proxy to a port of this machine that passes each byte on `delayMs` later, in both directions. */
async function delayed(to: number, delayMs: number): Promise<{ port: number; close(): void }> {
  const open = new Set<Socket>();
  const pass = (from: Socket, into: Socket) => {
    open.add(from.setNoDelay(true));
    from.on("data", (bytes) => setTimeout(() => into.write(bytes), delayMs));
    from.on("end", () => setTimeout(() => into.end(), delayMs));
    from.on("error", () => into.destroy());
    from.on("close", () => open.delete(from));
  };
  const server = createServer((near) => {
    const far = connect(to, "127.0.0.1");
    pass(near, far);
    pass(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** One layer of weights, used again and again: much work for few parameters, as in a transformer. */
function deepen(graph: GraphBuilder, hidden: string): string {
  const weights = Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Math.sin(i * i) / Math.sqrt(WIDTH));
  const layer = graph.parameter("layer.weight", [WIDTH, WIDTH], weights);
  let last = hidden;
  for (let i = 0; i < LAYERS; i++) last = graph.node("Tanh", [graph.node("MatMul", [last, layer])]);
  return last;
}

async function measure(
  processes: Processes,
  dir: string,
  settings: { staleness: number; delayMs: number; steps: number; directionsLog2: number },
): Promise<Run> {
  const { staleness, delayMs, steps, directionsLog2 } = settings;
  const workers = Math.max(1, availableParallelism() - 1);
  const job = { steps, directionsLog2, staleness, batch: 64, evaluateEvery: steps, estimator: "two-sided" };
  const files = await writeTinyJob(dir, { width: WIDTH, change: deepen, job });
  const report = join(dir, "report.json");
  const coordinator = processes.start(
    "coordinator",
    coordinatorArgs(files.job, join(dir, "data"), ["--report", report, "--threads", "1", "--wait-for-workers", String(workers)]),
  );
  const address = await joinAddress(coordinator);
  const proxy = await delayed(Number(/\/tcp\/(\d+)/.exec(address)?.[1]), delayMs);
  const through = address.replace(/\/tcp\/\d+/, `/tcp/${proxy.port}`);
  const reports = Array.from({ length: workers }, (_, i) => join(dir, `worker-${i}.json`));
  const started = reports.map((file, i) =>
    processes.start("worker", workerArgs(through, join(dir, `worker-${i}`), ["--no-serve", "--report", file])),
  );
  for (const one of [coordinator, ...started]) {
    const { code } = await one.ended;
    if (code !== 0) throw new Error(`a process ended with ${code}:\n${processes.tails()}`);
  }
  proxy.close();
  const read = (file: string) => JSON.parse(readFileSync(file, "utf8"));
  const wallSeconds: number = read(report).seconds;
  const sum = (key: string) => reports.reduce((total, file) => total + (read(file)[key] as number), 0);
  const forwardSeconds = sum("forwardSeconds");
  const forwardMs = (1000 * forwardSeconds) / sum("forwards");
  return {
    staleness,
    workers,
    delayMs,
    forwardSeconds,
    busySeconds: sum("busySeconds"),
    wallSeconds,
    share: forwardSeconds / workers / wallSeconds,
    forwardMs,
  };
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({ args, options: { steps: { type: "string", default: "40" }, report: { type: "string" } } });
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-latency-"));
  const processes = createProcesses();
  try {
    const probe = await measure(processes, join(dir, "probe"), { staleness: 0, delayMs: 0, steps: 4, directionsLog2: 4 });
    const perStep = (SHARE_MS * probe.workers) / (2 * probe.forwardMs);
    const directionsLog2 = Math.max(2, Math.ceil(Math.log2(perStep)));
    const shareMs = (2 ** (directionsLog2 + 1) * probe.forwardMs) / probe.workers;
    console.log(
      `${probe.workers} worker(s), one thread each; a forward pass takes ${probe.forwardMs.toFixed(1)} ms, a worker's share of a step ${shareMs.toFixed(0)} ms`,
    );
    console.log(`${DELAY_MS} ms of delay each way between coordinator and workers`);
    const runs: Run[] = [];
    for (const staleness of [0, 1]) {
      const one = await measure(processes, join(dir, `stale-${staleness}`), {
        staleness,
        delayMs: DELAY_MS,
        steps: Number(values.steps),
        directionsLog2,
      });
      runs.push(one);
      const bound = staleness === 1 ? ` (bound ${BOUND})` : "";
      console.log(
        `staleness ${staleness}: ${one.forwardSeconds.toFixed(1)} s of forward passes in ${one.wallSeconds.toFixed(1)} s: ${one.share.toFixed(3)}${bound}, ${(one.busySeconds / one.workers / one.wallSeconds).toFixed(3)} with perturbations and replays`,
      );
    }
    const kept = (runs[1]?.share ?? 0) >= BOUND;
    if (values.report !== undefined)
      writeFileSync(
        typedPath(values.report),
        `${JSON.stringify({ delayMs: DELAY_MS, shareMs, directions: 2 ** directionsLog2, runs, bound: BOUND, kept }, null, 1)}\n`,
      );
    if (!kept) console.error(`staleness 1 kept the workers busy for ${runs[1]?.share.toFixed(3)} of the time; the bound is ${BOUND}`);
    return kept;
  } finally {
    await processes.killAll();
    await rm(dir, { recursive: true, force: true });
  }
}
