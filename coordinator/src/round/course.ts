/** The job's course: what its steps are made with, and when it is over. Pure: the same replica gives the same decisions. */
import { type History, isAsGood, type Settings } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { activeMembers, type Round, type RoundEffect } from "./state.ts";

/** What the next task and commit are made with: the newest that the ledger says, else the job file's own; null where nothing is chosen yet. */
export function settingsOf({ job }: Manifest, { settings }: Pick<History, "settings">): Settings | null {
  if (settings !== null) return settings;
  const { rate, epsilonLog2, groups, directionsLog2 } = job;
  if (rate === null || epsilonLog2 === null || groups === null || directionsLog2 === null) return null;
  return { rate, epsilonLog2, groups, directionsLog2 };
}

/** What a step is measured with where a job file says nothing of it. */
export const USUAL = { epsilonLog2: -10, groups: 1, directionsLog2: 4 } as const;

/** What a job begins with that leaves the choice, as far as it leaves it. */
export function firstSettings({ rate, epsilonLog2, groups, directionsLog2 }: Manifest["job"]): Settings {
  return {
    rate: rate ?? 2e-4,
    epsilonLog2: epsilonLog2 ?? USUAL.epsilonLog2,
    groups: groups ?? USUAL.groups,
    directionsLog2: directionsLog2 ?? USUAL.directionsLog2,
  };
}

/** Whether the initial state is evaluated and enough workers are ready. */
export function canBegin(round: Round): boolean {
  return round.replica.history.evaluations.length > 0 && activeMembers(round).length >= round.waitFor;
}

/**
 * Decides what the ledger is to say next of the job's course: `rate`, `restore` and `end` entries, to be announced in order, or
 * nothing. A `rate` entry needs a reason. It is asked at the start, as soon as the first step could open, and after each commit and
 * each evaluation that was announced; not while an earlier decision or a commit is on its way to the ledger, nor after the end.
 */
export function decide(round: Round): RoundEffect[] {
  const { manifest, replica } = round;
  const end = endOf(manifest, replica.history);
  if (end !== null) return [{ kind: "announce", entry: end, task: null }];
  if (settingsOf(manifest, replica.history) !== null || !canBegin(round)) return [];
  const entry: Entry = { kind: "rate", ...firstSettings(manifest.job), why: "a usual beginning; what the job file gives is kept" };
  return [{ kind: "announce", entry, task: null }];
}

/** The end that the job file's rules call for; null where none does. */
function endOf({ job, objective }: Manifest, { evaluations, forwards }: History): Extract<Entry, { kind: "end" }> | null {
  const { target, patience, forwards: budget } = job.stop;
  const newest = evaluations.at(-1);
  if (newest === undefined) return null;
  if (target !== null && isAsGood(newest.score, target, objective.metric))
    return { kind: "end", reason: "target", why: `the held-out score ${newest.score.toPrecision(4)} reaches the target ${target}` };
  if (budget !== null && forwards >= budget)
    return { kind: "end", reason: "forwards", why: `${forwards} forward passes are spent, of ${budget}` };
  const best = evaluations.reduce((least, { loss }, i) => (loss < (evaluations[least]?.loss ?? Number.POSITIVE_INFINITY) ? i : least), 0);
  const since = evaluations.length - 1 - best;
  if (patience !== null && since >= patience)
    return {
      kind: "end",
      reason: "patience",
      why: `no lower held-out loss in ${since} evaluations; the lowest was ${evaluations[best]?.loss.toPrecision(4)}, after step ${(evaluations[best]?.step ?? -1) + 1}`,
    };
  return null;
}
