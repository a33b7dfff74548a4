/** A made-up view for tests: fixed, and told what to say. Never part of a running coordinator. */
import type { Evaluation, Health, Job, StepPoint, Worker } from "./schemas.ts";
import { pageOfHistory, type View, type ViewEvent } from "./view.ts";

export const HASH = "ab".repeat(32);

export function sampleStep(step: number): StepPoint {
  return { step, meanLoss: 0.7 - step / 1000, directions: 16, accepted: 16, signal: 0.2, seconds: 1.25 };
}

export function sampleEvaluation(step: number): Evaluation {
  return { step, loss: 0.69, score: 0.5, examples: 200, stateHash: HASH };
}

export function sampleWorker(name: string): Worker {
  return {
    peerId: `12D3KooW${name}`,
    name,
    device: "linux x64, 2 cores",
    threads: 1,
    state: "evaluating",
    slots: 6,
    onProbation: false,
    forwardsPerSecond: 9.5,
    accepted: 60,
    late: 1,
    rejected: 0,
    duplicate: 0,
    stateHash: "agrees",
    bytesIn: 12_000,
    bytesOut: 3_000,
    secondsSinceHeard: 0.4,
  };
}

export function sampleJob(): Job {
  return {
    jobId: HASH,
    name: "spam or ham",
    state: "running",
    step: 3,
    steps: 200,
    stop: { target: null, patience: null, forwards: null },
    forwardsCommitted: 96,
    parameters: 6_975_746,
    classes: 2,
    metric: "accuracy",
    directionsPerStep: 16,
    groups: 1,
    estimator: "two-sided",
    rule: "normalised",
    epsilon: 2 ** -10,
    rate: 0.001,
    staleness: 0,
    decisions: [{ seq: 1, kind: "rate", afterStep: -1, text: "rate 0.001", why: "a probe" }],
    head: { seq: 5, hash: HASH },
    stateHash: HASH,
    workers: 1,
    joinCommand: "npm run worker -- --join /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW",
    addresses: ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW"],
    forwards: 96,
    evalForwards: 7,
    forwardsPerSecond: 9.5,
    secondsPerStep: 1.25,
    etaSeconds: 246,
    bytesPerStep: { workerIn: 400, workerOut: 210, coordinatorIn: 630, coordinatorOut: null },
    results: { accepted: 48, late: 1 },
    divergences: 0,
    majorityBaseline: 0.5,
    noiseFloor: 0.001,
    firstEvaluation: sampleEvaluation(-1),
    lastEvaluation: sampleEvaluation(1),
    bestEvaluation: sampleEvaluation(1),
    lastStep: sampleStep(2),
    dataNotice: "Volunteers can read the training data.",
  };
}

export interface SampleView extends View {
  data: { job: Job; workers: Worker[]; health: Health; steps: StepPoint[]; evaluations: Evaluation[] };
  tell(event: ViewEvent): void;
  listeners(): number;
}

export function createSampleView(steps = 3): SampleView {
  const listeners = new Set<(event: ViewEvent) => void>();
  const data: SampleView["data"] = {
    job: sampleJob(),
    workers: [sampleWorker("ada")],
    health: { status: "ok" },
    steps: Array.from({ length: steps }, (_, step) => sampleStep(step)),
    evaluations: [sampleEvaluation(-1), sampleEvaluation(1)],
  };
  return {
    data,
    job: () => data.job,
    workers: () => data.workers,
    health: () => data.health,
    steps: (from, max) => pageOfHistory(data.steps, data.evaluations, from, max),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    tell(event) {
      for (const listener of listeners) listener(event);
    },
    listeners: () => listeners.size,
  };
}
