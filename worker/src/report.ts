/** What a worker measured of its part, as JSON for programs. */
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { type FlowPerStep, perStep } from "@zoswarm/shared/net/traffic";
import type { RunningWorker } from "./worker.ts";

export interface WorkerReport {
  peerId: string;
  jobId: string;
  /** Of the replica as it stands. */
  stateHash: string;
  /** Directions that the ledger credits to this worker. */
  accepted: number;
  forwards: number;
  forwardSeconds: number;
  busySeconds: number;
  bytesPerStep: FlowPerStep | null;
  outcomes: RunningWorker["outcomes"];
  secondsTotal: number;
  peakRssBytes: number;
}

export async function reportOf(
  node: SwarmNode,
  { volunteer, measured, outcomes }: RunningWorker,
  evaluator: Evaluator,
  startedMs: number,
): Promise<WorkerReport> {
  const { history, jobId } = volunteer.replica;
  const number = history.roster.findIndex(({ peerId }) => peerId === node.peerId) + 1;
  const { steps, traffic } = await measured();
  const { forwards, forwardSeconds, busySeconds } = await evaluator.call("stats", null);
  return {
    peerId: node.peerId,
    jobId,
    stateHash: (await evaluator.call("stateHash", null)).stateHash,
    accepted: number === 0 ? 0 : (history.credit[number] ?? 0),
    forwards,
    forwardSeconds,
    busySeconds,
    bytesPerStep: traffic && perStep(traffic.from, traffic.to, steps),
    outcomes,
    secondsTotal: (performance.now() - startedMs) / 1000,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
