/**
 * The probe of a job whose rate is left to the coordinator: a few real steps, each at three times the rate of the one before, until a step no
 * longer lowers the held-out loss. From how much each step lowered it follows the rate at which a single step lowers it most. It is the
 * learning-rate range test of Smith (2017) for steps whose noise grows with the square of the rate. Pure.
 */

/** Probing steps at most. */
export const TRIALS_MAX = 14;
/** Held-out examples that a trial is judged by, at most: the same ones for all. */
export const PROBE_EXAMPLES = 128;
/** The first trial would lower the loss by this share of it, were the loss a plane. */
export const FIRST_SHARE = 0.01;
const GROWTH = 3;
/** Where the first trial is too far, the probe begins again by so many times shorter a step. */
const RETREAT = GROWTH ** 3;
/** A trial that lowers the loss by less than this share of what its rate promised, by the ones before it, is the last: one alone says too little. */
const LEAST_SHARE = 1 / 3;
/** A rate that moves parameters so far in a step is beyond all sense. */
const RATE_MAX = 0.5;
/** The look that comes first only measures how steep the loss is. */
export const LOOK_RATE = 2 ** -24;
/** The first trial's where that cannot be told. */
const BLIND_RATE = 2 ** -13;
/** Of the rate at which a single step gains most, this share is taken for many: noise that steps leave adds up (measured: shared/spec/training.md). */
export const SHARE_OF_BEST = 0.5;
/** Steps up to this share of it are kept: longer ones gained more at once, and left noise that takes longer to undo than they saved. */
export const KEPT_SHARE = 0.6;

export interface Trial {
  rate: number;
  /** Directions that were committed. */
  directions: number;
  /** Root mean square of the step's projected gradients. */
  signal: number;
  /** Held-out loss of the state that it set out from, and after it; infinite where it is not finite. */
  from: number;
  loss: number;
  step: number;
  stateHash: string;
}

export interface Probe {
  /** Held-out loss of the state that the ledger stands at; null until it is known. */
  here: number | null;
  /** The first is the look. */
  trials: Trial[];
  /** The next trial's rate is chosen: its step may be made. */
  isChosen: boolean;
  /** The newest step before that trial's. */
  fromStep: number;
  /** The step whose loss is being taken; null where none is. */
  awaited: number | null;
}

export interface Found {
  /** At which a single step lowers the loss most. */
  best: number;
  /** To train with. */
  rate: number;
}

/** The rate of the next trial; null once enough is seen. */
export function nextTrial(trials: readonly Trial[]): number | null {
  const [look, ...climbs] = trials;
  if (look === undefined) return LOOK_RATE;
  const last = climbs.at(-1);
  if (last === undefined) {
    const steep = (FIRST_SHARE * Math.abs(look.from)) / (look.directions * look.signal);
    return Number.isFinite(steep) ? Math.min(Math.max(steep, LOOK_RATE), RATE_MAX / 2 ** 10) : BLIND_RATE;
  }
  if (trials.length >= TRIALS_MAX) return null;
  const far = farOf(climbs);
  if (far === climbs.length) return last.rate >= RETREAT * LOOK_RATE ? last.rate / RETREAT : null;
  const worths = worthsOf(climbs.slice(far));
  const newest = worths.pop() as number;
  // A short step may show nothing: that is no reason to end.
  if (newest < 0 || (worths.length > 1 && newest < LEAST_SHARE * meanOf(worths))) return null;
  const next = GROWTH * last.rate;
  // What was too far from the start need not be tried again.
  return next > Math.min(RATE_MAX, ((climbs[far - 1]?.rate ?? Number.POSITIVE_INFINITY) * 2) / GROWTH) ? null : next;
}

/** Whether no trial has gained anything yet, and the newest has harmed: the next one sets out from the look's state again. */
export function isTooFar([, ...climbs]: readonly Trial[]): boolean {
  return climbs.length > 0 && farOf(climbs) === climbs.length;
}

/** How many trials were too far before the first that was not. */
function farOf(climbs: readonly Trial[]): number {
  const first = worthsOf(climbs).findIndex((worth) => worth >= 0);
  return first < 0 ? climbs.length : first;
}

/** What each climbing trial lowered the loss by, as a share of what slope and rate promised: 1 on a plane that all batches share. */
function worthsOf(climbs: readonly Trial[]): number[] {
  return climbs.map(({ from, loss, rate, directions, signal }) => {
    const gain = from - loss;
    if (gain === 0 || !(signal > 0)) return 0;
    // Far beyond the best rate the loss is no parabola: such a trial says that it is too far, and no more.
    return Number.isFinite(gain) ? Math.max(-1, gain / (directions * signal * rate)) : -1;
  });
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Fits worth = a - b x rate to the trials: a step gains most at the rate a / 2b, at which half of its promise is left. */
export function findRate([, ...all]: readonly Trial[]): Found {
  // Of those that were too far from the start the last bounds the others; the ones before it are further still.
  const climbs = all.slice(Math.max(0, farOf(all) - 1));
  const worths = worthsOf(climbs);
  const rates = climbs.map(({ rate }) => rate);
  const [rate, worth] = [meanOf(rates), meanOf(worths)];
  const spread = meanOf(rates.map((one) => (one - rate) ** 2));
  const slope = spread > 0 ? meanOf(rates.map((one, i) => (one - rate) * ((worths[i] as number) - worth))) / spread : 0;
  const steepest = worths.reduce(
    (most, one, i) => (one * (rates[i] as number) > (worths[most] as number) * (rates[most] as number) ? i : most),
    0,
  );
  const top = rates[steepest] ?? LOOK_RATE;
  const best = slope < 0 ? Math.min(Math.max((worth - slope * rate) / (-2 * slope), top / GROWTH), top * GROWTH) : top;
  return { best, rate: SHARE_OF_BEST * best };
}
