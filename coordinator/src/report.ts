/** What a coordinator measured of a run, as JSON for programs. */

import { bestOf, type Decision, evaluationHere } from "@zoswarm/shared/ledger/folds";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { type FlowPerStep, perStep } from "@zoswarm/shared/net/traffic";
import type { Metric } from "@zoswarm/shared/protocol/manifest";
import type { Coordinator } from "./coordinator.ts";

export interface CoordinatorReport {
  peerId: string;
  jobId: string;
  stateHash: string;
  startLoss: number | null;
  endLoss: number | null;
  /** The job's metric, held out: at the start, at the end, and at its best, with the step. */
  metric: Metric;
  startScore: number | null;
  endScore: number | null;
  best: { step: number; score: number } | null;
  /** Held-out accuracy of always answering the commonest class; null for other metrics. */
  majorityBaseline: number | null;
  /** What the ledger decided of the job's course, and the forward passes behind its commits. */
  decisions: Decision[];
  /** Steps in the ledger; those of this process, and the time from its first task to its last commit. */
  steps: number;
  stepsHere: number;
  seconds: number;
  secondsTotal: number;
  forwardsCommitted: number;
  /** Forward passes since this process started: of training, also those that came too late, and the coordinator's own held-out ones. */
  forwards: number;
  evalForwards: number;
  bytesPerStep: FlowPerStep | null;
  /** Directions that the ledger credits to each worker. */
  credit: { peerId: string; name: string; accepted: number }[];
  peakRssBytes: number;
}

export async function reportOf(
  { round, measured, stateHash, evalForwards }: Coordinator,
  node: SwarmNode,
  majorityBaseline: number | null,
  startedMs: number,
): Promise<CoordinatorReport> {
  const { history, jobId } = round.replica;
  const { seconds, steps, traffic } = measured();
  const first = history.evaluations[0];
  const last = evaluationHere(history) ?? history.evaluations.at(-1);
  const { metric } = round.manifest.objective;
  const best = bestOf(history.evaluations, metric);
  return {
    peerId: node.peerId,
    jobId,
    stateHash: stateHash(),
    startLoss: first?.loss ?? null,
    endLoss: last?.loss ?? null,
    metric,
    startScore: first?.score ?? null,
    endScore: last?.score ?? null,
    best: best && { step: best.step, score: best.score },
    majorityBaseline,
    decisions: history.decisions,
    steps: history.losses.length,
    stepsHere: steps,
    seconds,
    secondsTotal: (performance.now() - startedMs) / 1000,
    forwardsCommitted: history.forwards,
    forwards: round.forwards,
    evalForwards: evalForwards(),
    bytesPerStep: traffic && perStep(traffic.from, traffic.to, steps),
    credit: history.roster.map(({ peerId, name }, i) => ({ peerId, name, accepted: history.credit[i + 1] ?? 0 })),
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
