/** What must hold after every event, whatever happens: each check looks only at what the event may have changed. */

import type { BranchNode } from "@zoswarm/shared/ledger/folds";
import { parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { type CommitEntry, packCoefficients } from "@zoswarm/shared/protocol/entries";
import type { ResultFrame } from "@zoswarm/shared/protocol/messages";
import { sha256Hex } from "@zoswarm/shared/protocol/signing";
import type { Replica } from "@zoswarm/shared/replica/replica";
import { commitPlain } from "@zoswarm/shared/zo/apply";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import type { Round } from "../../coordinator/src/round/state.ts";
import { measureSlot, type Objective } from "./evaluator.ts";

export const INVARIANTS = [
  "equal-bytes",
  "one-ledger",
  "commits-once",
  "credit-is-accepted",
  "counted-once",
  "genuine-losses",
  "durable-first",
  "one-content",
  "bounded-queues",
  "reaches-target",
  "no-own-stop",
] as const;
export type Invariant = (typeof INVARIANTS)[number];

export class Violation extends Error {
  invariant: Invariant;
  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

function insist(holds: boolean, invariant: Invariant, message: () => string): void {
  if (!holds) throw new Violation(invariant, message());
}

interface Truth {
  label: string;
  x: Int32Array[];
  hash: string;
}

/** What a coordinator's process has counted since it started, told by its own effects. */
export interface Tally {
  /** Losses that its commit of a step credits to anybody. */
  credited: Map<number, number>;
}

export type Checkers = ReturnType<typeof createCheckers>;

export function createCheckers(objective: Objective) {
  const truths = new Map<string, Truth>();
  const labels = new WeakMap<BranchNode, Truth>();
  const start: Truth = { label: "", x: objective.initial(), hash: stateHash(objective.initial()) };
  /** Payload hash of each place, from the moment that it is durable at the coordinator. */
  const ledger: string[] = [];
  const published = new Map<string, string>();
  const committed = new Map<number, number>();
  const roster: string[] = [];
  const credit = new Map<string, number>();
  /** Who has sent a finite loss, by head and slot. */
  const sent = new Map<string, Set<string>>();
  const excused = new Set<string>();
  const heads = new Map<number, string>();
  const seen = new Map<string, number>();
  const judged = new WeakMap<object, Set<number>>();
  const genuine = new Map<string, { plus: number | null; minus: number | null }>();

  /** The state after a commit of a branch, computed here and nowhere else. */
  function truthOf(node: BranchNode | null): Truth {
    if (node === null) return start;
    const known = labels.get(node);
    if (known !== undefined) return known;
    const before = truthOf(node.parent);
    const label = sha256Hex(new TextEncoder().encode(`${before.label} ${wordsOf(node.commit)}`));
    let truth = truths.get(label);
    if (truth === undefined) {
      const x = before.x.map((values) => values.slice());
      commitPlain(x, objective.tensors, objective.key, node.commit);
      truth = { label, x, hash: stateHash(x) };
      truths.set(label, truth);
    }
    labels.set(node, truth);
    return truth;
  }

  function creditCommit(entry: CommitEntry): void {
    let slot = 0;
    const head = heads.get(entry.step);
    for (const [who, count] of entry.contributors)
      for (let i = 0; i < count; i++, slot++) {
        if (who === 0) continue;
        const peer = roster[who - 1] ?? "nobody";
        insist(
          sent.get(`${head} ${slot}`)?.has(peer) === true,
          "credit-is-accepted",
          () => `step ${entry.step} credits slot ${slot} to ${peer}, who has sent no loss of it`,
        );
        credit.set(peer, (credit.get(peer) ?? 0) + 1);
      }
  }

  return {
    truthOf,
    ledger: ledger as readonly string[],

    /** Parameters that moved stand where the ledger's commits lead. */
    moved(who: string, x: readonly Int32Array[], after: BranchNode | null): void {
      const hash = stateHash(x);
      const truth = truthOf(after);
      insist(
        hash === truth.hash,
        "equal-bytes",
        () => `${who} after step ${after?.commit.step ?? -1} has ${hash.slice(0, 12)}, not ${truth.hash.slice(0, 12)}`,
      );
    },

    /** An entry is durable at the coordinator: it is the ledger's from now on. */
    durable(seq: number, bytes: Uint8Array): void {
      const read = parseAnnouncement(bytes);
      if (!read.ok) throw new Violation("one-content", `entry ${seq} cannot be read: ${read.code}`);
      const { hash, entry, task } = read.announcement;
      insist((ledger[seq] ?? hash) === hash && seq <= ledger.length, "one-content", () => `place ${seq} had another content before`);
      if (ledger[seq] === hash) return;
      ledger[seq] = hash;
      if (task !== null) heads.set(task.step, hash);
      if (entry?.kind === "roster") roster.push(...entry.peers.map(({ peerId }) => peerId));
      if (entry?.kind !== "commit") return;
      insist(
        !committed.has(entry.step),
        "commits-once",
        () => `step ${entry.step} is committed at ${committed.get(entry.step)} and at ${seq}`,
      );
      committed.set(entry.step, seq);
      creditCommit(entry);
    },

    /** Bytes leave the coordinator. */
    published(bytes: Uint8Array): void {
      const read = parseAnnouncement(bytes);
      if (!read.ok) throw new Violation("one-content", `what is published cannot be read: ${read.code}`);
      const { epoch, seq, hash } = read.announcement;
      const place = `${epoch}/${seq}`;
      insist((published.get(place) ?? hash) === hash, "one-content", () => `two contents were announced for place ${place}`);
      published.set(place, hash);
      insist(ledger[seq] === hash, "durable-first", () => `place ${seq} was announced before it was durable`);
    },

    /** `tainted` names losses, by head and slot, that a broken memory has made: wrong, and nobody's bug. */
    sent(peerId: string, frame: ResultFrame, tainted: ReadonlySet<string>): void {
      for (const { slot, plus } of frame.losses) {
        if (plus === null) continue;
        const key = `${frame.head} ${slot}`;
        if (tainted.has(key)) excused.add(`${key} ${peerId}`);
        sent.set(key, (sent.get(key) ?? new Set()).add(peerId));
      }
    },

    /** A replica holds nothing but a beginning of the ledger. `run` names one run of the process. */
    replica(run: string, replica: Replica): void {
      const { history, hashes } = replica;
      for (let seq = seen.get(run) ?? 0; seq < history.nextSeq; seq++)
        insist(
          hashes[seq] === ledger[seq],
          "one-ledger",
          () => `${run} holds ${hashes[seq]?.slice(0, 12)} at ${seq}, the ledger ${ledger[seq]?.slice(0, 12)}`,
        );
      seen.set(run, history.nextSeq);
    },

    /** The coordinator's counts, its open steps and the ledger tell the same. */
    round(round: Round, tally: Tally): void {
      const open = round.open === null ? [] : [round.open];
      let answered = 0;
      for (const step of open) {
        insist(step.answers.size <= step.total, "bounded-queues", () => `step ${step.task.step} has more answers than slots`);
        const known = judged.get(step) ?? new Set();
        judged.set(step, known);
        for (const [slot, { losses, peerId }] of step.answers) {
          if (losses === null) continue;
          answered++;
          if (known.has(slot)) continue;
          known.add(slot);
          if (excused.has(`${step.head} ${slot} ${peerId}`)) continue;
          const truth = truthOf(round.replica.history.branch);
          const key = `${truth.label} ${step.task.step} ${slot} ${losses.minus !== null}`;
          const right = genuine.get(key) ?? measureSlot(objective, truth.x, step.task, slot, losses.minus !== null);
          genuine.set(key, right);
          insist(
            right.plus === losses.plus && right.minus === losses.minus,
            "genuine-losses",
            () => `slot ${slot} of step ${step.task.step} was accepted with a loss of other parameters`,
          );
        }
      }
      const accepted = round.counts.accepted ?? 0;
      const credited = [...tally.credited.values()].reduce((sum, losses) => sum + losses, 0);
      insist(
        accepted === credited + answered,
        "counted-once",
        () => `${accepted} losses were accepted, ${credited} credited, ${answered} wait`,
      );
    },

    /** After a commit was taken in: the fold of the ledger gives each worker what was accepted of it. */
    credit(replica: Replica): void {
      if (replica.history.nextSeq !== ledger.length) return;
      replica.history.roster.forEach(({ peerId }, i) => {
        const folded = replica.history.credit[i + 1];
        insist(
          folded === (credit.get(peerId) ?? 0),
          "credit-is-accepted",
          () => `${peerId} has the credit ${folded}, and ${credit.get(peerId)} losses accepted`,
        );
      });
    },

    queue(who: string, what: string, waiting: number, most: number): void {
      insist(waiting <= most, "bounded-queues", () => `${who} has ${waiting} ${what}, at most ${most} are allowed`);
    },
  };
}

/** A commit as bytes that differ where its meaning does. */
function wordsOf({ step, groups }: CommitEntry): string {
  return `${step} ${groups.map(({ g, m, p, a }) => `${g} ${m} ${p} ${Buffer.from(packCoefficients(a).bytes).toString("hex")}`).join(" ")}`;
}
