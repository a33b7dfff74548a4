/**
 * What more a forward pass gives under each trick of trickslist.ts: held-out loss at equal work and equal seeds, against the baseline.
 * `npm run bench -- tricks [--job lm|words|lora|demo] [--forwards N] [--seeds 1,2,3] [--only NAME,...] [--out FILE]`; a name may end in `*`.
 */
import { appendFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { JOBS, type JobName, jobNamed, missing } from "./jobs.ts";
import { openLab } from "./lab.ts";
import { mean, withoutGains } from "./methods.ts";
import { withGains } from "./tricksgains.ts";
import { TRICKS } from "./trickslist.ts";
import { type Point, type Settings, type Trick, train } from "./trickstrain.ts";

/** The best of a grid of constant rates, each twice the one before. */
const RATES: Record<JobName, number> = { lm: 4e-4, words: 5e-4, lora: 2e-3, demo: 8e-5 };

const varianceOf = (values: readonly number[]) =>
  mean(values.map((value) => (value - mean(values)) ** 2)) * (values.length / (values.length - 1));

/** A line of the table: losses at each look, and the last one's difference to the baseline, in units of the difference's own deviation. */
function lineOf(name: string, runs: readonly Point[][], baseline: readonly Point[][]): string {
  const lossesAt = (some: readonly Point[][], look: number) => some.map((points) => points[look]?.loss ?? Number.NaN);
  const last = (runs[0]?.length ?? 0) - 1;
  const [own, theirs] = [lossesAt(runs, last), lossesAt(baseline, last)];
  const difference = mean(own) - mean(theirs);
  const noise = Math.sqrt((varianceOf(own) + varianceOf(theirs)) / own.length);
  const means = Array.from({ length: last + 1 }, (_, look) => mean(lossesAt(runs, look)).toFixed(3));
  const cells = [
    name,
    runs[0]?.[last]?.steps,
    ...means,
    Math.sqrt(varianceOf(own)).toFixed(3),
    difference.toFixed(3),
    (difference / noise).toFixed(1),
  ];
  return `| ${cells.join(" | ")} |`;
}

export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({
    args,
    options: {
      job: { type: "string", default: "lm" },
      forwards: { type: "string", default: "1600" },
      seeds: { type: "string", default: "1,2,3" },
      only: { type: "string", default: "*" },
      out: { type: "string" },
    },
  });
  const name = JOBS.find((one) => one === values.job);
  if (name === undefined) throw new Error(`--job is ${values.job}; it must be one of ${JOBS.join(", ")}`);
  const why = missing(name);
  if (why !== null) {
    console.log(`${name}: skipped: ${why}`);
    return true;
  }
  const names = values.only.split(",");
  const isAsked = ({ name }: Trick) => names.some((asked) => (asked.endsWith("*") ? name.startsWith(asked.slice(0, -1)) : name === asked));
  const looks = [1 / 4, 1 / 2, 1].map((share) => Math.round(Number(values.forwards) * share));
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-tricks-"));
  try {
    const job = withoutGains(await jobNamed(name, dir));
    const plain = await openLab(job, join(dir, "plain"));
    const base: Settings = {
      m: 4,
      groups: 1,
      batch: plain.manifest.job.batch,
      estimator: "one-sided",
      rule: "normalised",
      rate: RATES[name],
      clip: 2,
      epsilonLog2: -10,
    };
    let baseline: Point[][] | undefined;
    console.log(`| trick | steps | ${looks.join(" | ")} | deviation | difference | / noise |\n|${" --- |".repeat(looks.length + 5)}`);
    for (const trick of TRICKS.filter((one) => one.name === "baseline" || isAsked(one))) {
      const gained = trick.gains && (await withGains(job, plain, trick.gains, dir));
      const lab = gained ? await openLab(gained.keys, join(dir, "gained")) : plain;
      const runs: Point[][] = [];
      for (const seed of values.seeds.split(",").map(Number)) {
        runs.push(await train(lab, trick, { ...base, rate: base.rate * (gained?.times ?? 1) }, seed, looks));
        if (values.out)
          appendFileSync(values.out, `${JSON.stringify({ job: values.job, trick: trick.name, seed, points: runs.at(-1) })}\n`);
      }
      if (lab !== plain) await lab.close();
      baseline ??= runs;
      console.log(lineOf(trick.name, runs, baseline));
    }
    await plain.close();
    return true;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
