/** What the quality benchmark compares, each as a run from a seed to a curve of held-out losses. */
import type { Settings } from "@zoswarm/shared/ledger/folds";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Lab } from "./lab.ts";
import { mezoStep, type Plain } from "./mezo.ts";
import { runSwarm, type Point as Timed } from "./swarm.ts";

export type Point = Omit<Timed, "seconds">;

export interface Run {
  seed: number;
  curve: Point[];
  /** What the coordinator's probe found, where the rate was left to it. */
  found?: Settings | null;
  /** What the coordinator decided, where it was left to it. */
  decisions?: { afterStep: number; what: string; why: string }[];
}

export interface Method {
  name: string;
  run(seed: number, forwards: number): Promise<Run>;
}

/** Held-out losses are taken about every so many forward passes. */
const LOOK_EVERY = 64;
/** And after each step that takes so many or more: a look may cost as much as forty of them. */
const LOOK_EACH_FROM = 16;
/** Of a forward pass on this kind of machine, and of a message's way: for the size of steps, which follows them. */
export const PACE = { forwardSeconds: 0.01, delaySeconds: 0.005 } as const;

/** MeZO, by the plain implementation beside this file. */
export function mezo(lab: Lab, plain: Plain, rate: number): Method {
  const { batch: size } = lab.manifest.job;
  const evaluate = async () => {
    const observed = [];
    for (let from = 0; from < lab.heldout.length; from += size)
      observed.push(await plain.judge.observe(lab.heldout.slice(from, from + size)));
    return { loss: plain.judge.lossOf(observed) ?? Number.NaN, score: plain.judge.scoreOf(observed) };
  };
  return {
    name: `MeZO, rate ${rate}`,
    async run(seed, forwards) {
      await plain.reset();
      await lab.reset(seed);
      const lossAt = async (step: number) => plain.judge.lossOf([await plain.judge.observe(lab.batch(step, 0, size))]) ?? Number.NaN;
      const curve: Point[] = [{ forwards: 0, steps: 0, ...(await evaluate()) }];
      for (let step = 0; 2 * (step + 1) <= forwards; step++) {
        await mezoStep({ parameters: plain.parameters, lossAt, seed, epsilon: 1e-3, rate }, step);
        const spent = 2 * (step + 1);
        if (spent % LOOK_EVERY === 0 || spent + 2 > forwards) curve.push({ forwards: spent, steps: step + 1, ...(await evaluate()) });
      }
      return { seed, curve };
    },
  };
}

/** The job with no gains but its own, as a hand-tuned one has: they go with the rate that is chosen. */
export function withoutGains(job: Record<string, unknown>): Record<string, unknown> {
  return { ...job, gains: [...((job.gains as object[] | undefined) ?? []), { pattern: "*", gain: 0 }] };
}

/** Ours at fixed settings. */
export function fixed(lab: Lab, name: string, job: Partial<Manifest["job"]>): Method {
  const settings = { ...lab.manifest.job, epsilonLog2: -10, groups: 1, directionsLog2: 4, ...job };
  const each = (settings.groups ?? 1) * 2 ** (settings.directionsLog2 ?? 4) * (settings.estimator === "two-sided" ? 2 : 1);
  return {
    name,
    async run(seed, forwards) {
      const steps = Math.floor(forwards / each);
      const stop = { target: null, patience: null, forwards: null };
      const { curve } = await runSwarm({
        ...{ lab, seed, job: { ...settings, steps, stop, evaluateEvery: 1e6 }, workers: 1, ...PACE },
        lookEvery: each < LOOK_EACH_FROM ? LOOK_EVERY : Math.min(LOOK_EVERY, each),
      });
      return { seed, curve };
    },
  };
}

/** Ours with everything left to the coordinator of a swarm of so many workers. */
export function automatic(lab: Lab, workers: number, more: Partial<Manifest["job"]> = {}): Method {
  return {
    name: `automatic, ${workers} workers`,
    async run(seed, forwards) {
      const job = { ...more, stop: { target: null, patience: null, forwards } };
      const { curve, found, decisions } = await runSwarm({ lab, seed, job, workers, ...PACE, lookEvery: LOOK_EVERY });
      return { seed, curve, found, decisions };
    },
  };
}

/** Where a curve first reaches a loss, between its points; null where it does not. */
export function reached(curve: readonly Point[], loss: number): { forwards: number; steps: number } | null {
  const at = curve.findIndex((point) => point.loss <= loss);
  const [before, after] = [curve[at - 1], curve[at]];
  if (after === undefined) return null;
  if (before === undefined) return { forwards: 0, steps: 0 };
  const share = (before.loss - loss) / (before.loss - after.loss);
  return { forwards: before.forwards + share * (after.forwards - before.forwards), steps: after.steps };
}

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
export const last = ({ curve }: Run): Point => curve.at(-1) as Point;
