/** The demo's JSON report, from what its processes measured themselves. */
interface Flow {
  payload: number;
  wire: number;
}

/** What the coordinator writes with --report. */
export interface CoordinatorReport {
  stateHash: string;
  startLoss: number;
  endLoss: number;
  startScore: number;
  endScore: number;
  steps: number;
  seconds: number;
  forwards: number;
  evalForwards: number;
  majorityBaseline: number;
  bytesPerStep: { in: Flow; out: Flow } | null;
  peakRssBytes: number;
}

/** What a worker writes with --report. */
export interface WorkerReport {
  peerId: string;
  stateHash: string;
  accepted: number;
  forwards: number;
  forwardSeconds: number;
  busySeconds: number;
  bytesPerStep: { in: Flow; out: Flow } | null;
  peakRssBytes: number;
}

export type DemoReport = ReturnType<typeof demoReport>;

/** Losses and accuracies are held-out; bytes per step are a worker's mean, without model and data; `forwards` are training's. */
export function demoReport({
  coordinator,
  workers,
  bundle,
  startedMs,
}: {
  coordinator: CoordinatorReport;
  workers: readonly WorkerReport[];
  bundle: string;
  startedMs: number;
}) {
  const sum = (of: (worker: WorkerReport) => number) => workers.reduce((total, worker) => total + of(worker), 0);
  const mean = (way: "in" | "out"): Flow => ({
    payload: sum(({ bytesPerStep }) => bytesPerStep?.[way].payload ?? 0) / workers.length,
    wire: sum(({ bytesPerStep }) => bytesPerStep?.[way].wire ?? 0) / workers.length,
  });
  const { startLoss, endLoss, majorityBaseline, steps, forwards, evalForwards, seconds } = coordinator;
  const { startScore: startAccuracy, endScore: endAccuracy } = coordinator;
  return {
    ...{ startLoss, endLoss, startAccuracy, endAccuracy, majorityBaseline, steps, forwards, evalForwards, seconds },
    secondsTotal: (performance.now() - startedMs) / 1000,
    forwardShare: sum(({ forwardSeconds }) => forwardSeconds) / sum(({ busySeconds }) => busySeconds),
    workers: workers.map(({ peerId, stateHash, accepted }) => ({ peerId, stateHash, accepted })),
    coordinatorStateHash: coordinator.stateHash,
    bytesPerStep: {
      workerIn: mean("in"),
      workerOut: mean("out"),
      coordinatorIn: coordinator.bytesPerStep?.in ?? null,
      coordinatorOut: coordinator.bytesPerStep?.out ?? null,
    },
    peakRssBytes: { coordinator: coordinator.peakRssBytes, workers: workers.map(({ peakRssBytes }) => peakRssBytes) },
    bundle,
  };
}
