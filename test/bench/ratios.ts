/**
 * The ratios that the arithmetic promises, each of two passes over the same memory that take turns in one run, so that a busy
 * machine slows both. Prints medians.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { typedPath } from "@zoswarm/shared/typed";
import type { Commit } from "@zoswarm/shared/zo/commit";
import { createParameters } from "@zoswarm/shared/zo/kernel";

/** 128 MiB of parameters: beyond any cache, as a model is. */
const ELEMENTS = 2 ** 25;
const ROUNDS = 21;
/** Rounds that are not counted: until the JavaScript around the kernel is compiled. */
const WARM_UP = 3;
const STEPS = 100;

interface Bench {
  name: string;
  /** The ratio of the two medians, `over` / `under`, and the bound that it must keep. */
  over: { name: string; run: () => void };
  under: { name: string; run: () => void };
  bound: { most: number } | { least: number };
  rounds?: number;
}

const parameters = createParameters([{ name: "theta", shape: [ELEMENTS], q: 22, gain: 0 }], [1, 2, 3, 4]);
const { kernel } = parameters;
const theta = parameters.view(0);
const at = { step: 1, group: 0, m: 4, epsilonLog2: -8 };

function commit(step: number, m: number): Commit {
  const a = Int32Array.from({ length: 2 ** m }, (_, k) => ((Math.imul(k + step, 0x9e3779b1) >>> 16) & 0x7fff) - 2 ** 14);
  return { step, groups: [{ g: 0, m, p: 36, a }] };
}

let sign = 1;
function perturb(): void {
  sign = -sign;
  parameters.perturb({ ...at, moves: [{ k: 3, n: sign }] });
}

/** MeZO as published: theta += epsilon * z with z normal, by Box-Muller from a 32-bit generator, in place, no table of z kept. */
function gaussian(): void {
  let state = 42;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  sign = -sign;
  const epsilon = sign * 2 ** -8;
  for (let i = 0; i < theta.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    theta[i] = (theta[i] as number) + epsilon * radius * Math.cos(angle);
    theta[i + 1] = (theta[i + 1] as number) + epsilon * radius * Math.sin(angle);
  }
}

/** A pass over a commit of 2^m directions, another step each time: every step reads its table in an order of its own. */
function commits(m: number): () => void {
  const steps = Array.from({ length: WARM_UP + ROUNDS }, (_, step) => commit(step, m));
  let next = 0;
  return () => parameters.commit(steps[next++] as Commit);
}

const hundred = Array.from({ length: STEPS }, (_, step) => commit(step, 8));
const BENCHES: Bench[] = [
  {
    name: "perturbStream",
    over: { name: "perturb along one direction", run: perturb },
    under: { name: "f[i] += c", run: () => kernel.addConstant(theta.byteOffset, ELEMENTS, 2 ** -22) },
    bound: { most: 1.35 },
  },
  {
    name: "replayDirections",
    over: { name: "replay a step of 4096 directions", run: commits(12) },
    under: { name: "replay a step of 1 direction", run: commits(0) },
    bound: { most: 1.15 },
  },
  {
    name: "replayBlocked",
    over: { name: `replay ${STEPS} steps block by block`, run: () => parameters.replay(hundred) },
    under: {
      name: `replay ${STEPS} steps pass by pass`,
      run: () => {
        for (const one of hundred) parameters.commit(one);
      },
    },
    bound: { most: 0.7 },
    rounds: 3,
  },
  {
    name: "gaussianBaseline",
    over: { name: "Gaussian perturbation by Box-Muller in JavaScript", run: gaussian },
    under: { name: "perturb along one direction", run: perturb },
    bound: { least: 30 },
    rounds: 3,
  },
];

function milliseconds(work: () => void): number {
  const from = performance.now();
  work();
  return performance.now() - from;
}

const median = (values: number[]) => values.sort((one, other) => one - other)[values.length >> 1] as number;

function measure({ name, over, under, bound, rounds = ROUNDS }: Bench) {
  const times = { over: [] as number[], under: [] as number[] };
  for (let round = -WARM_UP; round < rounds; round++) {
    const one = milliseconds(over.run);
    const other = milliseconds(under.run);
    if (round < 0) continue;
    times.over.push(one);
    times.under.push(other);
  }
  const overMs = median(times.over);
  const underMs = median(times.under);
  const ratio = overMs / underMs;
  const held = "most" in bound ? ratio <= bound.most : ratio >= bound.least;
  const wanted = "most" in bound ? `at most ${bound.most}` : `at least ${bound.least}`;
  console.log(`${held ? "ok  " : "MISS"} ${over.name} (${overMs.toFixed(1)} ms) / ${under.name} (${underMs.toFixed(1)} ms)`);
  console.log(`     = ${ratio.toFixed(2)}, ${wanted}`);
  return { name, over: over.name, under: under.name, overMs, underMs, ratio, bound, held };
}

/** Runs all; true where every bound is kept. */
export async function run(args: string[]): Promise<boolean> {
  const { values } = parseArgs({ args, options: { report: { type: "string" } } });
  console.log(`${ELEMENTS} parameters, ${(ELEMENTS * 4) / 2 ** 20} MiB; medians`);
  const ratios = BENCHES.map(measure);
  if (values.report !== undefined) writeFileSync(typedPath(values.report), `${JSON.stringify({ elements: ELEMENTS, ratios }, null, 2)}\n`);
  return ratios.every(({ held }) => held);
}
