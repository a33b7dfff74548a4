/**
 * What more workers are worth: the time to a held-out loss of a language model's job that leaves all settings to the coordinator, over real
 * processes on this machine, and for more workers than it has processors in simulated time (quality/swarm.ts), whose losses are real ones.
 * Times are measured: it wants a machine that does nothing else.
 */
import { existsSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { costsOf } from "./quality/costs.ts";
import { jobNamed } from "./quality/jobs.ts";
import { openLab } from "./quality/lab.ts";
import { measureRun, type Run, type Speed, simulateRun, speedsOf } from "./quality/speed.ts";
import { chartSvg } from "./quality/svg.ts";

/** MeZO's held-out loss on this job after 1,600 forward passes, in 800 steps: the mean of three seeds in the quality benchmark. */
const MEZO_LOSS = "3.826";
/** What is assumed of a swarm beyond this machine: a home line's way in one direction, a disk's, and a coordinator's processor time for a worker's part of a step (`npm run bench -- scale`). */
const ASSUMED = { delaySeconds: 0.025, announceSeconds: 0.005, resultSeconds: 0.0004 } as const;
const BESIDE = fileURLToPath(new URL("../../../shared/", import.meta.url));

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
      for (const seed of seeds)
        measured.push(said("measured", await measureRun(job, target, workers, seed, join(dir, `real-${workers}-${seed}`))));
    const simulated: Run[] = [];
    for (const workers of listOf("simulated", values.simulated))
      for (const seed of seeds) simulated.push(said("simulated", await simulateRun({ lab, workers, seed, ...costs, ...ASSUMED }, target)));
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

function said(kind: string, run: Run): Run {
  const { workers, seed, isReached, isAgreed, seconds, crossedSeconds, probeSeconds, steps, forwards, loss, directions } = run;
  const end = `${isReached ? "loss" : "NOT REACHED: loss"} ${loss.toFixed(3)}${isAgreed === false ? ", REPLICAS DIFFER" : ""}`;
  console.log(
    `${kind} ${workers} worker(s), seed ${seed}: ${end} after ${seconds.toFixed(1)} s (probe ${probeSeconds.toFixed(1)} s, there at ${crossedSeconds.toFixed(1)} s), ${steps} steps, ${forwards} forward passes; ${directions.join(", then ")} directions a step`,
  );
  return run;
}

const percent = (share: number | null | undefined) => (share == null ? "-" : `${Math.round(100 * share)} %`);

function speedText({ workers, seconds, crossedSeconds, steps, forwards, speedup, ...shares }: Speed): string {
  const { efficiency, crossedEfficiency, efficiencyByCores } = shares;
  const byCores = efficiencyByCores === undefined ? "" : `; by this machine's cores ${percent(efficiencyByCores)}`;
  return `${String(workers).padStart(3)} worker(s)  ${seconds.toFixed(2)} s (there at ${crossedSeconds.toFixed(2)} s), ${steps.toFixed(0)} steps, ${forwards.toFixed(0)} forward passes: ${speedup?.toFixed(1) ?? "-"} x as fast, efficiency ${percent(efficiency)} (${percent(crossedEfficiency)})${byCores}`;
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
      { name: `measured on ${cores} cores, of what they allow`, runs: pointsOf(measured, "efficiencyByCores") },
      { name: "simulated, on home lines", runs: pointsOf(simulated, "efficiency") },
      {
        name: "simulated, until the state had it",
        runs: [simulated.map(({ workers, crossedSeconds }) => ({ x: workers, y: crossedSeconds }))],
      },
    ],
    references: [
      { name: "ideal", at: idealOf(simulated, Number.POSITIVE_INFINITY) },
      { name: `ideal on ${cores} cores`, at: idealOf(measured, cores) },
    ],
  });
}
