/**
 * What the HTTP side may know of a coordinator: reads and a subscription, folds of the ledger and of live state.
 * It must never change anything, and never wait: every method answers at once.
 */
import type { Evaluation, EventData, EventName, Health, Job, StepPoint, StepsPage, Worker } from "./schemas.ts";

export type ViewEvent = { [N in EventName]: { type: N; data: EventData<N> } }[EventName];

export interface View {
  job(): Job;
  /** At most `max` steps, ascending, beginning with step `from`, and the evaluations of that stretch: `pageOfHistory`. */
  steps(from: number, max: number): StepsPage;
  workers(): Worker[];
  health(): Health;
  /**
   * Calls `listener` for every new step and evaluation. Job, workers and health may be told as well; they are also looked up
   * regularly, so nothing is lost where they are not. Returns how to stop.
   */
  subscribe(listener: (event: ViewEvent) => void): () => void;
}

/**
 * One page of a history held in memory. `steps` ascend; evaluations may come in any order. An evaluation belongs to the page that
 * covers its step, the one before training (-1) to pages from -1 or 0; the last page carries every later one too.
 */
export function pageOfHistory(steps: readonly StepPoint[], evaluations: readonly Evaluation[], from: number, max: number): StepsPage {
  let start = 0;
  for (let end = steps.length; start < end; ) {
    const middle = (start + end) >> 1;
    if ((steps[middle] as StepPoint).step < from) start = middle + 1;
    else end = middle;
  }
  const next = steps[start + max]?.step ?? null;
  const first = from <= 0 ? -1 : from;
  return {
    steps: steps.slice(start, start + max),
    evaluations: evaluations.filter(({ step }) => step >= first && (next === null || step < next)),
    next,
  };
}
