/** A job as its folder has it: ledger read back and checked, parameters replayed, held-out data at hand. Before any peer is answered. */
import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { decodeShard, type Example } from "@zoswarm/shared/data/examples";
import { type Evaluator, loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { branchTo } from "@zoswarm/shared/ledger/folds";
import { receiveStored } from "@zoswarm/shared/replica/replica";
import { type BlobFiles, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { type LedgerStore, openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { probeLedger } from "@zoswarm/shared/store/probe";
import { openSnapshots, type Snapshots } from "@zoswarm/shared/store/snapshots";
import { filesOf, type JobFolder, readFolderKey } from "./folder.ts";
import { createRound, type Round } from "./round/state.ts";

export interface LoadedJob {
  folder: JobFolder;
  commitKey: KeyObject;
  store: LedgerStore;
  blobs: BlobFiles;
  snapshots: Snapshots;
  evaluator: Evaluator;
  round: Round;
  /** Of the state that the ledger stands at. */
  stateHash: string;
  close(): Promise<void>;
}

/**
 * Loads the job of a folder that this process holds. `waitFor`: workers that must be ready before the first step; `threads` of a
 * forward pass. Throws where key, ledger, blobs or model are damaged.
 */
export async function loadJob(folder: JobFolder, { waitFor, threads }: { waitFor: number; threads: number }): Promise<LoadedJob> {
  const { manifest, jobId, dir } = folder;
  const files = filesOf(dir);
  const commitKey = readFolderKey(folder);
  // A shorter copy would have this coordinator sign other entries for places that are taken.
  const remedy = `Put the longest copy that exists in its place: each worker keeps one in jobs/${jobId.slice(0, 32)} of its data folder (stop it before you copy)`;
  const probed = probeLedger(files.ledger, remedy);
  if (!probed.ok) throw new Error(probed.message);
  const store = openLedgerStore(files.ledger);
  const blobs = await openBlobFiles(files.blobs);
  const snapshots = await openSnapshots(files.snapshots);
  const evaluator = startEvaluator({ threads });
  const close = async () => {
    await evaluator.close();
    await store.close();
  };
  try {
    const round = createRound(manifest, jobId, commitKey, waitFor);
    const { history } = round.replica;
    const broken = receiveStored(round.replica, store.range, commitKey);
    if (broken !== null) throw new Error(`ledger ${files.ledger}: entry ${history.nextSeq} does not hold (${broken}). ${remedy}`);
    const initial = await evaluator.call("load", loadRequestOf(manifest, blobs.path));
    if (initial.stateHash !== manifest.stateHash)
      throw new Error(`${blobs.path(manifest.initial.id)} is not the initial state of this job`);
    await evaluator.call("setHeldout", { shards: [Uint8Array.from(await readFile(files.heldout))] });
    await evaluator.call("replay", { commits: branchTo(history.branch) });
    const { stateHash } = await evaluator.call("stateHash", null);
    return { folder, commitKey, store, blobs, snapshots, evaluator, round, stateHash, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The held-out examples of a job's folder: they never leave it. */
export async function readHeldout(dir: string): Promise<Example[]> {
  return decodeShard(Uint8Array.from(await readFile(filesOf(dir).heldout)));
}
