/** What the page and the metrics show of a running coordinator: reads of the round and folds of the ledger, never a wait. */
import { bestOf, evaluationHere } from "@zoswarm/shared/ledger/folds";
import type { ResultCode } from "@zoswarm/shared/protocol/codes";
import { stepsAsked } from "@zoswarm/shared/protocol/manifest";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import type { Change, Coordinator } from "./coordinator.ts";
import type { Job, StepPoint, Worker } from "./http/schemas.ts";
import { pageOfHistory, type View, type ViewEvent } from "./http/view.ts";
import { agreementOf } from "./round/answers.ts";
import { slotsIn } from "./round/assign.ts";
import { settingsOf } from "./round/course.ts";
import { isOnProbation } from "./round/pace.ts";
import { activeMembers, type Member } from "./round/state.ts";
import { decisionText } from "./tell.ts";

/** Steps over which rates are averaged. */
const RECENT_STEPS = 20;
/** The estimator's floor (shared/src/zo/estimate.ts): a smaller spread of losses moves nothing. */
const NOISE_FLOOR = 1e-9;
/** Decisions that the page is told. */
const DECISIONS_MAX = 50;
/** Forward passes of a slot. */
const PASSES = { "one-sided": 1, "two-sided": 2 } as const;
const REFUSED: readonly ResultCode[] = ["unknown-step", "not-my-slot", "wrong-head", "not-ready", "diverged", "not-finite"];

export interface Shown {
  view: View;
  /** Tells the page what happened. */
  changed(change: Change): void;
}

export interface Surroundings {
  joinCommand(): string;
  addresses(): string[];
  majorityBaseline: number | null;
  payload(): { in: number; out: number };
}

/** Makes the view. `coordinator` is asked anew each time: it may not have started yet when the page is first watched. */
export function createView(coordinator: Coordinator, around: Surroundings): Shown {
  const { round, sessions } = coordinator;
  const { manifest, replica } = round;
  const { history } = replica;
  const listeners = new Set<(event: ViewEvent) => void>();
  const points: StepPoint[] = history.losses.map((loss) => pointOf(loss, null, null));
  /** What stood at each of the recent commits: time, forwards, payload bytes. */
  const marks: { ms: number; forwards: number; in: number; out: number }[] = [];
  let failure: string | null = null;
  coordinator.done.catch((error: Error) => {
    failure = error.message;
  });
  const tell = (event: ViewEvent) => {
    for (const listener of listeners) listener(event);
  };

  function recent() {
    const first = marks[0];
    const last = marks.at(-1);
    const steps = marks.length - 1;
    if (!first || !last || steps < 1) return null;
    const workers = Math.max(1, activeMembers(round).length);
    const [bytesIn, bytesOut] = [(last.in - first.in) / steps, (last.out - first.out) / steps];
    return {
      secondsPerStep: (last.ms - first.ms) / 1000 / steps,
      forwardsPerSecond: last.ms > first.ms ? ((last.forwards - first.forwards) * 1000) / (last.ms - first.ms) : 0,
      bytesPerStep: { workerIn: bytesOut / workers, workerOut: bytesIn / workers, coordinatorIn: bytesIn, coordinatorOut: bytesOut },
    };
  }

  /** Steps until the job's last one, or until its forward passes are spent at what the newest step cost; null where neither is set. */
  function stepsLeft(): number | null {
    const { steps, stop } = manifest.job;
    const asked = stepsAsked({ steps }) === null ? Number.POSITIVE_INFINITY : steps - history.lastStep - 1;
    const cost = (history.losses.at(-1)?.committed ?? 0) * PASSES[manifest.job.estimator];
    const paid = stop.forwards === null || cost === 0 ? Number.POSITIVE_INFINITY : Math.ceil((stop.forwards - history.forwards) / cost);
    const left = Math.max(0, Math.min(asked, paid));
    return Number.isFinite(left) ? left : null;
  }

  function job(): Job {
    const { job, tensors, objective, name, staleness } = manifest;
    const rates = recent();
    const steps = history.lastStep + 1;
    const settings = settingsOf(manifest, history);
    const left = stepsLeft();
    return {
      jobId: replica.jobId,
      name,
      state:
        failure !== null ? "failed" : round.phase === "finished" ? "finished" : steps > 0 || round.phase === "open" ? "running" : "waiting",
      step: steps,
      steps: stepsAsked(job),
      stop: job.stop,
      forwardsCommitted: history.forwards,
      parameters: tensors.reduce((n, { shape }) => n + elementsOf(shape), 0),
      classes: objective.classes,
      metric: objective.metric,
      directionsPerStep: settings && settings.groups * 2 ** settings.directionsLog2,
      groups: settings?.groups ?? null,
      estimator: job.estimator,
      rule: job.rule,
      epsilon: settings && 2 ** settings.epsilonLog2,
      rate: settings?.rate ?? null,
      staleness,
      decisions: history.decisions.slice(-DECISIONS_MAX).map((decision) => {
        const { seq, afterStep, entry } = decision;
        return { seq, kind: entry.kind, afterStep, text: decisionText(decision), why: "why" in entry ? entry.why : "" };
      }),
      head: { seq: history.nextSeq, hash: history.headHash },
      stateHash: coordinator.stateHash(),
      workers: [...round.members.values()].filter(({ state }) => state !== "gone").length,
      joinCommand: around.joinCommand(),
      addresses: around.addresses(),
      forwards: round.forwards,
      evalForwards: coordinator.evalForwards(),
      forwardsPerSecond: rates?.forwardsPerSecond ?? 0,
      secondsPerStep: rates?.secondsPerStep ?? null,
      etaSeconds: rates && left !== null && round.phase !== "finished" ? left * rates.secondsPerStep : null,
      bytesPerStep: rates?.bytesPerStep ?? { workerIn: null, workerOut: null, coordinatorIn: null, coordinatorOut: null },
      results: round.counts,
      divergences: round.divergences,
      majorityBaseline: around.majorityBaseline,
      noiseFloor: settings && NOISE_FLOOR / 2 ** settings.epsilonLog2,
      firstEvaluation: history.evaluations[0] ?? null,
      lastEvaluation: evaluationHere(history) ?? history.evaluations.at(-1) ?? null,
      bestEvaluation: bestOf(history.evaluations, objective.metric),
      lastStep: points.at(-1) ?? null,
      dataNotice: "Volunteers download the training data and can read it; the held-out data stays with the coordinator.",
    };
  }

  function workerOf(member: Member): Worker {
    const { peerId, name, device, threads, state, runs, speed, counts } = member;
    const link = sessions.link(peerId);
    const number = history.roster.findIndex((peer) => peer.peerId === peerId) + 1;
    return {
      peerId,
      name,
      device,
      threads,
      state,
      slots: slotsIn(runs).length,
      onProbation: isOnProbation(member),
      forwardsPerSecond: (speed ?? 0) * PASSES[manifest.job.estimator],
      accepted: number === 0 ? 0 : (history.credit[number] ?? 0),
      late: counts.late ?? 0,
      rejected: REFUSED.reduce((n, code) => n + (counts[code] ?? 0), 0),
      duplicate: counts.duplicate ?? 0,
      stateHash: agreementOf(round, member),
      bytesIn: link?.payloadBytes.in ?? 0,
      bytesOut: link?.payloadBytes.out ?? 0,
      secondsSinceHeard: link ? (performance.now() - link.heardMs) / 1000 : 0,
    };
  }

  return {
    view: {
      job,
      steps: (from, max) => pageOfHistory(points, history.evaluations, from, max),
      workers: () => [...round.members.values()].map(workerOf),
      health() {
        const reason = failure ?? coordinator.waiting();
        if (reason !== null) return { status: "degraded", reason };
        if (round.phase === "finished" || activeMembers(round).length > 0) return { status: "ok" };
        return { status: "degraded", reason: "No worker is ready. Start one with the join command." };
      },
      subscribe(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    changed(change) {
      if (change.kind === "committed") {
        const loss = history.losses.at(-1);
        if (loss === undefined) return;
        const point = pointOf(loss, round.signal, change.seconds);
        points.push(point);
        marks.push({ ms: performance.now(), forwards: round.forwards, ...around.payload() });
        if (marks.length > RECENT_STEPS + 1) marks.shift();
        tell({ type: "step", data: point });
      }
      const evaluation = history.evaluations.at(-1);
      if (change.kind === "evaluated" && evaluation) tell({ type: "evaluation", data: evaluation });
      // Job and workers are looked up by a timer (http/events.ts): to tell all workers at each word of one would cost their square.
    },
  };
}

function pointOf(
  { step, meanLoss, directions, committed }: Coordinator["round"]["replica"]["history"]["losses"][number],
  signal: number | null,
  seconds: number | null,
): StepPoint {
  return { step, meanLoss, directions, accepted: committed, signal, seconds };
}
