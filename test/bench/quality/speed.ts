/** How long a job takes to a held-out loss, and what that says of its number of workers. */
import { mkdir } from "node:fs/promises";
import type { Decision } from "@zoswarm/shared/ledger/folds";
import { directionsOf } from "../../../coordinator/src/round/size.ts";
import { decisionLine } from "../../../coordinator/src/tell.ts";
import type { Lab } from "./lab.ts";
import { runProcesses } from "./processes.ts";
import { runSwarm, type SwarmOptions } from "./swarm.ts";

interface Told {
  steps: number;
  loss: number;
  /** From the first task on. */
  seconds: number;
}

export interface Run {
  workers: number;
  seed: number;
  /** Whether the target ended it, and not its budget or a lack of progress. */
  isReached: boolean;
  /** From the first task to the held-out evaluation that reaches the target. */
  seconds: number;
  /** To the state that first had the loss, whenever that was known: in simulated time exactly, else on a straight line between two evaluations. */
  crossedSeconds: number;
  /** Until the probe had found a rate. */
  probeSeconds: number;
  /** Commits that lead to the evaluated state: each waited for the one before it. */
  steps: number;
  loss: number;
  /** Of all workers, behind commits, also after that state until its loss was known. */
  forwards: number;
  /** Directions of a step as the coordinator chose them, after its probe. */
  directions: number[];
  decisions: string[];
  evaluations: Told[];
  stateHash: string;
  /** Real processes only: all replicas ended with that hash; a forward pass; the share of their time that workers were at one. */
  isAgreed?: boolean;
  forwardSeconds?: number;
  busyShare?: number;
}

/** Real processes on this machine, in a new folder `dir`. `target` is the loss at which the job ends. */
export async function measureRun(job: Record<string, unknown>, target: number, workers: number, seed: number, dir: string): Promise<Run> {
  await mkdir(dir);
  const { decisions, stateHashes, seconds: _, ...rest } = await runProcesses({ ...job, seed: String(seed) }, workers, dir);
  // Losses are told to four digits.
  const course = courseOf(decisions, rest.evaluations, target + 5e-5);
  return { workers, seed, ...course, ...rest, isAgreed: stateHashes.every((hash) => hash === rest.stateHash) };
}

/** Simulated time; the lab's job ends at the loss `target`. */
export async function simulateRun(
  { lab, workers, seed, ...costs }: Omit<SwarmOptions, "job" | "lookEvery" | "until"> & { lab: Lab },
  target: number,
): Promise<Run> {
  const run = await runSwarm({ lab, workers, seed, job: {}, lookEvery: 1, ...costs });
  const { firstTaskSeconds, probedSeconds, history, stateHash } = run;
  const since = (seconds: number | null | undefined) => (seconds ?? Number.NaN) - (firstTaskSeconds ?? Number.NaN);
  const evaluations = run.evaluations.map(({ steps, loss, seconds }) => ({ steps, loss, seconds }));
  const end = run.evaluations.find(({ loss }) => loss <= target) ?? run.evaluations.at(-1);
  return {
    ...{ workers, seed, ...courseOf(history.decisions, evaluations, target), evaluations, stateHash },
    crossedSeconds: since(run.curve.find(({ loss }) => loss <= target)?.seconds),
    probeSeconds: since(probedSeconds),
    forwards: end?.forwards ?? 0,
  };
}

function courseOf(decisions: readonly Decision[], evaluations: readonly Told[], target: number) {
  const at = evaluations.findIndex(({ loss }) => loss <= target);
  const end = evaluations.at(at);
  const before = at > 0 ? evaluations[at - 1] : end;
  const share = end && before && before !== end ? (before.loss - target) / (before.loss - end.loss) : 1;
  return {
    isReached: decisions.some(({ entry }) => entry.kind === "end" && entry.reason === "target"),
    seconds: end?.seconds ?? Number.NaN,
    crossedSeconds: end && before ? before.seconds + share * (end.seconds - before.seconds) : Number.NaN,
    steps: end?.steps ?? 0,
    loss: end?.loss ?? Number.NaN,
    directions: decisions.flatMap(({ entry }) => (entry.kind === "rate" && !entry.probing ? [directionsOf(entry)] : [])),
    decisions: decisions.map(decisionLine),
  };
}

/** Means over the runs with so many workers. Efficiencies are T1 / (W TW), null where no run had one worker. */
export interface Speed {
  workers: number;
  seconds: number;
  crossedSeconds: number;
  probeSeconds: number;
  steps: number;
  forwards: number;
  speedup: number | null;
  efficiency: number | null;
  /** By crossedSeconds: without what the wait for an evaluation costs. */
  crossedEfficiency: number | null;
  /** With the processor cores of this machine in the place of workers that are more. */
  efficiencyByCores?: number | null;
}

/** `cores` where workers share this machine. */
export function speedsOf(runs: readonly Run[], cores?: number): Speed[] {
  const meanOf = (workers: number, key: "seconds" | "crossedSeconds" | "probeSeconds" | "steps" | "forwards") => {
    const some = runs.filter((one) => one.workers === workers);
    return some.length === 0 ? null : some.reduce((sum, one) => sum + one[key], 0) / some.length;
  };
  return [...new Set(runs.map(({ workers }) => workers))].map((workers) => {
    const mean = (key: Parameters<typeof meanOf>[1]) => meanOf(workers, key) as number;
    const timesAsFast = (key: "seconds" | "crossedSeconds") => {
      const alone = meanOf(1, key);
      return alone && alone / mean(key);
    };
    const [speedup, crossed] = [timesAsFast("seconds"), timesAsFast("crossedSeconds")];
    return {
      ...{ workers, seconds: mean("seconds"), crossedSeconds: mean("crossedSeconds"), probeSeconds: mean("probeSeconds") },
      ...{ steps: mean("steps"), forwards: mean("forwards"), speedup, efficiency: speedup && speedup / workers },
      crossedEfficiency: crossed && crossed / workers,
      ...(cores !== undefined && { efficiencyByCores: speedup && speedup / Math.min(workers, cores) }),
    };
  });
}
