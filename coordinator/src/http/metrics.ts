/**
 * Prometheus metrics, read from the view when they are scraped: nothing is counted twice, and nothing here can disagree with the page.
 * Labels come from fixed lists only, never from what a worker says, so that no stranger can grow the number of series.
 */
import { RESULT_CODES } from "@zoswarm/shared/protocol/codes";
import { Counter, Gauge, type Registry } from "prom-client";
import { JOB_STATES, type Job, WORKER_STATES } from "./schemas.ts";
import type { View } from "./view.ts";

/** Gauges of one number each; null leaves the series out. */
const NUMBERS: readonly (readonly [name: string, help: string, read: (job: Job) => number | null | undefined])[] = [
  ["zoswarm_step", "Steps committed", (job) => job.step],
  ["zoswarm_steps_target", "Steps the job is to take; missing where something else is to end it", (job) => job.steps],
  ["zoswarm_forwards_committed", "Forward passes behind all commits", (job) => job.forwardsCommitted],
  [
    "zoswarm_forwards_target",
    "Forward passes after which the job is over; missing where there is no such bound",
    (job) => job.stop.forwards,
  ],
  ["zoswarm_rate", "Rate of the next commit", (job) => job.rate],
  ["zoswarm_epsilon", "Epsilon of the next task", (job) => job.epsilon],
  ["zoswarm_train_loss", "Mean loss over the newest committed step's measurements", (job) => job.lastStep?.meanLoss],
  ["zoswarm_heldout_loss", "Loss on the held-out set, newest evaluation", (job) => job.lastEvaluation?.loss],
  ["zoswarm_heldout_score", "The job's metric on the held-out set, newest evaluation", (job) => job.lastEvaluation?.score],
  ["zoswarm_heldout_step", "The step that the newest evaluation looked at, -1 before training", (job) => job.lastEvaluation?.step],
  ["zoswarm_signal", "Root mean square of the newest step's projected gradients", (job) => job.lastStep?.signal],
  ["zoswarm_noise_floor", "Signal below which a step is not committed", (job) => job.noiseFloor],
  ["zoswarm_step_directions", "Directions that the newest step asked for", (job) => job.lastStep?.directions],
  ["zoswarm_step_directions_committed", "Directions of the newest step that came in and were committed", (job) => job.lastStep?.accepted],
  ["zoswarm_forwards_per_second", "Forward passes per second of the whole swarm, training only", (job) => job.forwardsPerSecond],
  ["zoswarm_seconds_per_step", "Seconds from one commit to the next, recent mean", (job) => job.secondsPerStep],
  ["zoswarm_eta_seconds", "Seconds to the job's last step at the present rate", (job) => job.etaSeconds],
  ["zoswarm_ledger_seq", "Sequence number of the ledger's head", (job) => job.head.seq],
];

/** Registers the coordinator's metrics; libp2p's own and the process's are registered by the shell. */
export function registerMetrics(registry: Registry, view: View): void {
  const registers = [registry];
  for (const [name, help, read] of NUMBERS) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read(view.job());
        // prom-client starts a gauge at 0; a number that does not exist yet must not read as 0.
        if (value === null || value === undefined) this.remove();
        else this.set(value);
      },
    });
  }
  registerStates(registers, view);
  registerTraffic(registers, view);
}

function registerStates(registers: Registry[], view: View): void {
  new Gauge({
    name: "zoswarm_job_state",
    help: "1 for the state that the job is in",
    labelNames: ["state"],
    registers,
    collect() {
      const { state } = view.job();
      for (const each of JOB_STATES) this.set({ state: each }, each === state ? 1 : 0);
    },
  });
  new Gauge({
    name: "zoswarm_healthy",
    help: "1 while /healthz says ok",
    registers,
    collect() {
      this.set(view.health().status === "ok" ? 1 : 0);
    },
  });
  new Gauge({
    name: "zoswarm_workers",
    help: "Workers by state",
    labelNames: ["state"],
    registers,
    collect() {
      const workers = view.workers();
      for (const state of WORKER_STATES) this.set({ state }, workers.filter((worker) => worker.state === state).length);
    },
  });
  new Gauge({
    name: "zoswarm_replicas",
    help: "Connected workers by whether their state hash agrees with the coordinator's",
    labelNames: ["state_hash"],
    registers,
    collect() {
      const connected = view.workers().filter((worker) => worker.state !== "gone");
      for (const each of ["agrees", "differs", "unknown"] as const)
        this.set({ state_hash: each }, connected.filter((worker) => worker.stateHash === each).length);
    },
  });
}

function registerTraffic(registers: Registry[], view: View): void {
  new Counter({
    name: "zoswarm_results_total",
    help: "Results, one per direction, by outcome",
    labelNames: ["outcome"],
    registers,
    collect() {
      const { results } = view.job();
      this.reset();
      for (const outcome of RESULT_CODES) this.inc({ outcome }, results[outcome] ?? 0);
    },
  });
  new Counter({
    name: "zoswarm_divergences_total",
    help: "Times that a worker's state differed from the ledger's since this process started",
    registers,
    collect() {
      this.reset();
      this.inc(view.job().divergences);
    },
  });
  new Counter({
    name: "zoswarm_forwards_total",
    help: "Forward passes since this process started, by purpose",
    labelNames: ["purpose"],
    registers,
    collect() {
      const { forwards, evalForwards } = view.job();
      this.reset();
      this.inc({ purpose: "training" }, forwards);
      this.inc({ purpose: "evaluation" }, evalForwards);
    },
  });
  new Gauge({
    name: "zoswarm_bytes_per_step",
    help: "Payload bytes per step, recent mean, by whose and which way",
    labelNames: ["role", "direction"],
    registers,
    collect() {
      const { workerIn, workerOut, coordinatorIn, coordinatorOut } = view.job().bytesPerStep;
      this.reset();
      if (workerIn !== null) this.set({ role: "worker", direction: "in" }, workerIn);
      if (workerOut !== null) this.set({ role: "worker", direction: "out" }, workerOut);
      if (coordinatorIn !== null) this.set({ role: "coordinator", direction: "in" }, coordinatorIn);
      if (coordinatorOut !== null) this.set({ role: "coordinator", direction: "out" }, coordinatorOut);
    },
  });
}
