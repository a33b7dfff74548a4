/** What must hold whatever happens, by name, and how a run says that it does not. */
export const INVARIANTS = [
  "equal-bytes",
  "one-ledger",
  "commits-once",
  "credit-is-accepted",
  "counted-once",
  "genuine-losses",
  "durable-first",
  "one-content",
  "nothing-lost",
  "bounded-queues",
  "reaches-target",
  "no-own-stop",
] as const;
export type Invariant = (typeof INVARIANTS)[number];

export class Violation extends Error {
  invariant: Invariant;
  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

export function insist(holds: boolean, invariant: Invariant, message: () => string): void {
  if (!holds) throw new Violation(invariant, message());
}
