/** What happens to whom, and when, from one seed: the next number of the generator decides everything. */
export const VICTIMS = ["coordinator", "ada", "alan", "grace"] as const;
export type Victim = (typeof VICTIMS)[number];

export interface Fault {
  /** After the fault before. */
  afterMs: number;
  victim: Victim;
  signal: "SIGKILL" | "SIGTERM" | "SIGSTOP";
  /** How long it is away: until it is started again, or woken by SIGCONT. */
  awayMs: number;
}

/** Freezing is drawn as often as ending, so that some lives are long enough to see what their memory does. */
const SIGNALS = ["SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP", "SIGSTOP", "SIGSTOP"] as const;
const AFTER_MS_MAX = 30_000;
const AWAY_MS_MAX = 25_000;

/** The next fault; `random` gives numbers in [0, 1). */
export function nextFault(random: () => number): Fault {
  const pick = <T>(from: readonly T[]) => from[Math.floor(from.length * random())] as T;
  // Short absences are the common ones.
  return {
    afterMs: AFTER_MS_MAX * random(),
    victim: pick(VICTIMS),
    signal: pick(SIGNALS),
    awayMs: AWAY_MS_MAX * random() ** 2,
  };
}
