/**
 * What the page knows, and how each message from the coordinator changes it. Pure: no clock, no network, no page in here.
 * History is kept by step, so that a page of it and live events may overlap in any order.
 */
import type { Evaluation, Health, Job, StepPoint, StepsPage, Worker } from "../../src/http/schemas.ts";

export interface PageState {
  job: Job | null;
  workers: readonly Worker[] | null;
  health: Health | null;
  /** Ascending by step, each step once. */
  steps: readonly StepPoint[];
  evaluations: readonly Evaluation[];
  /** `lost` says since when nothing is heard. */
  link: { kind: "connecting" } | { kind: "live" } | { kind: "lost"; sinceMs: number };
}

export type Message =
  | { type: "job"; data: Job }
  | { type: "workers"; data: { workers: readonly Worker[] } }
  | { type: "health"; data: Health }
  | { type: "step"; data: StepPoint }
  | { type: "evaluation"; data: Evaluation }
  | { type: "page"; data: StepsPage }
  | { type: "lost"; nowMs: number };

export const EMPTY: PageState = { job: null, workers: null, health: null, steps: [], evaluations: [], link: { kind: "connecting" } };

export function reduce(state: PageState, message: Message): PageState {
  switch (message.type) {
    case "job": {
      const another = state.job !== null && state.job.jobId !== message.data.jobId;
      return { ...(another ? EMPTY : state), job: message.data, link: { kind: "live" } };
    }
    case "workers":
      return { ...state, workers: message.data.workers };
    case "health":
      return { ...state, health: message.data };
    case "step":
      return { ...state, steps: merge(state.steps, [message.data]) };
    case "evaluation":
      return { ...state, evaluations: merge(state.evaluations, [message.data]) };
    case "page":
      return {
        ...state,
        steps: merge(state.steps, message.data.steps),
        evaluations: merge(state.evaluations, message.data.evaluations),
      };
    case "lost":
      return state.link.kind === "lost" ? state : { ...state, link: { kind: "lost", sinceMs: message.nowMs } };
  }
}

/** Both lists ascending by step, each step once; of two for one step the later told stays. */
function merge<T extends { step: number }>(known: readonly T[], told: readonly T[]): readonly T[] {
  if (told.length === 0) return known;
  const last = known.at(-1)?.step ?? Number.NEGATIVE_INFINITY;
  const ascending = told.every(({ step }, i) => step > (told[i - 1]?.step ?? last));
  if (ascending) return [...known, ...told];
  const byStep = new Map([...known, ...told].map((each) => [each.step, each]));
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

/**
 * The step from which history must be fetched after a break. An evaluation follows its step by a while, so the newest steps
 * may be known and an evaluation among them missed: what comes after the newest known evaluation is fetched again.
 */
export function resumeFrom({ steps, evaluations }: PageState): number {
  return Math.min(steps.at(-1)?.step ?? -1, evaluations.at(-1)?.step ?? -2) + 1;
}
