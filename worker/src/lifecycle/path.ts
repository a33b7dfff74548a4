/** The way from where theta stands to the state that something is measured at. Pure. */
import { type BranchNode, branchTo } from "@zoswarm/shared/ledger/folds";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { isCheckpoint } from "@zoswarm/shared/replica/replica";

export type Move =
  | { kind: "apply"; commit: CommitEntry }
  /** Theta stands at a checkpoint: it is worth its hash. */
  | { kind: "checkpoint"; step: number }
  /** The initial state, then these commits: the base lies behind, or on another branch. */
  | { kind: "anew"; commits: CommitEntry[] };

/** Forward commit by commit where `to` follows `from`, else anew from the initial state. */
export function pathOf(from: BranchNode | null, to: BranchNode | null, job: { steps: number; evaluateEvery: number }): Move[] {
  const nodes: BranchNode[] = [];
  for (let at = to; at !== from; at = at.parent) {
    if (at === null) return [{ kind: "anew", commits: branchTo(to) }];
    nodes.push(at);
  }
  return nodes.reverse().flatMap(({ commit }): Move[] => {
    const apply: Move = { kind: "apply", commit };
    return isCheckpoint(job, commit.step) ? [apply, { kind: "checkpoint", step: commit.step }] : [apply];
  });
}
