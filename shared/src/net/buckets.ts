/** Token buckets: how much of something a peer may take per second, with a burst. Pure: the clock is an argument. */

export interface Bucket {
  /** Takes `amount` if it is there. `nowMs` must not run backwards. */
  take(amount: number, nowMs: number): boolean;
  /** Takes `amount` even into debt, for what is known only afterwards: until the debt is paid, `take` refuses everything. */
  owe(amount: number): void;
}

/** A bucket that refills at `perSecond` and holds at most `burst`; it starts full. */
export function createBucket({ perSecond, burst }: { perSecond: number; burst: number }): Bucket {
  let level = burst;
  let filledMs = Number.NEGATIVE_INFINITY;
  return {
    take(amount, nowMs) {
      level = filledMs === Number.NEGATIVE_INFINITY ? burst : Math.min(burst, level + ((nowMs - filledMs) / 1000) * perSecond);
      filledMs = nowMs;
      if (amount > level) return false;
      level -= amount;
      return true;
    },
    owe(amount) {
      level -= amount;
    },
  };
}
