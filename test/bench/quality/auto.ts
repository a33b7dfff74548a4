import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jobNamed } from "./jobs.ts";
import { openLab } from "./lab.ts";
import { runSwarm } from "./swarm.ts";

const [name = "lm", n = "1600", seeds = "1", w = "4", more = "{}"] = process.argv.slice(2);
const dir = await mkdtemp(join(tmpdir(), "q-"));
const job: Record<string, unknown> = await jobNamed(name, dir);
delete job.rate;
delete job.steps;
delete job.directionsLog2;
delete job.epsilonLog2;
const lab = await openLab({ ...job, stop: { forwards: Number(n) }, evaluateEvery: 5 }, join(dir, "data"));
for (const seed of seeds.split(",").map(Number)) {
  const run = await runSwarm({
    lab,
    seed,
    job: JSON.parse(more),
    workers: Number(w),
    forwardSeconds: 0.01,
    delaySeconds: 0.005,
    lookEvery: 64,
  });
  for (const d of run.decisions) console.log(d.afterStep, d.what, "|", d.why);
  console.log(
    name,
    "seed",
    seed,
    "final",
    run.curve.at(-1)!.loss.toFixed(4),
    run.curve.map((p) => `${p.forwards}/${p.steps}:${p.loss.toFixed(3)}`).join(" "),
  );
}
await lab.close();
