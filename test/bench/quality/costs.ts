/** What a worker's work takes on this machine, for simulated time: medians, which a moment's load does not change. */
import type { Lab } from "./lab.ts";

const FORWARDS = 50;
const COMMITS = 15;
const GROUP_LOG2 = 4;
const GROUPS = 64;

export interface Costs {
  /** A forward pass of the job's batch, with perturbing the parameters and what asking for it costs. */
  forwardSeconds: number;
  /** Applying a group of 16 directions of a commit. */
  groupSeconds: number;
}

/** Measures a lab's job, and brings it back to its initial state. */
export async function costsOf(lab: Lab, seed: number): Promise<Costs> {
  await lab.reset(seed);
  let step = 0;
  const secondsOf = async (work: () => Promise<unknown>) => {
    const fromMs = performance.now();
    await work();
    step++;
    return (performance.now() - fromMs) / 1000;
  };
  const forward = () => {
    const examples = lab.batch(step, 0, lab.manifest.job.batch);
    return lab.measure({ step, group: 0, m: GROUP_LOG2, epsilonLog2: -10, estimator: "one-sided", examples, directions: [0] });
  };
  const groups = Array.from({ length: GROUPS }, (_, g) => ({
    g,
    m: GROUP_LOG2,
    p: 30,
    a: Int32Array.from({ length: 16 }, (_, k) => k - 8),
  }));
  const [forwards, commits]: number[][] = [[], []];
  await secondsOf(forward);
  for (let i = 0; i < FORWARDS; i++) forwards?.push(await secondsOf(forward));
  for (let i = 0; i < COMMITS; i++) commits?.push(await secondsOf(() => lab.apply({ step, groups })));
  await lab.reset(seed);
  return { forwardSeconds: medianOf(forwards ?? []), groupSeconds: medianOf(commits ?? []) / GROUPS };
}

function medianOf(values: number[]): number {
  values.sort((one, other) => one - other);
  return values[values.length >> 1] as number;
}
