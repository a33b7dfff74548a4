/**
 * `npm run bench -- quality [--report FILE] [--svg FOLDER] [--jobs lm,demo] [--seeds 3] [--forwards N]`: MeZO as published against ours, at
 * equal forward passes and from equal seeds, and first-order training beside them. Bounds are those of the language model: the
 * automatic choice needs at most 0.6 x the forward passes for the loss that MeZO ends at, a group of 64 at most 30 steps, one of 256
 * at most 8.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import { firstOrderOf } from "./beside.ts";
import { charts } from "./charts.ts";
import { FORWARDS, JOBS, type JobName, jobNamed, missing } from "./jobs.ts";
import { type Lab, openLab } from "./lab.ts";
import { automatic, fixed, last, type Method, mean, mezo, type Run, reached, withoutGains } from "./methods.ts";
import { openPlain, type Plain } from "./mezo.ts";

const MEZO_RATES: Record<JobName, readonly number[]> = {
  lm: [5e-5, 1e-4, 2e-4],
  demo: [6.4e-5, 2.56e-4, 1.024e-3, 4.096e-3],
  lora: [1e-4],
  words: [1e-4],
};
/** For a sum of projected gradients, and for normalised ones: of short grids by hand (shared/spec/training.md). */
const RATES: Record<JobName, { plain: number; normalised: number }> = {
  lm: { plain: 1e-4, normalised: 4e-4 },
  demo: { plain: 1e-6, normalised: 8e-5 },
  lora: { plain: 1e-3, normalised: 2e-3 },
  words: { plain: 5e-5, normalised: 5e-4 },
};
const WORKERS = 4;
const SHARE_MAX = 0.6;
const STEPS_MAX = { 64: 30, 256: 8 } as const;

export interface MethodReport {
  name: string;
  runs: Run[];
  finalLoss: number;
  finalScore: number;
  /** Mean over the seeds; null where one did not reach the loss that MeZO ends at. */
  forwardsToMezo: number | null;
  stepsToMezo: number | null;
}

export interface Bar {
  name: string;
  value: number | null;
  bound: number;
  kept: boolean;
}

function oursOf(lab: Lab, name: JobName): Method[] {
  const { plain, normalised } = RATES[name];
  const of = (label: string, directionsLog2: number, rest: object) =>
    fixed(lab, `group of ${2 ** directionsLog2}, ${label}`, { directionsLog2, ...rest });
  const twoPlain = { estimator: "two-sided", rule: "plain", rate: plain } as const;
  const oneSided = { estimator: "one-sided", rule: "normalised", rate: normalised } as const;
  return [
    ...[0, 2, 4, 6, 8].map((m) => of("two-sided, plain", m, twoPlain)),
    ...[4, 6].map((m) => of("two-sided, normalised", m, { ...twoPlain, rule: "normalised", rate: normalised })),
    ...[4, 6].map((m) => of("one-sided, plain", m, { ...oneSided, rule: "plain", rate: plain })),
    ...[2, 4, 6, 8].map((m) => of("one-sided, normalised", m, oneSided)),
    fixed(lab, "16 groups of 16, one-sided, normalised", { groups: 16, directionsLog2: 4, ...oneSided }),
  ];
}

async function seedsOf(method: Method, seeds: readonly number[], forwards: number): Promise<Run[]> {
  const runs: Run[] = [];
  for (const seed of seeds) {
    const run = await method.run(seed, forwards);
    console.log(
      `  ${method.name}, seed ${seed}: held-out loss ${last(run).loss.toFixed(4)} after ${last(run).forwards} forward passes, ${last(run).steps} steps`,
    );
    runs.push(run);
  }
  return runs;
}

/** The best of its rates by the first seed, then the other seeds with it. */
async function mezoOf(lab: Lab, plain: Plain, name: JobName, seeds: readonly number[], forwards: number) {
  const grid: { rate: number; run: Run }[] = [];
  for (const rate of MEZO_RATES[name])
    for (const run of await seedsOf(mezo(lab, plain, rate), seeds.slice(0, 1), forwards)) grid.push({ rate, run });
  const best = grid.reduce((least, one) => (last(one.run).loss < last(least.run).loss ? one : least));
  const runs = [best.run, ...(await seedsOf(mezo(lab, plain, best.rate), seeds.slice(1), forwards))];
  return {
    grid: grid.map(({ rate, run }) => ({ rate, loss: last(run).loss })),
    rate: best.rate,
    runs,
    loss: mean(runs.map((run) => last(run).loss)),
  };
}

function reportOf(name: string, runs: Run[], target: number): MethodReport {
  const at = runs.map(({ curve }) => reached(curve, target));
  const all = at.every((one) => one !== null) ? (at as { forwards: number; steps: number }[]) : null;
  return {
    ...{ name, runs, finalLoss: mean(runs.map((run) => last(run).loss)), finalScore: mean(runs.map((run) => last(run).score)) },
    forwardsToMezo: all && mean(all.map(({ forwards }) => forwards)),
    stepsToMezo: all && mean(all.map(({ steps }) => steps)),
  };
}

async function compare(name: JobName, seeds: readonly number[], forwards: number) {
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-quality-"));
  const job = await jobNamed(name, dir);
  const lab = await openLab(withoutGains(job), join(dir, "data"));
  const chosen = await openLab(job, join(dir, "chosen"));
  try {
    const plain = await openPlain(lab.manifest, lab.pathOf);
    const reference = await mezoOf(lab, plain, name, seeds, forwards);
    await plain.close();
    const methods: MethodReport[] = [reportOf(`MeZO, rate ${reference.rate}`, reference.runs, reference.loss)];
    for (const method of [automatic(chosen, WORKERS), ...oursOf(lab, name)])
      methods.push(reportOf(method.name, await seedsOf(method, seeds, forwards), reference.loss));
    const { grid, loss } = reference;
    return {
      job: name,
      forwards,
      seeds,
      mezo: { grid, loss },
      methods,
      firstOrder: await firstOrderOf(name, lab, dir, seeds[0] ?? 1, forwards),
    };
  } finally {
    await lab.close();
    await chosen.close();
    await rm(dir, { recursive: true, force: true });
  }
}

export type Comparison = Awaited<ReturnType<typeof compare>>;

function barsOf({ methods, forwards }: Comparison): Bar[] {
  const find = (start: string) => methods.find(({ name }) => name.startsWith(start));
  const bar = (name: string, value: number | null | undefined, bound: number): Bar => ({
    ...{ name, value: value ?? null, bound, kept: typeof value === "number" && value <= bound },
  });
  const share = find("automatic")?.forwardsToMezo;
  return [
    bar("automatic: share of MeZO's forward passes for its loss", typeof share === "number" ? share / forwards : null, SHARE_MAX),
    bar("group of 64: steps for it", find("group of 64, one-sided, normalised")?.stepsToMezo, STEPS_MAX[64]),
    bar("group of 256: steps for it", find("group of 256, one-sided, normalised")?.stepsToMezo, STEPS_MAX[256]),
  ];
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({
    args,
    options: {
      ...{ report: { type: "string" }, svg: { type: "string" }, jobs: { type: "string", default: "lm,demo" } },
      ...{ seeds: { type: "string", default: "3" }, forwards: { type: "string" } },
    },
  });
  const count = Number(values.seeds);
  const names = values.jobs.split(",").filter((name): name is JobName => (JOBS as readonly string[]).includes(name));
  if (!Number.isInteger(count) || count < 1 || names.length === 0)
    throw new Error(`--jobs takes ${JOBS.join(", ")} (it is ${values.jobs}); --seeds a number from 1 on (it is ${values.seeds})`);
  const comparisons: Comparison[] = [];
  const skipped: { job: string; why: string }[] = [];
  for (const name of names) {
    const why = missing(name);
    console.log(`${name}: ${why === null ? `${count} seeds` : `skipped: ${why}`}`);
    if (why !== null) skipped.push({ job: name, why });
    else
      comparisons.push(
        await compare(
          name,
          Array.from({ length: count }, (_, i) => i + 1),
          Number(values.forwards ?? FORWARDS[name]),
        ),
      );
  }
  const bars = comparisons.filter(({ job }) => job === "lm").flatMap(barsOf);
  for (const { job, methods, mezo, forwards } of comparisons) {
    console.log(`\n${job}: MeZO ends at ${mezo.loss.toFixed(4)} after ${forwards} forward passes`);
    for (const { name, finalLoss, forwardsToMezo, stepsToMezo } of methods)
      console.log(
        `  ${name.padEnd(42)} ${finalLoss.toFixed(4)}  ${forwardsToMezo === null ? "not reached" : `reached after ${forwardsToMezo.toFixed(0)} forward passes, ${stepsToMezo?.toFixed(1)} steps`}`,
      );
  }
  for (const { name, value, bound, kept } of bars)
    console.log(`${kept ? "ok    " : "MISSED"} ${name}: ${value?.toFixed(3) ?? "not reached"} (bound ${bound})`);
  if (values.report !== undefined)
    await writeFile(typedPath(values.report), `${JSON.stringify({ bars, comparisons, skipped }, null, 1)}\n`);
  if (values.svg !== undefined) {
    const folder = typedPath(values.svg);
    await mkdir(folder, { recursive: true });
    for (const [file, svg] of comparisons.flatMap(charts)) await writeFile(join(folder, file), svg);
  }
  return bars.every(({ kept }) => kept);
}
