/**
 * `npm run sim -- --seed N [--workers W] [--steps S] [--count C] [--mutate NAME] [--quiet]`: replays what the seed draws, event by event, and
 * prints the trace; with `--count` as many seeds from N on, and only those that fail.
 * `--scale [--report FILE]` measures 100, 1,000 and 10,000 workers instead (scale.ts). Exits 1 where an invariant is violated.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { MUTATIONS } from "./mutations.ts";
import { reportScale } from "./scale.ts";
import { simulate } from "./simulate.ts";

const OPTIONS = {
  seed: { type: "string", default: "1" },
  workers: { type: "string" },
  steps: { type: "string" },
  count: { type: "string" },
  mutate: { type: "string" },
  scale: { type: "boolean", default: false },
  report: { type: "string" },
  quiet: { type: "boolean", default: false },
} as const;

const { values } = options();

function options() {
  try {
    return parseArgs({ options: OPTIONS });
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}

function whole(name: string, text: string | undefined, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  console.error(`--${name} ${text}: a whole number from 0 to ${most}`);
  process.exit(1);
}

if (values.scale) {
  reportScale(values.report === undefined ? undefined : resolve(process.env.INIT_CWD ?? ".", values.report));
  process.exit(0);
}
const seed = whole("seed", values.seed, Number.MAX_SAFE_INTEGER) ?? 1;
const asked = { workers: whole("workers", values.workers, 1_000), steps: whole("steps", values.steps, 10_000), mutate: values.mutate };
if (values.mutate !== undefined && !(values.mutate in MUTATIONS)) {
  console.error(`--mutate ${values.mutate}: unknown; there are ${Object.keys(MUTATIONS).join(", ")}`);
  process.exit(1);
}
const count = whole("count", values.count, 1e9);
let failed = 0;
for (let n = 0; n < (count ?? 1); n++) {
  const print = values.quiet || count !== undefined ? undefined : (line: string) => console.log(line);
  const outcome = simulate({ seed: seed + n, ...asked, print });
  if (outcome.failure !== null) failed++;
  if (count !== undefined && outcome.failure === null) continue;
  const end = outcome.failure === null ? "every invariant held" : `VIOLATED ${outcome.failure.message}`;
  console.log(
    `seed ${seed + n}: ${outcome.steps} steps, ${outcome.scenario.workers} workers, ${outcome.deaths} deaths, ${outcome.events} events in ${(outcome.virtualMs / 1000).toFixed(1)} s of virtual time; ${end}; trace ${outcome.traceHash.slice(0, 16)}`,
  );
}
if (count !== undefined) console.log(`${count - failed} seeds held, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
