/** What a seed draws: the job, the machines, which faults there are at all, and how often each strikes. */
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Random } from "./random.ts";

export interface Machine {
  /** Forward passes a second. */
  passesPerSecond: number;
  /** Its clock: how fast it runs, and what it showed when the world began. */
  clockRate: number;
  clockMs: number;
  delayMs: number;
  jitterMs: number;
  flushMs: number;
}

export interface Faults {
  /** Until when there are faults. */
  untilMs: number;
  /** Probabilities of one announcement on one link. */
  loss: number;
  duplicates: number;
  reordering: number;
  forgeries: number;
  /** Probabilities at each effect: the process dies before it, or after it. */
  crashCoordinator: number;
  crashWorker: number;
  downMs: number;
  /** Mean times between these, for the whole swarm; Infinity where there are none. */
  partitionEveryMs: number;
  partitionMs: number;
  breakEveryMs: number;
  churnEveryMs: number;
  floodEveryMs: number;
  corruptEveryMs: number;
  /** Somebody takes over from the coordinator, from a copy of its ledger that lacks so many of the newest entries at most. */
  takeOverEveryMs: number;
  copyLagMax: number;
  /** Who takes over is a standby that follows, where there is one; in mode sync nothing is announced before it has it. */
  standby: "none" | "async" | "sync";
  standbyDelayMs: number;
  /** Probability that a worker that died finds its disk empty, or the newest entries of it gone. */
  diskLoss: number;
  diskRollback: number;
}

export interface Scenario {
  workers: number;
  elements: number;
  job: Pick<
    Manifest["job"],
    "steps" | "groups" | "directionsLog2" | "estimator" | "rule" | "evaluateEvery" | "deadlineMs" | "deadlineFloorMs" | "quorum"
  >;
  staleness: number;
  /** The job file gives no rate, nor how many directions a step has. */
  isAutomatic: boolean;
  /** And its measure moves by jumps: it has no probe. */
  isJumpy: boolean;
  isSized: boolean;
  /** The job is over after so many forward passes, or so many evaluations without progress, if that comes first. */
  budget: number | null;
  patience: number | null;
  /** How often a held-out loss is no number. */
  holes: number;
  waitFor: number;
  coordinator: Machine;
  machines: Machine[];
  faults: Faults;
  /** Events that wait for a loop at most: far below the product's, so that a run can reach it. */
  inboxMax: number;
}

export function drawScenario(random: Random, asked: { workers?: number | undefined; steps?: number | undefined }): Scenario {
  const workers = asked.workers ?? random.whole(1, 8);
  const steps = asked.steps ?? random.whole(3, 15);
  const skewed = random.chance(0.5);
  const machine = (): Machine => ({
    passesPerSecond: random.magnitude(20, 640),
    clockRate: skewed ? random.between(0.9, 1.1) : 1,
    clockMs: random.between(0, 1e6),
    delayMs: random.magnitude(0.2, 150),
    jitterMs: random.chance(0.5) ? random.magnitude(0.1, 200) : 0,
    flushMs: random.magnitude(0.1, 30),
  });
  const maybe = (probability: number, draw: () => number) => (random.chance(probability) ? draw() : 0);
  const every = (probability: number, least: number, most: number) => 1 / maybe(probability, () => 1 / random.magnitude(least, most));
  const calm = random.chance(0.05);
  const of = (probability: number) => (calm ? 0 : probability);
  const oneSided = random.chance(0.3);
  const scenario: Scenario = {
    workers,
    elements: random.pick([64, 130, 200, 384]),
    job: {
      steps,
      groups: random.whole(1, 2),
      directionsLog2: random.whole(oneSided ? 3 : 1, 4),
      estimator: oneSided ? "one-sided" : "two-sided",
      rule: random.pick(["plain", "normalised"] as const),
      evaluateEvery: random.whole(1, 5),
      deadlineMs: Math.round(random.magnitude(500, 8_000)),
      deadlineFloorMs: Math.round(random.magnitude(100, 500)),
      quorum: random.pick([0.25, 0.5, 0.75, 1]),
    },
    staleness: random.pick([0, 0, 1, 1, 2, 4]),
    waitFor: random.whole(1, Math.max(1, Math.min(3, workers))),
    coordinator: machine(),
    machines: Array.from({ length: workers }, machine),
    faults: {
      untilMs: calm ? 0 : random.magnitude(5_000, 90_000),
      loss: maybe(of(0.5), () => random.magnitude(0.01, 0.6)),
      duplicates: maybe(of(0.4), () => random.magnitude(0.01, 0.5)),
      reordering: maybe(of(0.4), () => random.magnitude(0.01, 0.5)),
      forgeries: maybe(of(0.2), () => random.magnitude(0.01, 0.3)),
      crashCoordinator: maybe(of(0.5), () => random.magnitude(0.001, 0.05)),
      crashWorker: maybe(of(0.5), () => random.magnitude(0.0003, 0.02)),
      downMs: random.magnitude(50, 20_000),
      partitionEveryMs: every(of(0.4), 2_000, 30_000),
      partitionMs: random.magnitude(200, 45_000),
      breakEveryMs: every(of(0.4), 500, 20_000),
      churnEveryMs: every(of(0.4), 1_000, 20_000),
      floodEveryMs: every(of(0.15), 2_000, 20_000),
      corruptEveryMs: every(of(0.15), 2_000, 30_000),
      takeOverEveryMs: every(of(0.3), 4_000, 40_000),
      copyLagMax: random.pick([0, 0, 1, 3, 6]),
      standby: random.pick(["none", "async", "sync"] as const),
      standbyDelayMs: random.magnitude(1, 300),
      diskLoss: maybe(of(0.4), () => random.between(0.05, 0.5)),
      diskRollback: maybe(of(0.4), () => random.between(0.05, 0.5)),
    },
    inboxMax: random.whole(16, 256),
    ...drawCourse(random),
  };
  if (scenario.isAutomatic) Object.assign(scenario.job, { steps: asked.steps ?? random.whole(40, 60), rule: "normalised" });
  return scenario;
}

/** A probe needs room, and a swarm that chooses its size would choose one too large to simulate where nothing bounds it. */
function drawCourse(random: Random): Pick<Scenario, "isAutomatic" | "isJumpy" | "isSized" | "budget" | "patience" | "holes"> {
  const isAutomatic = random.chance(0.3);
  const isSized = isAutomatic && random.chance(0.5);
  const budget = isAutomatic ? random.magnitude(640, 1_500) : random.magnitude(4, 200);
  return {
    isAutomatic,
    isSized,
    budget: isSized || random.chance(0.3) ? Math.round(budget) : null,
    patience: random.chance(0.3) ? random.whole(1, 4) : null,
    holes: random.chance(0.3) ? random.magnitude(0.02, 0.3) : 0,
    isJumpy: isAutomatic && random.chance(0.3),
  };
}
