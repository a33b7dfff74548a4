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
import { keyOf, measureSlot, type Objective } from "./evaluator.ts";
import { createLedgers } from "./ledgers.ts";
import { insist, Violation } from "./violation.ts";

interface Truth {
  label: string;
  x: Int32Array[];
  hash: string;
}

/** What a coordinator's process has counted since it started, told by its own effects. */
export interface Tally {
  /** Losses that its commit of a step credits to anybody. */
  credited: Map<number, number>;
  /** Losses that waited in steps which a restore or the job's end left open. */
  abandoned: number;
}

export type Checkers = ReturnType<typeof createCheckers>;

export function createCheckers(objective: Objective) {
  const truths = new Map<string, Truth>();
  const labels = new WeakMap<BranchNode, Truth>();
  const start: Truth = { label: "", x: objective.initial(), hash: stateHash(objective.initial()) };
  const published = new Map<string, string>();
  /** The last place announced in each epoch. */
  const newest = new Map<number, number>();
  /** Who has sent a finite loss, by head and slot. */
  const sent = new Map<string, Set<string>>();
  const excused = new Set<string>();
  const ledgers = createLedgers((peerId, head, slot) => sent.get(`${head} ${slot}`)?.has(peerId) === true);
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

  return {
    truthOf,
    /** An entry is durable at a coordinator. */
    durable: ledgers.durable,
    /** Entries of an epoch's ledger. */
    lengthOf: (epoch: number) => ledgers.of(epoch).entries.length,

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

    /** A standby in mode sync takes over from an epoch with so many entries. */
    succeeded(epoch: number, kept: number): void {
      const last = newest.get(epoch) ?? -1;
      insist(last < kept, "nothing-lost", () => `place ${epoch}/${last} was announced, and the standby has ${kept} entries`);
    },

    /** Bytes leave the coordinator. */
    published(bytes: Uint8Array): void {
      const read = parseAnnouncement(bytes);
      if (!read.ok) throw new Violation("one-content", `what is published cannot be read: ${read.code}`);
      const { epoch, seq, hash } = read.announcement;
      const place = `${epoch}/${seq}`;
      insist((published.get(place) ?? hash) === hash, "one-content", () => `two contents were announced for place ${place}`);
      published.set(place, hash);
      newest.set(epoch, Math.max(newest.get(epoch) ?? -1, seq));
      insist(ledgers.of(epoch).entries[seq]?.hash === hash, "durable-first", () => `place ${seq} was announced before it was durable`);
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
      const ledger = ledgers.of(history.epoch).entries;
      for (let seq = seen.get(run) ?? 0; seq < history.nextSeq; seq++)
        insist(
          hashes[seq] === ledger[seq]?.hash,
          "one-ledger",
          () =>
            `${run} holds ${hashes[seq]?.slice(0, 12)} at ${seq}, the ledger of epoch ${history.epoch} ${ledger[seq]?.hash.slice(0, 12)}`,
        );
      seen.set(run, history.nextSeq);
    },

    /** The coordinator's counts, its open steps and the ledger tell the same. */
    round(round: Round, tally: Tally): void {
      let answered = 0;
      for (const step of round.open) {
        const announced = round.replica.history.open.find(({ head }) => head === step.head);
        insist(step.answers.size <= step.total, "bounded-queues", () => `step ${step.task.step} has more answers than slots`);
        const known = judged.get(step) ?? new Set();
        judged.set(step, known);
        for (const [slot, { losses, peerId }] of step.answers) {
          if (losses === null) continue;
          answered++;
          if (known.has(slot)) continue;
          known.add(slot);
          if (excused.has(`${step.head} ${slot} ${peerId}`)) continue;
          const truth = truthOf(announced?.base ?? null);
          const key = `${truth.label} ${keyOf(step.task, slot, losses.minus !== null)}`;
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
        accepted === credited + answered + tally.abandoned,
        "counted-once",
        () => `${accepted} losses were accepted, ${credited} credited, ${answered} wait, ${tally.abandoned} came for nothing`,
      );
    },

    /** After a commit was taken in: the fold of the ledger gives each worker what was accepted of it. */
    credit(replica: Replica): void {
      const { entries, credit } = ledgers.of(replica.history.epoch);
      if (replica.history.nextSeq !== entries.length) return;
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
