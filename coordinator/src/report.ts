/** What a coordinator measured of a run, as JSON for programs. */
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { type FlowPerStep, perStep } from "@zoswarm/shared/net/traffic";
import type { Coordinator } from "./coordinator.ts";

export interface CoordinatorReport {
  peerId: string;
  jobId: string;
  stateHash: string;
  startLoss: number | null;
  endLoss: number | null;
  startAccuracy: number | null;
  endAccuracy: number | null;
  /** Held-out accuracy of always answering the commonest class. */
  majorityBaseline: number;
  /** Steps in the ledger; those of this process, and the time from its first task to its last commit. */
  steps: number;
  stepsHere: number;
  seconds: number;
  secondsTotal: number;
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
  majorityBaseline: number,
  startedMs: number,
): Promise<CoordinatorReport> {
  const { history, jobId } = round.replica;
  const { seconds, steps, traffic } = measured();
  const first = history.evaluations[0];
  const last = history.evaluations.at(-1);
  return {
    peerId: node.peerId,
    jobId,
    stateHash: stateHash(),
    startLoss: first?.loss ?? null,
    endLoss: last?.loss ?? null,
    startAccuracy: first?.accuracy ?? null,
    endAccuracy: last?.accuracy ?? null,
    majorityBaseline,
    steps: history.losses.length,
    stepsHere: steps,
    seconds,
    secondsTotal: (performance.now() - startedMs) / 1000,
    forwards: round.forwards,
    evalForwards: evalForwards(),
    bytesPerStep: traffic && perStep(traffic.from, traffic.to, steps),
    credit: history.roster.map(({ peerId, name }, i) => ({ peerId, name, accepted: history.credit[i + 1] ?? 0 })),
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
