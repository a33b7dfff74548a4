/**
 * What more workers are worth: the time to a held-out loss of a language model's job that leaves all settings to the coordinator, over real
 * processes on this machine, and for more workers than it has processors in simulated time (quality/swarm.ts), whose losses are real ones.
 * Times are measured: it wants a machine that does nothing else.
 */
import { existsSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Decision } from "@zoswarm/shared/ledger/folds";
import { typedPath } from "@zoswarm/shared/typed";
import { directionsOf } from "../../coordinator/src/round/size.ts";
import { decisionLine } from "../../coordinator/src/tell.ts";
import { costsOf } from "./quality/costs.ts";
import { jobNamed } from "./quality/jobs.ts";
import { type Lab, openLab } from "./quality/lab.ts";
import { runProcesses } from "./quality/processes.ts";
import { chartSvg } from "./quality/svg.ts";
import { runSwarm } from "./quality/swarm.ts";

/** MeZO's held-out loss on this job after 1,600 forward passes, in 800 steps: the mean of three seeds in the quality benchmark. */
const MEZO_LOSS = "3.814";
/** What is assumed of a swarm beyond this machine: a home line's way in one direction, a disk's, and a coordinator's processor time for a worker's part of a step (`npm run bench -- scale`). */
const ASSUMED = { delaySeconds: 0.025, announceSeconds: 0.005, resultSeconds: 0.0004 } as const;
const BESIDE = fileURLToPath(new URL("../../../shared/", import.meta.url));

interface Run {
  workers: number;
  seed: number;
  /** Whether the target ended it, and not its budget or a lack of progress. */
  isReached: boolean;
  /** From the first task to the held-out evaluation that reaches the target. */
  seconds: number;
  /** Commits that lead to that state: each waited for the one before it. */
  steps: number;
  /** Of all workers, also those after that state until it was known. */
  forwards: number;
  loss: number;
  /** Directions of a step as the coordinator chose them, after its probe. */
  directions: number[];
  decisions: string[];
  evaluations: { steps: number; loss: number; seconds?: number }[];
  stateHash: string;
  /** Real processes only: all replicas ended with that hash; a forward pass; the share of their time that workers were at one. */
  isAgreed?: boolean;
  forwardSeconds?: number;
  busyShare?: number;
}

/** Of the runs with so many workers: the mean time, and T1 / T, by the workers and by what this machine's processors allow. */
interface Speed {
  workers: number;
  seconds: number;
  steps: number;
  forwards: number;
  speedup: number | null;
  efficiency: number | null;
  efficiencyByCores?: number | null;
}

const OPTIONS = {
  report: { type: "string" },
  svg: { type: "string" },
  target: { type: "string", default: MEZO_LOSS },
  seeds: { type: "string", default: "1" },
  real: { type: "string", default: "1,2,4" },
  simulated: { type: "string", default: "1,2,4,16,64,256" },
  forwards: { type: "string", default: "20000" },
} as const;

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({ args, options: OPTIONS });
  const report = (content: object) => {
    if (values.report !== undefined) writeFileSync(typedPath(values.report), `${JSON.stringify(content, null, 1)}\n`);
  };
  if (!existsSync(join(BESIDE, "models")) || !existsSync(join(BESIDE, "data"))) {
    const skipped = "the model and the texts that it trains on are not beside the project, in ../shared";
    console.log(`skipped: ${skipped}`);
    report({ skipped });
    return true;
  }
  const [target, forwards, cores] = [numberOf("target", values.target), numberOf("forwards", values.forwards), availableParallelism()];
  const seeds = Array.from({ length: numberOf("seeds", values.seeds) }, (_, i) => i + 1);
  const source =
    values.target === MEZO_LOSS ? `MeZO's after 1,600 forward passes of this job (npm run bench -- quality), or --target` : "--target";
  console.log(`time to a held-out loss of ${target} (${source}), within ${forwards} forward passes; ${cores} processor cores`);
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-swarm-"));
  try {
    const { rate: _rate, steps: _steps, ...lm } = await jobNamed("lm", dir);
    const job = { ...lm, stop: { target: Math.exp(target), forwards } };
    const lab = await openLab(job, join(dir, "lab"));
    const costs = await costsOf(lab, 1);
    console.log(
      `here a forward pass takes ${(1000 * costs.forwardSeconds).toFixed(1)} ms, applying 16 directions ${(1000 * costs.groupSeconds).toFixed(2)} ms`,
    );
    const measured: Run[] = [];
    for (const workers of listOf("real", values.real))
      for (const seed of seeds) measured.push(said("measured", await measure(job, workers, seed, join(dir, `real-${workers}-${seed}`))));
    const simulated: Run[] = [];
    for (const workers of listOf("simulated", values.simulated))
      for (const seed of seeds) simulated.push(said("simulated", await simulate(lab, workers, seed, { ...costs, ...ASSUMED })));
    await lab.close();
    const speeds = { measured: speedsOf(measured, cores), simulated: speedsOf(simulated) };
    for (const [kind, each] of Object.entries(speeds)) for (const speed of each) console.log(`${kind.padEnd(9)} ${speedText(speed)}`);
    const kept = [...measured, ...simulated].every(({ isReached, isAgreed }) => isReached && isAgreed !== false);
    const { name, batch, evaluateEvery, estimator } = { name: "lm", ...lab.manifest.job };
    report({
      machine: { processor: cpus()[0]?.model ?? "", cores, node: process.version },
      job: { name, batch, evaluateEvery, estimator, heldout: lab.heldout.length },
      target: { loss: target, perplexity: Math.exp(target), source },
      budget: { forwards },
      costs: { ...costs, ...ASSUMED },
      ideal: `measured: min(workers, ${cores}) times as fast, since the workers share ${cores} processor cores, with the coordinator; simulated: as many times as there are workers`,
      speeds,
      runs: { measured, simulated },
      kept,
    });
    if (values.svg !== undefined) writeFileSync(typedPath(values.svg), drawn(target, speeds, cores));
    if (!kept) console.error("a run did not reach its target within its budget, or its replicas differ");
    return kept;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function numberOf(option: string, typed: string): number {
  const value = Number(typed);
  if (!(value > 0)) throw new Error(`--${option} ${typed}: must be a number above 0`);
  return value;
}

const listOf = (option: string, typed: string) => (typed === "" ? [] : typed.split(",").map((each) => numberOf(option, each)));

const chosenIn = (decisions: readonly Decision[]) =>
  decisions.flatMap(({ entry }) => (entry.kind === "rate" && !entry.probing ? [directionsOf(entry)] : []));
const isReachedIn = (decisions: readonly Decision[]) => decisions.some(({ entry }) => entry.kind === "end" && entry.reason === "target");
/** The evaluation that ended a job by its target; later ones are those of its last state. */
const endedBy = <E extends { loss: number }>(evaluations: readonly E[], target: number): E | undefined =>
  evaluations.find(({ loss }) => loss <= target) ?? evaluations.at(-1);

async function measure(job: Awaited<ReturnType<typeof jobNamed>>, workers: number, seed: number, dir: string): Promise<Run> {
  await mkdir(dir);
  const { decisions, stateHashes, seconds, ...rest } = await runProcesses({ ...job, seed: String(seed) }, workers, dir);
  // Told to four digits.
  const end = endedBy(rest.evaluations, Math.log((job.stop as { target: number }).target) + 5e-5);
  return {
    ...{ workers, seed, isReached: isReachedIn(decisions), seconds, steps: end?.steps ?? 0, loss: end?.loss ?? Number.NaN, ...rest },
    ...{ directions: chosenIn(decisions), decisions: decisions.map(decisionLine) },
    isAgreed: stateHashes.every((hash) => hash === rest.stateHash),
  };
}

async function simulate(
  lab: Lab,
  workers: number,
  seed: number,
  costs: Pick<Parameters<typeof runSwarm>[0], "forwardSeconds" | "groupSeconds" | keyof typeof ASSUMED>,
): Promise<Run> {
  const { evaluations, history, stateHash } = await runSwarm({
    lab,
    seed,
    job: {},
    workers,
    lookEvery: Number.POSITIVE_INFINITY,
    ...costs,
  });
  const { decisions } = history;
  const end = endedBy(evaluations, Math.log(lab.manifest.job.stop.target ?? 0));
  return {
    ...{
      workers,
      seed,
      isReached: isReachedIn(decisions),
      seconds: end?.seconds ?? 0,
      steps: end?.steps ?? 0,
      loss: end?.loss ?? Number.NaN,
    },
    ...{ forwards: end?.forwards ?? 0, directions: chosenIn(decisions), decisions: decisions.map(decisionLine) },
    ...{ evaluations: evaluations.map(({ steps, loss, seconds }) => ({ steps, loss, seconds })), stateHash },
  };
}

function said(kind: string, run: Run): Run {
  const { workers, seed, isReached, isAgreed, seconds, steps, forwards, loss, directions } = run;
  const end = `${isReached ? "loss" : "NOT REACHED: loss"} ${loss.toFixed(3)}${isAgreed === false ? ", REPLICAS DIFFER" : ""}`;
  console.log(
    `${kind} ${workers} worker(s), seed ${seed}: ${end} after ${seconds.toFixed(1)} s, ${steps} steps, ${forwards} forward passes; ${directions.join(", then ")} directions a step`,
  );
  return run;
}

/** Means over seeds; `cores` where workers share this machine. */
function speedsOf(runs: readonly Run[], cores?: number): Speed[] {
  const mean = (some: readonly Run[], key: "seconds" | "steps" | "forwards") => some.reduce((sum, one) => sum + one[key], 0) / some.length;
  const of = (workers: number) => runs.filter((one) => one.workers === workers);
  const alone = of(1).length > 0 ? mean(of(1), "seconds") : null;
  return [...new Set(runs.map(({ workers }) => workers))].map((workers) => {
    const some = of(workers);
    const speedup = alone && alone / mean(some, "seconds");
    return {
      ...{ workers, seconds: mean(some, "seconds"), steps: mean(some, "steps"), forwards: mean(some, "forwards") },
      ...{ speedup, efficiency: speedup && speedup / workers },
      ...(cores !== undefined && { efficiencyByCores: speedup && speedup / Math.min(workers, cores) }),
    };
  });
}

const percent = (share: number | null | undefined) => (share == null ? "-" : `${Math.round(100 * share)} %`);

function speedText({ workers, seconds, steps, forwards, speedup, efficiency, efficiencyByCores }: Speed): string {
  const byCores = efficiencyByCores === undefined ? "" : `, by this machine's cores ${percent(efficiencyByCores)}`;
  return `${String(workers).padStart(3)} worker(s)  ${seconds.toFixed(2).padStart(7)} s  ${steps.toFixed(0).padStart(4)} steps  ${forwards.toFixed(0).padStart(6)} forward passes  ${speedup?.toFixed(1) ?? "-"} x as fast: efficiency ${percent(efficiency)}${byCores}`;
}

/** Both kinds, each with the line that it would follow if workers were worth their number: of real ones at most the cores that they share. */
function drawn(target: number, { measured, simulated }: { measured: Speed[]; simulated: Speed[] }, cores: number): string {
  const pointsOf = (speeds: readonly Speed[], share: "efficiency" | "efficiencyByCores") => [
    speeds.map(({ workers, seconds, [share]: is }) => ({ x: workers, y: seconds, label: percent(is) })),
  ];
  const idealOf = (speeds: readonly Speed[], most: number) =>
    speeds[0]?.workers === 1
      ? speeds.map(({ workers }) => ({ x: workers, y: (speeds[0] as Speed).seconds / Math.min(workers, most) }))
      : [];
  return chartSvg({
    title: `Time to a held-out loss of ${target}, and the workers' efficiency`,
    x: { label: "workers", scale: "log2" },
    y: { label: "time (s)", scale: "log2" },
    series: [
      { name: "simulated swarm, home lines", runs: pointsOf(simulated, "efficiency") },
      { name: `measured on ${cores} cores, of what they allow`, runs: pointsOf(measured, "efficiencyByCores") },
    ],
    references: [
      { name: "ideal", at: idealOf(simulated, Number.POSITIVE_INFINITY) },
      { name: `ideal on ${cores} cores`, at: idealOf(measured, cores) },
    ],
  });
}
