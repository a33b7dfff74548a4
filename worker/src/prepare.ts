/** What comes before a worker's first step: it says what it will use, downloads the job, checks it, and loads it. */
import { readFile, rename, rm, statfs } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { decodeIndex } from "@zoswarm/shared/data/examples";
import { type Evaluator, loadRequestOf } from "@zoswarm/shared/evaluate/client";
import { fetchBlob } from "@zoswarm/shared/net/blobs";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { probeLedger } from "@zoswarm/shared/store/probe";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { createShards } from "./shards.ts";
import { type RunningWorker, startWorker } from "./worker.ts";

/** Room for the ledger at the start, thousands of steps; and at every entry, since LMDB's own failure is in words for programmers. */
const LEDGER_BYTES = 4_000_000;
const ENTRY_BYTES = 1_000_000;

export interface Job {
  manifest: Manifest;
  jobId: string;
}

export interface Preparation {
  node: SwarmNode;
  job: Job;
  /** Peer id of the coordinator, which is connected. */
  coordinator: string;
  evaluator: Evaluator;
  /** The data folder. */
  dir: string;
  threads: number;
  /** The volunteer lets the launcher's reward run, in its sandbox. */
  allowRewards: boolean;
  signal: AbortSignal;
}

/** Says what will be used, downloads, loads. Rejects with code "interrupted" where another try may help. */
export async function prepare(preparation: Preparation): Promise<RunningWorker> {
  const { node, job, coordinator, evaluator, dir, signal } = preparation;
  const { manifest, jobId } = job;
  if (manifest.objective.reward !== null && !preparation.allowRewards)
    throw new Error(
      `the job "${manifest.name}" judges the model by JavaScript of its launcher. It would run in a sandbox without access to this computer; to allow it, start again with --allow-rewards`,
    );
  const blobs = await openBlobFiles(join(dir, "blobs"));
  const { model, frozen, tokenizer, initial } = manifest;
  const missing = [model, frozen, tokenizer, initial, manifest.examples]
    .filter((blob) => blob !== null)
    .filter(({ id }) => !blobs.has(id))
    .reduce((sum, { bytes }) => sum + bytes, 0);
  introduce(preparation, missing);
  const path = async (what: string | null, { id, bytes }: { id: string; bytes: number }): Promise<string> => {
    if (blobs.has(id) && (await blobs.verify(id))) return blobs.path(id);
    let shown = -1;
    const fetched = await fetchBlob(node, [coordinator], id, blobs, {
      signal,
      bytes,
      onProgress(done, chunks) {
        const quarter = Math.floor((4 * done) / chunks);
        if (quarter > shown && what !== null) console.log(`${what} ${25 * quarter} %`);
        shown = quarter;
      },
    });
    if (fetched.ok) return fetched.path;
    const final = ["disk-full", "unwritable", "wrong-size"].includes(fetched.code);
    throw Object.assign(new Error(`${what ?? "examples"}: ${fetched.message}`), final ? {} : { code: "interrupted" });
  };
  await path("model", model);
  if (frozen !== null) await path("frozen weights", frozen);
  if (tokenizer !== null) await path("tokenizer", tokenizer);
  await path("weights", initial);
  const index = decodeIndex(Uint8Array.from(await readFile(await path("examples", manifest.examples))));
  const { stateHash } = await evaluator.call("load", loadRequestOf(manifest, blobs.path));
  if (stateHash !== manifest.stateHash)
    throw new Error(`the downloaded weights have the state hash ${stateHash}, the manifest states ${manifest.stateHash}`);
  await checkRoom(dir, LEDGER_BYTES);
  const ledger = join(dir, "jobs", jobId.slice(0, 32));
  const probed = probeLedger(ledger, "It is set aside and fetched again.");
  if (!probed.ok) {
    console.log(probed.message);
    await rm(`${ledger}.damaged`, { recursive: true, force: true });
    await rename(ledger, `${ledger}.damaged`);
  }
  const store = openLedgerStore(ledger);
  return startWorker({
    node,
    manifest,
    jobId,
    evaluator,
    labels: index.labels,
    shards: createShards(index, (shard) => path(null, shard)),
    store: {
      ...store,
      async append(seq, bytes) {
        await checkRoom(dir, ENTRY_BYTES);
        await store.append(seq, bytes);
      },
    },
    log: (line) => console.log(line),
    onStep: sayStep(manifest),
  });
}

/** Before the first step: which job, what is downloaded, what it will use. */
function introduce({ job: { manifest, jobId }, dir, threads }: Preparation, missing: number): void {
  const { name, tensors, model, frozen, tokenizer, initial, examples, shardBytes, job, objective } = manifest;
  const weights = tensors.reduce((n, { shape }) => n + elementsOf(shape), 0);
  const base = (frozen?.bytes ?? 0) + (tokenizer?.bytes ?? 0);
  const total = model.bytes + base + initial.bytes + examples.bytes;
  console.log(`job        "${name}" ${jobId.slice(0, 12)}: ${weights.toLocaleString("en")} weights, ${job.steps} steps`);
  console.log(
    `downloads  ${mb(missing)} of ${mb(total)} (model ${mb(model.bytes + base)}, weights ${mb(initial.bytes)}, index ${mb(examples.bytes)}), then examples as they are needed, at most ${mb(shardBytes)}`,
  );
  console.log(`disk       about ${mb(total + shardBytes + LEDGER_BYTES)} in ${dir}`);
  console.log(`memory     about ${mb(1.6 * 4 * weights + (frozen?.bytes ?? 0) + 300e6)} of ${mb(totalmem())}`);
  console.log(`processor  ${threads} of ${cpus().length} threads, at low priority`);
  if (objective.reward !== null)
    console.log(`reward     the launcher's JavaScript judges what the model says, in a sandbox (--allow-rewards)`);
  console.log("it sees    the coordinator sees your address, your worker's name and what machine it is; nothing else leaves it");
}

/** Throws where the disk has no room for the ledger: it is mapped into memory, and a full disk behind that ends the process. */
async function checkRoom(dir: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  if (bavail * bsize < bytes)
    throw new Error(
      `the disk that holds ${dir} has ${mb(bavail * bsize)} free and the ledger needs ${mb(bytes)}: free some space, or name a folder on another disk with --data`,
    );
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function sayStep({ job }: Manifest) {
  return ({ replica }: RunningWorker["volunteer"]) => {
    const loss = replica.history.losses.at(-1);
    if (loss) console.log(`step ${loss.step + 1}/${job.steps}  loss ${loss.meanLoss?.toFixed(4) ?? "-"}`);
  };
}
