/**
 * `npm run demo`: a real swarm on this machine. One coordinator and three workers, each its own process, fine-tune a pretrained
 * sentence encoder to tell spam from ham, and the result is shown in plain words. Everything is written under .zoswarm/demo.
 */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { onStopSignal } from "@zoswarm/shared/signals";
import { typedPath } from "@zoswarm/shared/typed";
import { writeMails } from "./data.ts";
import { jobOf } from "./job.ts";
import { convertModel } from "./model.ts";
import { type CoordinatorReport, demoReport, type WorkerReport } from "./report.ts";
import { createScreen } from "./screen.ts";
import { chooseMails, say } from "./summary.ts";
import { createSwarm, type Swarm } from "./swarm.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const HOME = join(ROOT, ".zoswarm", "demo");
/** Runs are kept to be looked at; older ones make room. */
const RUNS_KEPT = 3;
const WORKERS = ["ada", "grace", "alan"];

const usage = `usage: npm run demo -- [--steps N] [--report FILE]

Fine-tunes a sentence encoder of 7 million weights to tell spam from ham, with a coordinator and three workers on this machine.
  --steps N      how many steps to train (default 64, about a minute and a half on 2 cores)
  --report FILE  write what was measured as JSON`;

function options(): { steps: number; report: string | undefined } {
  try {
    const { values } = parseArgs({
      options: { steps: { type: "string", default: "64" }, report: { type: "string" }, help: { type: "boolean" } },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const steps = Number(values.steps);
    if (!Number.isInteger(steps) || steps < 1 || steps > 200)
      throw new Error(`--steps is ${values.steps}; it must be a whole number from 1 to 200`);
    return { steps, report: values.report === undefined ? undefined : typedPath(values.report) };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exit(1);
  }
}

/** A new folder for this run; the oldest ones go. */
async function newRun(): Promise<string> {
  await mkdir(HOME, { recursive: true });
  const runs = (await readdir(HOME)).filter((name) => name.startsWith("run-")).sort();
  for (const old of runs.slice(0, Math.max(0, runs.length - RUNS_KEPT + 1))) await rm(join(HOME, old), { recursive: true, force: true });
  const dir = join(HOME, `run-${new Date().toISOString().replace(/[:.]/g, "-")}`);
  await mkdir(dir);
  return dir;
}

async function main(): Promise<number> {
  const startedMs = performance.now();
  const { steps, report } = options();
  const dir = await newRun();
  const input = join(HOME, "input");
  let swarm: Swarm | undefined;
  let stopped = false;
  const unhandle = onStopSignal(() => {
    stopped = true;
    console.log("\nstopping");
    void swarm?.stop();
  });
  try {
    console.log("preparing   the encoder and the mails, from their npm packages");
    await convertModel(input);
    const mails = await writeMails(input);
    if (stopped) return 130;
    const job = join(dir, "job.json");
    await writeFile(job, `${JSON.stringify(jobOf(input, steps), null, 1)}\n`);
    swarm = createSwarm({ dir, job, workers: WORKERS });
    const address = await swarm.start();
    console.log(
      `data        ${mails.trainRows} mails to train on, ${mails.heldoutRows} held out, half of each spam: guessing is right half of the time`,
    );
    console.log(`page        ${address.page}`);
    console.log(`join in     ${address.joinCommand}`);
    const screen = createScreen(address.page);
    const ended = await swarm.finished().finally(() => screen.close());
    if (stopped || ended === "stopped") return 130;

    const bundle = join(dir, "bundle");
    const dataDir = join(dir, "coordinator");
    await swarm.coordinator(["export", dataDir, bundle]);
    const read = async (name: string) => JSON.parse(await readFile(join(dir, `${name}.json`), "utf8"));
    const coordinator = (await read("coordinator-report")) as CoordinatorReport;
    const workers = (await Promise.all(WORKERS.map((name) => read(`${name}-report`)))) as WorkerReport[];
    const shown = await chooseMails(join(input, "heldout.jsonl"), swarm, dataDir);
    const measured = demoReport({ coordinator, workers, bundle, startedMs });
    say({ measured, coordinator, shown, dataDir, dir, home: HOME, mails });
    if (report !== undefined) await writeFile(report, `${JSON.stringify(measured, null, 1)}\n`);
    const agree = new Set([measured.coordinatorStateHash, ...measured.workers.map(({ stateHash }) => stateHash)]).size === 1;
    if (!agree) console.error("the four replicas do NOT hold the same parameters: this is a bug, please report it");
    return agree ? 0 : 1;
  } catch (error) {
    if (stopped) return 130;
    console.error(`\n${(error as Error).message}`);
    return 1;
  } finally {
    await swarm?.stop();
    unhandle();
  }
}

process.exit(await main());
