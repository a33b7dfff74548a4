/**
 * The probe of a job whose rate is left to the coordinator: a few real steps, each at three times the rate of the one before, until a step no
 * longer lowers the held-out loss. From how much each step lowered it follow the rate at which a single step lowers it most, and the
 * curvature. It is the learning-rate range test of Smith (2017) for steps whose noise grows with the square of the rate. Pure.
 */

/** Probing steps at most. */
export const TRIALS_MAX = 14;
/** Held-out examples that a trial is judged by, at most: the same ones for all. */
export const PROBE_EXAMPLES = 128;
/** The first trial would lower the loss by this share of it, were the loss a plane. */
const FIRST_SHARE = 0.005;
const GROWTH = 3;
/** A trial that lowers the loss by less than this share of what its rate promised, by the ones before it, is the last. */
const LEAST_SHARE = 1 / 3;
/** A rate that moves parameters so far in a step is beyond all sense. */
const RATE_MAX = 0.5;
/** The look that comes first only measures how steep the loss is. */
export const LOOK_RATE = 2 ** -24;
/** Of the rate at which a single step gains most, this share is taken for many: noise that steps leave adds up (measured: shared/spec/training.md). */
const SHARE_OF_BEST = 0.25;

export interface Trial {
  rate: number;
  /** Directions that were committed. */
  directions: number;
  /** Root mean square of the step's projected gradients. */
  signal: number;
  /** Held-out loss after it; infinite where it is not finite. */
  loss: number;
  step: number;
  stateHash: string;
}

export interface Probe {
  /** Held-out loss at the start; null until it is known. */
  before: number | null;
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

/** The rate of the next trial; null once enough is seen. `before` is the held-out loss at the start. */
export function nextTrial(before: number, trials: readonly Trial[]): number | null {
  const [look, ...climbs] = trials;
  if (look === undefined) return LOOK_RATE;
  const last = climbs.at(-1);
  if (last === undefined) {
    const steep = (FIRST_SHARE * Math.abs(before)) / (look.directions * look.signal);
    return Number.isFinite(steep) ? Math.min(Math.max(steep, LOOK_RATE), RATE_MAX / 2 ** 10) : 2 ** -13;
  }
  const worths = worthsOf(before, trials);
  const newest = worths.pop() as number;
  const usual = worths.reduce((sum, worth) => sum + worth, 0) / worths.length;
  // Too far from the start: the probe begins again much lower.
  if (worths.length === 0 && newest <= 0) return last.rate / GROWTH ** 3;
  const isOver = newest <= 0 || newest < LEAST_SHARE * usual;
  if (isOver || trials.length >= TRIALS_MAX || GROWTH * last.rate > RATE_MAX) return null;
  return GROWTH * last.rate;
}

/** What each climbing trial lowered the loss by, as a share of what slope and rate promised: 1 on a plane that all batches share. */
function worthsOf(before: number, [look, ...climbs]: readonly Trial[]): number[] {
  return climbs.map(({ loss, rate, directions, signal }, i) => {
    const gain = (climbs[i - 1] ?? look ?? { loss: before }).loss - loss;
    // Far beyond the best rate the loss is no parabola: such a trial says that it is too far, and no more.
    return signal > 0 ? Math.max(-1, gain / (directions * signal * rate)) : 0;
  });
}

/** Fits worth = a - b x rate to the trials: a step gains most at the rate a / 2b, at which half of its promise is left. */
export function findRate(before: number, trials: readonly Trial[]): Found {
  const climbs = trials.slice(1);
  const worths = worthsOf(before, trials);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const rates = climbs.map(({ rate }) => rate);
  const [rate, worth] = [mean(rates), mean(worths)];
  const spread = mean(rates.map((one) => (one - rate) ** 2));
  const slope = spread > 0 ? mean(rates.map((one, i) => (one - rate) * ((worths[i] as number) - worth))) / spread : 0;
  const steepest = worths.reduce(
    (most, one, i) => (one * (rates[i] as number) > (worths[most] as number) * (rates[most] as number) ? i : most),
    0,
  );
  const top = rates[steepest] ?? 0;
  const best = slope < 0 ? Math.min(Math.max((worth - slope * rate) / (-2 * slope), top / GROWTH), top * GROWTH) : top;
  return { best, rate: SHARE_OF_BEST * best };
}
