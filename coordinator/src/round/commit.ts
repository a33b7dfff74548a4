/** From a step's answers to the ledger's words: the integers of the commit, who contributed what, the next task. Pure. */
import type { Settings } from "@zoswarm/shared/ledger/folds";
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { CommitEntry, Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { estimateStep, type Measured } from "@zoswarm/shared/zo/estimate";
import { effectiveExponents } from "@zoswarm/shared/zo/lattice";
import type { OpenStep } from "./accept.ts";

/** The task of a step: all groups have 2^directionsLog2 directions, and group g sees batch g of the step. */
export function taskOf({ job }: Manifest, step: number, { groups, directionsLog2, epsilonLog2 }: Settings): Task {
  const each = Array.from({ length: groups }, (_, g) => ({ g, m: directionsLog2, batch: g }));
  return { step, groups: each, epsilonLog2, estimator: job.estimator };
}

export interface Commitment {
  /** Contributors that the ledger does not know yet, to be recorded first. */
  rosters: Extract<Entry, { kind: "roster" }>[];
  commit: CommitEntry;
  signal: number;
}

const PEERS_PER_ENTRY = 256;

/** The commit of a step, at the rate that holds now: slots without a finite answer have a_k = 0 and no contributor. */
export function commitOf(
  { job, tensors }: Manifest,
  { rate, reference }: Pick<Settings, "rate" | "reference">,
  roster: readonly { peerId: string }[],
  { task, total, answers }: Pick<OpenStep, "task" | "total" | "answers">,
  nameOf: (peerId: string) => string,
): Commitment {
  const numbers = new Map(roster.map(({ peerId }, i) => [peerId, i + 1]));
  const newcomers: { peerId: string; name: string }[] = [];
  const contributors: [number, number][] = [];
  const measured: Measured[][] = task.groups.map(() => []);
  const firsts = task.groups.map((_, i) => task.groups.slice(0, i).reduce((n, { m }) => n + 2 ** m, 0));
  for (let slot = 0, group = 0; slot < total; slot++) {
    while (slot >= (firsts[group + 1] ?? total)) group++;
    const answer = answers.get(slot);
    const who = answer?.losses ? numberOf(answer.peerId) : 0;
    if (answer?.losses) measured[group]?.push({ k: slot - (firsts[group] as number), ...answer.losses, source: who });
    const last = contributors.at(-1);
    if (last !== undefined && last[0] === who) last[1]++;
    else contributors.push([who, 1]);
  }
  const estimate = estimateStep(
    {
      epsilonLog2: task.epsilonLog2,
      rule: job.rule,
      rate,
      reference,
      effectiveExponents: effectiveExponents(tensors),
    },
    task.groups.map(({ g, m }, i) => ({ g, m, measured: measured[i] ?? [] })),
  );
  return {
    rosters: Array.from({ length: Math.ceil(newcomers.length / PEERS_PER_ENTRY) }, (_, i) => ({
      kind: "roster",
      peers: newcomers.slice(i * PEERS_PER_ENTRY, (i + 1) * PEERS_PER_ENTRY),
    })),
    commit: { kind: "commit", step: task.step, groups: estimate.groups, meanLoss: estimate.meanLoss, contributors },
    signal: estimate.signal,
  };

  function numberOf(peerId: string): number {
    const known = numbers.get(peerId);
    if (known !== undefined) return known;
    newcomers.push({ peerId, name: nameOf(peerId) });
    numbers.set(peerId, roster.length + newcomers.length);
    return roster.length + newcomers.length;
  }
}
