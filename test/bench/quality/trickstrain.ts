/** One run of a job under a trick: the baseline's loop, and the places where the tricks differ from it. */
import type { Estimator } from "@zoswarm/shared/protocol/announcement";
import type { Commit, GroupCommit } from "@zoswarm/shared/zo/commit";
import { estimateStep, type Measured, type MeasuredGroup } from "@zoswarm/shared/zo/estimate";
import { effectiveExponents } from "@zoswarm/shared/zo/lattice";
import type { Lab } from "./lab.ts";
import type { GainRule } from "./tricksgains.ts";

export interface Settings {
  /** Groups of 2^m directions, each group with a batch of its own. */
  m: number;
  groups: number;
  batch: number;
  estimator: Estimator;
  rule: "plain" | "normalised";
  rate: number;
  clip: number;
  epsilonLog2: number;
}

export interface Trick {
  name: string;
  /** What differs from the baseline's settings, by the share of the forward passes that are spent. */
  settings?: (base: Settings, share: number) => Partial<Settings>;
  /** What stands in for a group's one-sided losses. */
  transform?: (losses: readonly number[]) => number[];
  /** The same, from the centred losses on either half of the batch: as much work as one pass over the whole. */
  fromHalves?: (one: readonly number[], other: readonly number[]) => number[];
  /** Each group is divided by its own rms, not by the step's. */
  perGroup?: boolean;
  /** After a step the commits before it move theta again, by these weights, the latest first. */
  again?: readonly number[];
  /** Judged at the mean of theta over this share of the steps, the latest. */
  averaged?: number;
  gains?: GainRule;
}

export interface Point {
  /** Full batches' worth of forward passes. */
  forwards: number;
  steps: number;
  loss: number;
}

/** Held-out losses after at most so many forward passes each, in ascending order. A pass over half a batch counts as half a pass. */
export async function train(lab: Lab, trick: Trick, base: Settings, seed: number, looks: readonly number[]): Promise<Point[]> {
  await lab.reset(seed);
  const { manifest } = lab;
  const exponents = effectiveExponents(manifest.tensors);
  const commits: Commit[] = [];
  const points: Point[] = [];
  let forwards = 0;
  while (points.length < looks.length) {
    const step = commits.length;
    const settings = { ...base, ...trick.settings?.(base, forwards / (looks.at(-1) as number)) };
    const { groups, m, batch, estimator, clip, epsilonLog2, rule, rate } = settings;
    const cost = (groups * 2 ** m * (estimator === "two-sided" ? 2 : 1) * batch) / manifest.job.batch;
    if (forwards + cost > (looks[points.length] as number)) {
      points.push({ forwards, steps: step, loss: await lossOf(lab, commits, trick.averaged) });
      continue;
    }
    const measured: MeasuredGroup[] = [];
    for (let group = 0; group < groups; group++)
      measured.push({ g: group, m, measured: await measureGroup(lab, trick, settings, step, group) });
    const how = { epsilonLog2, rule, rate, effectiveExponents: exponents, clip };
    const estimated = (trick.perGroup ? measured.map((one) => [one]) : [measured]).flatMap((some) => estimateStep(how, some).groups);
    commits.push({ step, groups: estimated });
    for (const [back, weight] of [1, ...(trick.again ?? [])].entries()) {
      const former = commits[step - back];
      if (former) await lab.apply(scaled(former, weight));
    }
    forwards += cost;
  }
  return points;
}

async function measureGroup(lab: Lab, trick: Trick, settings: Settings, step: number, group: number): Promise<Measured[]> {
  const { m, batch, estimator, epsilonLog2 } = settings;
  const examples = lab.batch(step, group, batch);
  const measure = (some: typeof examples) => lab.measure({ step, group, m, epsilonLog2, estimator, examples: some });
  if (trick.fromHalves) {
    const one = await measure(examples.slice(0, batch / 2));
    const other = await measure(examples.slice(batch / 2));
    const losses = trick.fromHalves(centred(one.map(lossAt)), centred(other.map(lossAt)));
    return losses.map((plus, k) => ({ k, plus, minus: null, source: 0 }));
  }
  const all = await measure(examples);
  const losses = trick.transform?.(all.map(lossAt)) ?? all.map(lossAt);
  return all.map(({ k, minus }, i) => ({ k, plus: losses[i] as number, minus, source: 0 }));
}

const lossAt = ({ plus }: { plus: number | null }) => plus ?? Number.NaN;

function centred(losses: readonly number[]): number[] {
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  return losses.map((loss) => loss - mean);
}

/** The same directions, `weight` times as far. */
function scaled({ step, groups }: Commit, weight: number): Commit {
  const shrink = (a: GroupCommit["a"]) => Int32Array.from(a, (value) => Math.round(value * weight));
  return { step, groups: groups.map((group) => ({ ...group, a: shrink(group.a) })) };
}

/** The mean of theta over the last steps is theta with each of their commits in the share of those states that hold it. */
async function lossOf(lab: Lab, commits: readonly Commit[], averaged = 0): Promise<number> {
  const states = Math.round(averaged * commits.length);
  if (states < 2) return (await lab.evaluate()).loss;
  await lab.restore(commits.map((commit, i) => scaled(commit, Math.min(1, (commits.length - i) / states))));
  const { loss } = await lab.evaluate();
  await lab.restore(commits);
  return loss;
}
