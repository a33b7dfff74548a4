/** Deliberate bugs, each around an effect or an event of the simulated shells, to show that an invariant bites. */
import type { Round, RoundEffect } from "../../coordinator/src/round/state.ts";
import type { Faults } from "./faults.ts";
import type { Invariant } from "./violation.ts";

export interface Mutation {
  /** Which invariant must notice. */
  breaks: Invariant;
  /** A swarm of so many shows it soonest. */
  workers?: number;
  /** And these faults, whatever the seed draws. */
  faults?: Partial<Faults>;
  roundEffects?: (effects: RoundEffect[], round: Round) => RoundEffect[];
  announceEarly?: true;
  applyTwice?: true;
  forgetAppend?: true;
  noReopen?: true;
  noRepair?: true;
  /** Who takes over goes on in the epoch of the one before. */
  noEpoch?: true;
  /** Nobody waits for the standby. */
  hasty?: true;
  /** Forged announcements carry a signature that passes. */
  unchecked?: true;
  inboxMax?: number;
  /** A flush is reported before it has happened. */
  lyingDisk?: true;
}

export const MUTATIONS: Record<string, Mutation> = {
  "announce-before-durable": { breaks: "durable-first", announceEarly: true },
  "report-flush-early": { breaks: "one-content", lyingDisk: true },
  "credit-a-missing-slot": {
    breaks: "credit-is-accepted",
    roundEffects: (effects) =>
      effects.map((effect) => {
        if (effect.kind !== "announce" || effect.entry.kind !== "commit") return effect;
        const { contributors } = effect.entry;
        const all = contributors.reduce((n, [, count]) => n + count, 0);
        const who = contributors.find(([one]) => one > 0)?.[0] ?? 0;
        return { ...effect, entry: { ...effect.entry, contributors: [[who, all]] } };
      }),
  },
  "count-a-duplicate": {
    breaks: "counted-once",
    roundEffects(effects, round) {
      for (const effect of effects)
        if (effect.kind === "send" && effect.frame.kind === "verdict" && effect.frame.code === "duplicate")
          round.counts.accepted = (round.counts.accepted ?? 0) + 1;
      return effects;
    },
  },
  "commit-twice": {
    breaks: "commits-once",
    roundEffects: (effects) =>
      effects.flatMap((effect) => (effect.kind === "announce" && effect.entry.kind === "commit" ? [effect, effect] : [effect])),
  },
  "take-other-losses": {
    breaks: "genuine-losses",
    roundEffects(effects, round) {
      for (const answer of round.open.flatMap(({ answers }) => [...answers.values()])) if (answer.losses) answer.losses.plus += 1e-9;
      return effects;
    },
  },
  "apply-twice": { breaks: "equal-bytes", applyTwice: true },
  "forget-to-reopen": { breaks: "reaches-target", noReopen: true },
  "take-over-without-an-epoch": { breaks: "one-content", noEpoch: true },
  "announce-before-the-standby-has-it": {
    breaks: "nothing-lost",
    faults: { standby: "sync", standbyDelayMs: 300, takeOverEveryMs: 4_000 },
    hasty: true,
  },
  "never-repair": { breaks: "reaches-target", workers: 1, noRepair: true },
  "forget-an-append": { breaks: "no-own-stop", forgetAppend: true },
  "skip-the-signature": { breaks: "one-ledger", unchecked: true },
  "unbounded-inbox": { breaks: "bounded-queues", inboxMax: Number.POSITIVE_INFINITY },
};
