/**
 * `npm run soak -- --minutes M [--seed N] [--report FILE]`: the demo's job with a coordinator and three workers as people start them,
 * and faults for all of them from one seed. Exits 0 only where nothing that was announced is lost, all replicas hold one truth, memory
 * is flat, nothing leaks, and every process stops when it is asked to.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { writeMails } from "../../deploy/demo/data.ts";
import { jobOf } from "../../deploy/demo/job.ts";
import { convertModel } from "../../deploy/demo/model.ts";
import { contradictions, startRecorder } from "../e2e/recorder.ts";
import { generator } from "../e2e/tinyjob.ts";
import { nextFault, VICTIMS } from "./faults.ts";
import { copyFaults } from "./replicas.ts";
import { createSoakSwarm, type SoakSwarm } from "./swarm.ts";

/** More steps than any soak can take: the job goes on for as long as it is struck. */
const STEPS = 100_000;
/** After the last fault everybody must be at work again. */
const RECOVERY_MS = 180_000;
const WORKERS = VICTIMS.filter((name) => name !== "coordinator");

function options() {
  const { values } = parseArgs({
    options: { minutes: { type: "string", default: "20" }, seed: { type: "string", default: "1" }, report: { type: "string" } },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0 && minutes <= 10_000)) throw new Error(`--minutes is ${values.minutes}; it must be a number above 0`);
  if (!Number.isInteger(seed) || seed < 1 || seed > 0xffffffff)
    throw new Error(`--seed is ${values.seed}; it must be a whole number from 1 to 4294967295`);
  return { minutes, seed, report: values.report };
}

/** Everyone has taken two more steps. */
async function atWork(swarm: SoakSwarm): Promise<boolean> {
  const steps = VICTIMS.map(async (name) => {
    const one = swarm.running(name);
    await one.line(/^step /, one.lines.length);
    await one.line(/^step /, one.lines.length);
  });
  const timeout = setTimeout(RECOVERY_MS, false, { ref: false });
  return Promise.race([
    Promise.all(steps).then(
      () => true,
      () => false,
    ),
    timeout,
  ]);
}

async function soak(dir: string, { minutes, seed, report }: ReturnType<typeof options>): Promise<boolean> {
  const input = join(dir, "input");
  await convertModel(input);
  await writeMails(input);
  mkdirSync(join(dir, "samples"));
  const job = join(dir, "job.json");
  writeFileSync(job, JSON.stringify(jobOf(input, STEPS)));
  const swarm = createSoakSwarm(dir, job);
  const random = generator(seed);
  const struck: Record<string, number> = {};
  const { failures } = swarm;
  const data = join(dir, "coordinator");
  try {
    const address = await swarm.start();
    const recorder = await startRecorder(data, address);
    const untilMs = performance.now() + 60_000 * minutes;
    for (let fault = nextFault(random); performance.now() + fault.afterMs < untilMs; fault = nextFault(random)) {
      await setTimeout(fault.afterMs);
      if (!swarm.strike(fault)) continue;
      const what = `${fault.signal} ${fault.victim}`;
      struck[what] = (struck[what] ?? 0) + 1;
      const seconds = Math.round((performance.now() - untilMs) / 1000 + 60 * minutes);
      console.log(`${seconds} s: ${what}, away ${(fault.awayMs / 1000).toFixed(1)} s; ${recorder.heard.size} entries heard`);
    }
    await setTimeout(Math.max(0, untilMs - performance.now()));
    await swarm.allBack();
    if (!(await atWork(swarm))) failures.push(`not everybody was at work again ${RECOVERY_MS / 1000} s after the last fault`);
    // Without the coordinator nothing is committed any more; what it announced has reached everybody who was connected.
    await swarm.retire("coordinator");
    for (const name of WORKERS) await swarm.retire(name);
    await recorder.stop();
    const bundle = join(dir, "bundle");
    const [, entries, steps, stateHash] =
      /^(\d+) ledger entries, (\d+) steps, state hash ([0-9a-f]{64})/.exec(
        (await swarm.coordinator(["export", data, bundle])).at(-1) ?? "",
      ) ?? [];
    failures.push(...contradictions(recorder.heard, bundle));
    for (const name of WORKERS) failures.push(...(await copyFaults(name, dir, bundle, swarm)));
    const measured = {
      ...{ minutes, seed, struck, starts: swarm.starts, entries: Number(entries), steps: Number(steps), stateHash },
      ...{ announcementsHeard: recorder.heard.size, failures, lives: swarm.lives },
    };
    tell(measured);
    if (report !== undefined) writeFileSync(typedPath(report), `${JSON.stringify(measured, null, 1)}\n`);
    return failures.length === 0;
  } finally {
    await swarm.stop();
  }
}

function tell({ struck, starts, entries, steps, stateHash, announcementsHeard, failures, lives }: Measured): void {
  const faults = Object.entries(struck).map(([what, count]) => `${what} ${count}`);
  console.log(`faults     ${Object.values(struck).reduce((sum, count) => sum + count, 0)} (${faults.sort().join(", ")}), ${starts} starts`);
  console.log(`ledger     ${entries} entries, ${steps} steps, state hash ${stateHash}; ${announcementsHeard} entries were heard`);
  for (const { name, seconds, rssMb, rssMbPerHour, heapMbPerHour, handles, timers } of lives)
    if (rssMbPerHour !== null)
      console.log(
        `life       ${name.padEnd(11)} ${seconds.toFixed(0).padStart(5)} s  ${rssMb.toFixed(0)} MB, ${rssMbPerHour.toFixed(0)} MB/hour (heap ${heapMbPerHour?.toFixed(0)})  handles ${handles?.join(" -> ") ?? "-"}  timers ${timers?.join(" -> ")}`,
      );
  for (const failure of failures) console.log(`FAILED     ${failure}`);
  console.log(failures.length === 0 ? "ok: nothing lost, one truth, flat memory, no leaks" : `${failures.length} failures`);
}

type Measured = Pick<SoakSwarm, "lives" | "failures" | "starts"> & {
  struck: Record<string, number>;
  entries: number;
  steps: number;
  stateHash: string | undefined;
  announcementsHeard: number;
};

try {
  const asked = options();
  const dir = mkdtempSync(join(tmpdir(), "zoswarm-soak-"));
  console.log(`soak       ${asked.minutes} minutes, seed ${asked.seed}, in ${dir}`);
  const held = await soak(dir, asked);
  // What went wrong is kept to be looked at.
  if (held) rmSync(dir, { recursive: true });
  process.exit(held ? 0 : 1);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
