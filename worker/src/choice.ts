/** Snapshot or replay: an estimate from what this machine has measured of itself. Pure. */

export interface Candidate {
  step: number;
  /** Bytes to be downloaded; 0 where it is here. */
  toFetch: number;
  /** Steps to be replayed behind it. */
  tail: number;
}

export interface Figures<C extends Candidate> {
  offers: readonly C[];
  /** Steps to be replayed without a snapshot. */
  steps: number;
  secondsPerStep: number;
  /** Null: nothing could be downloaded yet. */
  bytesPerSecond: number | null;
  /** Unpacking and checking a snapshot. */
  secondsToLoad: number;
}

export interface Choice<C extends Candidate> {
  /** Null: a replay is faster, or there is none. */
  snapshot: C | null;
  /** The quickest offer, chosen or not, and its seconds. */
  quickest: { offer: C; seconds: number } | null;
  replaySeconds: number;
  figures: Figures<C>;
}

/** The quickest way by these figures; a replay where a snapshot does not beat it. */
export function choose<C extends Candidate>(figures: Figures<C>): Choice<C> {
  const { offers, steps, secondsPerStep, bytesPerSecond, secondsToLoad } = figures;
  const secondsOf = ({ toFetch, tail }: C) => (toFetch === 0 ? 0 : toFetch / (bytesPerSecond ?? 0)) + secondsToLoad + tail * secondsPerStep;
  const replaySeconds = steps * secondsPerStep;
  let quickest: Choice<C>["quickest"] = null;
  for (const offer of offers) {
    const seconds = secondsOf(offer);
    if (quickest === null || seconds < quickest.seconds) quickest = { offer, seconds };
  }
  const pays = quickest !== null && quickest.seconds < replaySeconds;
  return { snapshot: pays ? (quickest?.offer ?? null) : null, quickest, replaySeconds, figures };
}

/** One line for the volunteer: which, and the figures behind it. */
export function sayChoice({ snapshot, quickest, replaySeconds, figures }: Choice<Candidate>): string {
  const { steps, secondsPerStep, bytesPerSecond } = figures;
  const replay = `a replay of ${steps} steps at ${(1000 * secondsPerStep).toPrecision(2)} ms takes about ${inWords(replaySeconds)}`;
  if (quickest === null) return `catching up by replay: ${replay}; nobody offers a snapshot`;
  const { toFetch, step, tail } = quickest.offer;
  const download =
    toFetch === 0 ? "it is on this disk" : `${(toFetch / 1e6).toFixed(1)} MB at ${((bytesPerSecond ?? 0) / 1e6).toFixed(1)} MB/s`;
  const by = `the snapshot after step ${step + 1} (${download}) and ${tail} steps behind it take about ${inWords(quickest.seconds)}`;
  return snapshot === null ? `catching up by replay: ${replay}; ${by}` : `catching up by snapshot: ${by}; ${replay}`;
}

function inWords(seconds: number): string {
  return seconds < 1 ? `${Math.ceil(1000 * seconds)} ms` : `${seconds.toPrecision(2)} s`;
}
