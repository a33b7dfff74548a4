/** A newcomer's ledger: first what is on this disk, then what peers have beyond it. */
import type { KeyObject } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import type { AnnouncementCode } from "@zoswarm/shared/protocol/codes";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { createReplica, type Replica, type ReplicaEffect, receive, receiveStored, rewindMessage } from "@zoswarm/shared/replica/replica";
import type { LedgerStore } from "@zoswarm/shared/store/ledgerstore";
import type { CatchUpOptions } from "./catchup.ts";

/** A replica of what is on disk. Throws where the ledger there does not hold. */
export function readLedger(manifest: Manifest, jobId: string, commitKey: KeyObject, store: LedgerStore): Replica {
  const replica = createReplica(jobId, manifest.job);
  const broken = receiveStored(replica, store.range, commitKey);
  if (broken !== null)
    throw new Error(`the ledger on disk does not hold at entry ${replica.history.nextSeq} (${broken}): remove it and start again`);
  return replica;
}

/** What a range may hold that goes back to where another coordinator took over. */
const KNOWN_OR_APPLIED: readonly AnnouncementCode[] = ["applied", "repeat", "old-epoch", "rewind", "other-branch"];

/**
 * Takes in what peers have of the ledger beyond the replica's head. Rejects with code "interrupted" where nobody can be asked, and
 * with "rewound" where the ledger on disk was cut: then everything starts anew from the disk.
 */
export async function fetchLedger(
  {
    replica,
    commitKey,
    store,
    keepSuccessor,
    sources,
  }: Pick<CatchUpOptions, "replica" | "commitKey" | "store" | "keepSuccessor" | "sources">,
  signal: AbortSignal,
): Promise<void> {
  let fromSeq = replica.history.nextSeq;
  for (;;) {
    const nextSeq = replica.history.nextSeq;
    const { peer, fetched } = await sources.range(fromSeq, signal);
    if (!fetched.ok) {
      if (fetched.code !== "busy" || signal.aborted) throw Object.assign(new Error(fetched.message), { code: "interrupted" });
      await setTimeout(Math.random() * LIMITS.busyPauseMsMax);
      continue;
    }
    if (fetched.announcements.length === 0) return;
    const fresh: Uint8Array[] = [];
    let refusal: string | null = null;
    let back = fromSeq;
    let rewind: Extract<ReplicaEffect, { kind: "rewind" }> | null = null;
    for (const bytes of fetched.announcements) {
      const { code, effects } = receive(replica, bytes, commitKey);
      for (const effect of effects) {
        if (effect.kind === "append") fresh.push(effect.bytes);
        if (effect.kind === "rewind") rewind = effect;
        if (effect.kind === "successor") keepSuccessor(effect.bytes);
        if (effect.kind === "fetch" && code === "other-branch") back = Math.min(back, effect.fromSeq);
      }
      if (!KNOWN_OR_APPLIED.includes(code)) refusal ??= code;
    }
    await store.appendAll(nextSeq, fresh);
    if (rewind !== null) {
      await store.replaceFrom(rewind.seq, rewind.bytes);
      throw Object.assign(new Error(rewindMessage(rewind)), { code: "rewound", seq: rewind.seq });
    }
    if (back < fromSeq) {
      fromSeq = back;
      continue;
    }
    fromSeq = replica.history.nextSeq;
    if (replica.stopped !== null) throw new Error(replica.stopped);
    if (refusal !== null && sources.refuse(peer, `its ledger does not hold (${refusal})`)) continue;
    if (fresh.length === 0 && !sources.refuse(peer, "what it gave of the ledger was known")) return;
  }
}
