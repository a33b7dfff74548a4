/**
 * What ten newcomers that download a job at once cost those who train it: the time of a step and the lateness of the coordinator's event
 * loop, before and while. They measure nothing and run at the lowest priority, since they would be other people's machines: what is
 * counted is what serving them costs.
 */
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, type Running, workerArgs } from "../e2e/processes.ts";
import { writeTinyJob } from "../e2e/tinyjob.ts";

const BOUND = 1.2;
const NEWCOMERS = 10;
const WORKERS = ["ada", "alan"];
/** About seven million weights, as the demo has. */
const WIDTH = 2_400;
const WARM_UP_STEPS = 5;
const STEPS_A_TURN = 4;
const STEP = /^step \d+\/.* {2}([\d.]+) s$/;
const NEWCOMERS_SCRIPT = fileURLToPath(new URL("newcomers.ts", import.meta.url));

const median = (values: readonly number[]) => [...values].sort((one, other) => one - other)[values.length >> 1] as number;

/** Seconds of the next so many steps. */
async function nextSteps(coordinator: Running, count: number): Promise<number[]> {
  const seconds: number[] = [];
  for (let from = coordinator.lines.length; seconds.length < count; ) {
    const found = await coordinator.line(STEP, from);
    from = coordinator.lines.indexOf(found.input, from) + 1;
    seconds.push(Number(found[1]));
  }
  return seconds;
}

/** The greatest lateness of the coordinator's event loop since it was asked last, in milliseconds. */
async function lateness(page: string): Promise<number> {
  const metrics = await (await fetch(`${page}/metrics`)).text();
  return 1000 * Number(/^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(metrics)?.[1]);
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({ args, options: { rounds: { type: "string", default: "3" }, report: { type: "string" } } });
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-latejoin-"));
  const processes = createProcesses();
  try {
    const keys = { steps: 100_000, directionsLog2: 6, batch: 32, evaluateEvery: 10_000, deadlineSeconds: 60 };
    const { job } = await writeTinyJob(dir, { width: WIDTH, job: keys });
    const coordinator = processes.start("coordinator", coordinatorArgs(job, join(dir, "data"), ["--wait-for-workers", "2"]));
    const [address, page] = [await joinAddress(coordinator), await pageAddress(coordinator)];
    for (const name of WORKERS) processes.start("worker", workerArgs(address, join(dir, name), ["--name", name]));
    await coordinator.line(new RegExp(`^step ${WARM_UP_STEPS}/`));
    const taken = { paused: [] as number[], running: [] as number[] };
    const lateMs = { paused: [] as number[], running: [] as number[] };
    let bytes = 0;
    for (let round = 0; round < Number(values.rounds); round++) {
      const folder = join(dir, `round${round}`);
      const newcomers = processes.startScript(NEWCOMERS_SCRIPT, [address, String(NEWCOMERS), folder]);
      setPriority(newcomers.pid, constants.priority.PRIORITY_LOW);
      await newcomers.line(/^begin$/);
      let over = false;
      const done = newcomers.line(/^done (\d+)$/).then(([, sum]) => {
        over = true;
        bytes += Number(sum);
      });
      // They are stopped and go on in turns, so that whatever else this machine does slows both kinds of steps alike.
      for (let phase: keyof typeof taken = "running"; !over; phase = phase === "running" ? "paused" : "running") {
        newcomers.kill(phase === "running" ? "SIGCONT" : "SIGSTOP");
        await lateness(page);
        const seconds = await nextSteps(coordinator, STEPS_A_TURN);
        // In the first one the other kind is still in it; the last turn may be over before its end.
        if (!over) taken[phase].push(...seconds.slice(1));
        lateMs[phase].push(await lateness(page));
      }
      await done;
      await rm(folder, { recursive: true, force: true });
    }
    const [pausedSeconds, runningSeconds] = [median(taken.paused), median(taken.running)];
    const ratio = runningSeconds / pausedSeconds;
    const late = { paused: median(lateMs.paused), running: median(lateMs.running) };
    const kept = ratio <= BOUND;
    console.log(
      `${NEWCOMERS} newcomers downloaded ${(bytes / 1e6 / Number(values.rounds)).toFixed(0)} MB together, ${values.rounds} times: a step took ${pausedSeconds.toFixed(2)} s while they paused (${taken.paused.length} steps) and ${runningSeconds.toFixed(2)} s while they downloaded (${taken.running.length})`,
    );
    console.log(
      `the coordinator's loop was late by ${late.paused.toFixed(0)} ms and ${late.running.toFixed(0)} ms (medians of each turn's greatest)`,
    );
    console.log(`${kept ? "ok  " : "MISS"} step time with downloads / without = ${ratio.toFixed(2)}, at most ${BOUND}`);
    if (values.report !== undefined)
      writeFileSync(
        typedPath(values.report),
        `${JSON.stringify({ newcomers: NEWCOMERS, ratio, bound: BOUND, pausedSeconds, runningSeconds, lateMs: late, taken }, null, 1)}\n`,
      );
    return kept;
  } finally {
    await processes.killAll();
    await rm(dir, { recursive: true, force: true });
  }
}
