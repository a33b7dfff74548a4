/** What the ledger is, told by what is durable at a coordinator: one for each epoch, which begins on a beginning of an earlier one. */
import { type Announcement, parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { insist, Violation } from "./violation.ts";

export interface Ledger {
  entries: Announcement[];
  /** Place of each step's commit. */
  committed: Map<number, number>;
  roster: string[];
  /** Losses accepted of each peer. */
  credit: Map<string, number>;
  /** Hash of the payload that carried each step's task. */
  heads: Map<number, string>;
}

/** `hasSent` says whether a peer has sent a finite loss for a head and a slot. */
export function createLedgers(hasSent: (peerId: string, head: string, slot: number) => boolean) {
  const ledgers = new Map<number, Ledger>([[0, emptyLedger()]]);

  function creditCommit(ledger: Ledger, entry: CommitEntry): void {
    let slot = 0;
    const head = ledger.heads.get(entry.step) ?? "";
    for (const [who, count] of entry.contributors)
      for (let i = 0; i < count; i++, slot++) {
        if (who === 0) continue;
        const peer = ledger.roster[who - 1] ?? "nobody";
        insist(
          hasSent(peer, head, slot),
          "credit-is-accepted",
          () => `step ${entry.step} credits slot ${slot} to ${peer}, who has sent no loss of it`,
        );
        ledger.credit.set(peer, (ledger.credit.get(peer) ?? 0) + 1);
      }
  }

  function extend(ledger: Ledger, announcement: Announcement): void {
    const { entry, task, seq, hash } = announcement;
    ledger.entries[seq] = announcement;
    if (task !== null) ledger.heads.set(task.step, hash);
    if (entry?.kind === "roster") ledger.roster.push(...entry.peers.map(({ peerId }) => peerId));
    if (entry?.kind !== "commit") return;
    const before = ledger.committed.get(entry.step);
    insist(before === undefined, "commits-once", () => `step ${entry.step} is committed at ${before} and at ${seq}`);
    ledger.committed.set(entry.step, seq);
    creditCommit(ledger, entry);
  }

  /** The ledger of an epoch that begins after an entry of an earlier one. */
  function begin({ seq, prevHash, epoch }: Announcement): Ledger {
    const base = [...ledgers.values()].findLast(({ entries }) => entries[seq - 1]?.hash === prevHash);
    if (base === undefined) throw new Violation("one-ledger", `epoch ${epoch} begins at ${seq} on an entry that is nobody's`);
    const ledger = emptyLedger();
    for (const announcement of base.entries.slice(0, seq)) extend(ledger, announcement);
    ledgers.set(epoch, ledger);
    return ledger;
  }

  return {
    of: (epoch: number) => ledgers.get(epoch) ?? emptyLedger(),

    /** An entry is durable: it is its epoch's from now on. */
    durable(place: number, bytes: Uint8Array): void {
      const read = parseAnnouncement(bytes);
      if (!read.ok) throw new Violation("one-content", `entry ${place} cannot be read: ${read.code}`);
      const { announcement } = read;
      const { seq, hash, entry, epoch } = announcement;
      const ledger = ledgers.get(epoch) ?? begin(announcement);
      const known = ledger.entries[seq]?.hash;
      insist(
        known === hash || (known === undefined && seq === ledger.entries.length),
        "one-content",
        () => `place ${epoch}/${seq} has another content`,
      );
      insist(entry?.kind === "epoch" || seq === place, "one-content", () => `entry ${seq} is kept at ${place}`);
      if (known === undefined) extend(ledger, announcement);
    },
  };
}

function emptyLedger(): Ledger {
  return { entries: [], committed: new Map(), roster: [], credit: new Map(), heads: new Map() };
}
