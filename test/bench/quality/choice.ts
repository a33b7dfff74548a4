/**
 * `npm run bench -- choice [--report FILE] [--jobs lm,demo,lora,words] [--seeds 3]`: whether what the coordinator chooses is as good as what
 * a search finds. On each job a grid of constant rates and sizes of a step, at equal forward passes, against the automatic choice with its
 * probe paid for; and that against the same choice without steering, and against what its probe found held constant, the probe not paid for.
 * Bounds: a final held-out loss of at most 1.1 x that of the best grid point, and below that of the constant rate.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { FORWARDS, JOBS, type JobName, jobNamed, missing } from "./jobs.ts";
import { type Lab, openLab } from "./lab.ts";
import { automatic, fixed, last, type Method, mean, type Run, withoutGains } from "./methods.ts";

/** Factors of two around what hand-tuned runs of these jobs use. */
const RATES: Record<JobName, readonly number[]> = {
  lm: [1e-4, 2e-4, 4e-4, 8e-4],
  demo: [2e-5, 4e-5, 8e-5, 1.6e-4, 3.2e-4],
  lora: [5e-4, 1e-3, 2e-3, 4e-3],
  words: [2e-4, 4e-4, 8e-4, 1.6e-3],
};
const SIZES = [1, 4] as const;
const BOUND = 1.1;
const WORKERS = 4;

interface Outcome {
  name: string;
  losses: number[];
  mean: number;
  runs: Run[];
}

async function outcomeOf(method: Method, seeds: readonly number[], forwards: number): Promise<Outcome> {
  const runs: Run[] = [];
  for (const seed of seeds) runs.push(await method.run(seed, forwards));
  const losses = runs.map((run) => last(run).loss);
  const outcome = { name: method.name, losses, mean: mean(losses), runs };
  console.log(`  ${method.name.padEnd(44)} ${outcome.mean.toFixed(4)}  (${losses.map((loss) => loss.toFixed(4)).join(", ")})`);
  return outcome;
}

/** Without the curves. */
const shown = ({ name, losses, mean, runs }: Outcome) => ({
  ...{ name, losses, mean },
  ...(runs[0]?.decisions === undefined ? {} : { decisions: runs.map(({ decisions }) => decisions) }),
});

/** What each seed's probe found, from the initial state on and held constant. */
const heldConstant = (lab: Lab, runs: readonly Run[]): Method => ({
  name: "what its probe found, held constant",
  run(seed, forwards) {
    const found = runs.find((run) => run.seed === seed)?.found;
    if (found == null) throw new Error(`the probe of seed ${seed} found nothing`);
    const { rate, epsilonLog2, groups, directionsLog2 } = found;
    return fixed(lab, "", { rate, epsilonLog2, groups, directionsLog2 }).run(seed, forwards);
  },
});

async function judge(name: JobName, seeds: readonly number[]) {
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-choice-"));
  const job = await jobNamed(name, dir);
  const lab = await openLab(withoutGains(job), join(dir, "data"));
  const own = await openLab(job, join(dir, "own"));
  try {
    const forwards = FORWARDS[name];
    const chosen = await outcomeOf(automatic(own, WORKERS), seeds, forwards);
    const unsteered = await outcomeOf(
      { ...automatic(own, WORKERS, { evaluateEvery: 1e6 }), name: "automatic, never steered" },
      seeds,
      forwards,
    );
    const constant = await outcomeOf(heldConstant(own, chosen.runs), seeds, forwards);
    const grid: { method: Method; loss: number }[] = [];
    for (const rate of RATES[name])
      for (const groups of SIZES) {
        const method = fixed(lab, `rate ${rate}, ${groups} x 16 directions`, { rate, groups });
        grid.push({ method, loss: (await outcomeOf(method, seeds.slice(0, 1), forwards)).mean });
      }
    const least = grid.reduce((one, other) => (other.loss < one.loss ? other : one));
    const best = await outcomeOf(least.method, seeds, forwards);
    return {
      job: name,
      forwards,
      chosen: shown(chosen),
      unsteered: shown(unsteered),
      constant: shown(constant),
      grid: grid.map(({ method, loss }) => ({ name: method.name, loss })),
      best: shown(best),
      ratio: chosen.mean / best.mean,
    };
  } finally {
    await lab.close();
    await own.close();
    await rm(dir, { recursive: true, force: true });
  }
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({
    args,
    options: { report: { type: "string" }, jobs: { type: "string", default: JOBS.join(",") }, seeds: { type: "string", default: "3" } },
  });
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
  const verdicts: Awaited<ReturnType<typeof judge>>[] = [];
  const skipped: { job: string; why: string }[] = [];
  for (const name of JOBS.filter((job) => values.jobs.split(",").includes(job))) {
    const why = missing(name);
    console.log(`${name}${why === null ? "" : `: skipped: ${why}`}`);
    if (why !== null) skipped.push({ job: name, why });
    else verdicts.push(await judge(name, seeds));
  }
  const isKept = ({ ratio, chosen, constant }: (typeof verdicts)[number]) => ratio <= BOUND && chosen.mean < constant.mean;
  for (const verdict of verdicts) {
    const { job, ratio, chosen, unsteered, constant, best } = verdict;
    console.log(
      `${isKept(verdict) ? "ok    " : "MISSED"} ${job}: ${chosen.mean.toFixed(4)} is ${ratio.toFixed(3)} x the best grid point (${best.name}, ${best.mean.toFixed(4)}); never steered ${unsteered.mean.toFixed(4)}, held constant ${constant.mean.toFixed(4)}`,
    );
  }
  if (values.report !== undefined)
    await writeFile(typedPath(values.report), `${JSON.stringify({ bound: BOUND, verdicts, skipped }, null, 1)}\n`);
  return verdicts.every(isKept);
}
