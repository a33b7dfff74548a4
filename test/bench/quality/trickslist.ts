/** What was tried to get more from every forward pass, by name; `baseline` is what each is compared with. */
import type { GainRule } from "./tricksgains.ts";
import type { Settings, Trick } from "./trickstrain.ts";

const set = (
  name: string,
  change: (base: Settings, share: number) => Partial<Settings>,
  rest: Omit<Trick, "name" | "settings"> = {},
): Trick => ({
  name,
  settings: change,
  ...rest,
});
const rate = (name: string, times: number, rest: Omit<Trick, "name" | "settings"> = {}) =>
  set(name, (base) => ({ rate: base.rate * times }), rest);
const gains = (name: string, gain: GainRule["gain"], { rate = 1, ...rest }: Omit<GainRule, "gain"> & { rate?: number } = {}): Trick => ({
  name,
  gains: { gain, ...rest },
  settings: (base) => ({ rate: base.rate * rate }),
});
const byRms = (rms: number) => (rms === 0 ? 0 : Math.log2(rms / 0.1));

/** Ranks from 0, ties by direction: centred and divided by their rms they are the utilities of evolution strategies. */
function ranks(losses: readonly number[]): number[] {
  const order = losses.map((_, i) => i).sort((i, j) => (losses[i] as number) - (losses[j] as number));
  const rank = new Array<number>(losses.length);
  for (const [place, i] of order.entries()) rank[i] = place;
  return rank;
}

/** The mean of two halves, each direction by the share of its square that is not their difference's. */
const byVariance = (one: readonly number[], other: readonly number[]) =>
  one.map((a, k) => {
    const mean = (a + (other[k] as number)) / 2;
    const half = (a - (other[k] as number)) / 2;
    return mean === 0 ? 0 : (mean * mean ** 2) / (mean ** 2 + half ** 2);
  });
/** The mean of two halves where they agree on the sign, else nothing. */
const byAgreement = (one: readonly number[], other: readonly number[]) =>
  one.map((a, k) => (a * (other[k] as number) > 0 ? (a + (other[k] as number)) / 2 : 0));

const momentum = (beta: number, commits: number) => Array.from({ length: commits }, (_, i) => beta ** (i + 1));

export const TRICKS: readonly Trick[] = [
  { name: "baseline" },
  rate("rate-half", 1 / 2),
  rate("rate-0.7", Math.SQRT1_2),
  rate("rate-double", 2),
  // What weighs a direction.
  { name: "ranks", transform: ranks, settings: () => ({ clip: Number.POSITIVE_INFINITY }) },
  ...[1, 1.5, 3, Number.POSITIVE_INFINITY].map((clip) => set(`clip-${clip}`, () => ({ clip }))),
  { name: "variance-weight", fromHalves: byVariance },
  { name: "agreement-weight", fromHalves: byAgreement },
  // What a tensor's share is.
  gains("gains-rms", ({ rms }) => byRms(rms)),
  gains("gains-rms-half", ({ rms }) => byRms(rms) / 2),
  gains("gains-rms-rate-0.7", ({ rms }) => byRms(rms), { rate: Math.SQRT1_2 }),
  gains("gains-rms-rate-1.4", ({ rms }) => byRms(rms), { rate: Math.SQRT2 }),
  gains("gains-rms-rate-2", ({ rms }) => byRms(rms), { rate: 2 }),
  gains("gains-norms-3", ({ name }) => (/norm/.test(name) ? 3 : 0)),
  gains("gains-norms-4", ({ name }) => (/norm/.test(name) ? 4 : 0)),
  gains("gains-rms-but-norms", ({ name, rms }) => (/norm/.test(name) ? 0 : byRms(rms))),
  gains("freeze-embeddings", ({ name }) => (/embeddings/.test(name) ? null : 0)),
  gains("freeze-norms", ({ name }) => (/norm/.test(name) ? null : 0)),
  gains("attention-only", ({ name }) => (/attention\.w/.test(name) ? 0 : null)),
  gains("freeze-weak", ({ signal }) => (signal < 1 / 4 ? null : 0), { usesSignal: true }),
  gains("gains-signal", ({ signal }) => Math.log2(signal) / 2, { usesSignal: true }),
  gains("gains-signal-half", ({ signal }) => Math.log2(signal) / 4, { usesSignal: true }),
  gains("gains-adam", ({ signal }) => -Math.log2(signal) / 4, { usesSignal: true }),
  // What a group and a batch are, at equal work.
  set("groups-1x256", () => ({ m: 8 })),
  set("groups-4x64", () => ({ m: 6, groups: 4 })),
  set("groups-16x16", () => ({ m: 4, groups: 16 })),
  set("groups-1x64-batch-x4", ({ batch }) => ({ m: 6, batch: 4 * batch })),
  set("groups-4x16", () => ({ groups: 4 })),
  set("groups-4x16-own-rms", () => ({ groups: 4 }), { perGroup: true }),
  set("groups-4x4", () => ({ m: 2, groups: 4 })),
  set("batch-quarter", ({ batch }) => ({ batch: batch / 4 })),
  set("batch-half", ({ batch }) => ({ batch: batch / 2 })),
  set("batch-double", ({ batch }) => ({ batch: 2 * batch })),
  set("batch-quarter-rate-half", ({ batch, rate }) => ({ batch: batch / 4, rate: rate / 2 })),
  set("batch-half-rate-0.7", ({ batch, rate }) => ({ batch: batch / 2, rate: rate * Math.SQRT1_2 })),
  set("batch-grows", ({ batch }, share) => ({
    batch: share < 1 / 8 ? batch / 4 : share < 1 / 2 ? batch / 2 : share < 3 / 4 ? batch : 2 * batch,
  })),
  // Both sides.
  set("two-sided", () => ({ estimator: "two-sided" })),
  set("two-sided-first", (_, share) => ({ estimator: share < 1 / 4 ? "two-sided" : "one-sided" })),
  set("two-sided-m3", () => ({ estimator: "two-sided", m: 3 })),
  // Former steps again.
  { name: "reuse-half", again: [0.5] },
  rate("reuse-half-rate-2/3", 2 / 3, { again: [0.5] }),
  rate("momentum-0.9", 0.1, { again: momentum(0.9, 30) }),
  rate("momentum-0.5", 0.5, { again: momentum(0.5, 6) }),
  rate("undo-quarter", 4 / 3, { again: [-0.25] }),
  { name: "averaged-half", averaged: 0.5 },
  { name: "averaged-quarter", averaged: 0.25 },
  rate("averaged-half-rate-double", 2, { averaged: 0.5 }),
  // The rule: the rms of the projected gradients is about 7 on lm at the start.
  ...[4, 8, 16].map((by) => set(`plain-/${by}`, ({ rate }) => ({ rule: "plain", rate: rate / by }))),
  // Beyond the knee.
  ...[256, 512, 1024].flatMap((directions) =>
    [1, 1 / 2, 1 / 4].map((times) =>
      set(`knee-${directions}-rate-x${times}`, ({ rate }) => ({ m: 4, groups: directions / 16, rate: rate * times })),
    ),
  ),
];
