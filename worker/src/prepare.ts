/** What comes before a worker's first step: it says what it will use, downloads the job, checks it, and loads it. */
import { readFile, rename, rm, statfs } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { decodeIndex } from "@zoswarm/shared/data/examples";
import { type Evaluator, loadRequestOf } from "@zoswarm/shared/evaluate/client";
import { serveBlobs } from "@zoswarm/shared/net/blobs";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { serveRange } from "@zoswarm/shared/net/range";
import { serveSnapshots } from "@zoswarm/shared/net/snapshots";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { type Manifest, stepsAsked } from "@zoswarm/shared/protocol/manifest";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { highestEpoch } from "@zoswarm/shared/replica/replica";
import { eitherBlobs, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { type LedgerStore, openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { probeLedger } from "@zoswarm/shared/store/probe";
import { CHECKPOINTS_BETWEEN, openSnapshots, type Snapshots } from "@zoswarm/shared/store/snapshots";
import { keepSuccessor, readSuccessor } from "@zoswarm/shared/store/successor";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { createCatchUp } from "./catchup.ts";
import { readLedger } from "./ledger.ts";
import { createShards } from "./shards.ts";
import { createSources } from "./sources.ts";
import { type RunningWorker, startWorker } from "./worker.ts";

/** Room for the ledger at the start, thousands of steps; and at every entry, since LMDB's own failure is in words for programmers. */
const LEDGER_BYTES = 4_000_000;
const ENTRY_BYTES = 1_000_000;
/** Setting all parameters from a snapshot takes about so many times the hashing of all of them (8 to 13 measured). */
const LOAD_PER_HASH = 10;
/** Snapshots that a worker keeps. */
const SNAPSHOTS_KEPT = 2;

export interface Job {
  manifest: Manifest;
  jobId: string;
}

export interface Preparation {
  node: SwarmNode;
  job: Job;
  /** As of now: the coordinator's peer id, which is connected, its epoch, and the donors that it named. */
  peers: () => { coordinator: string; epoch: number; donors: readonly string[] };
  /** The worker has learned that this coordinator was succeeded. */
  onSucceeded: () => void;
  /** Others may download the job from here. */
  serve: boolean;
  /** This worker writes snapshots as the coordinator does. */
  keepSnapshots: boolean;
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
  const { node, job, peers, evaluator, dir, signal } = preparation;
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
  const log = (line: string) => console.log(line);
  const sources = createSources({ node, jobId, peers, log });
  await sources.greet(signal);
  const others = sources.donors();
  if (others > 0) log(`donors     ${others} other volunteer${others === 1 ? "" : "s"}, and the coordinator for what they lack`);
  const path = async (what: string | null, { id, bytes }: { id: string; bytes: number }): Promise<string> => {
    if (blobs.has(id) && (await blobs.verify(id))) return blobs.path(id);
    let shown = -1;
    const fetched = await sources.blob(id, blobs, {
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
  const hashingMs = performance.now();
  await evaluator.call("stateHash", null);
  const secondsToLoad = (LOAD_PER_HASH * (performance.now() - hashingMs)) / 1000;
  await checkRoom(dir, LEDGER_BYTES);
  const ledger = join(dir, "jobs", jobId.slice(0, 32));
  const probed = probeLedger(ledger, "It is set aside and fetched again.");
  if (!probed.ok) {
    console.log(probed.message);
    await rm(`${ledger}.damaged`, { recursive: true, force: true });
    await rename(ledger, `${ledger}.damaged`);
  }
  const store = guarded(openLedgerStore(ledger), dir);
  const snapshots = await openSnapshots(join(dir, "snapshots", jobId.slice(0, 32)), SNAPSHOTS_KEPT);
  const commitKey = commitVerifier(manifest.commitKey);
  const replica = readLedger(manifest, jobId, commitKey, store);
  replica.successor = readSuccessor(`${ledger}.successor`, jobId, commitKey);
  const keep = (bytes: Uint8Array) => keepSuccessor(`${ledger}.successor`, bytes);
  const catchUp = createCatchUp({
    ...{ manifest, jobId, replica, commitKey, store, keepSuccessor: keep },
    ...{ evaluator, sources, snapshots, secondsToLoad, log },
  });
  try {
    // What a succeeded coordinator has more would only be dropped again.
    if (peers().epoch >= highestEpoch(replica)) await catchUp.fetchLedger(signal);
    await catchUp.goToHead(signal);
  } catch (error) {
    // Another try opens it again.
    await store.close();
    throw error;
  }
  await sources.hangUp();
  const keepSnapshot = async (step: number) => {
    const written = await snapshots.write(step, null, (file) => evaluator.call("writeSnapshot", { jobId, step, file }));
    if (!written.ok && !signal.aborted) log(`no snapshot after step ${step + 1}: ${written.message}`);
  };
  if (preparation.serve) await serveAll(node, jobId, { blobs: eitherBlobs(blobs, snapshots.blobs), store, snapshots });
  return startWorker({
    node,
    manifest,
    jobId,
    replica,
    commitKey,
    evaluator,
    labels: index.labels,
    shards: createShards(index, (shard) => path(null, shard).finally(() => void sources.hangUp())),
    store,
    keepSuccessor: keep,
    onSucceeded: preparation.onSucceeded,
    goAnew: catchUp.goAnew,
    nearest: catchUp.nearest,
    log,
    onStep: sayStep(manifest),
    onCheckpoint(step) {
      if (preparation.keepSnapshots && snapshots.due(step, CHECKPOINTS_BETWEEN * manifest.job.evaluateEvery)) void keepSnapshot(step);
    },
    onIncident: (incident) => recordIncident(dir, incident),
  });
}

/** What others may ask of this node: its ledger, its blobs, its snapshots. */
async function serveAll(
  node: SwarmNode,
  jobId: string,
  { blobs, store, snapshots }: { blobs: ReturnType<typeof eitherBlobs>; store: LedgerStore; snapshots: Snapshots },
): Promise<void> {
  await serveBlobs(node, blobs, LIMITS.volunteerBytesPerSecondMax);
  await serveRange(node, store.range);
  await serveSnapshots(node, jobId, snapshots.all);
}

/** A ledger that looks for room before it grows. */
function guarded(store: LedgerStore, dir: string): LedgerStore {
  const appendAll: LedgerStore["appendAll"] = async (seq, many) => {
    await checkRoom(dir, ENTRY_BYTES + many.reduce((sum, { byteLength }) => sum + byteLength, 0));
    await store.appendAll(seq, many);
  };
  return { ...store, appendAll, append: (seq, bytes) => appendAll(seq, [bytes]) };
}

/** Before the first step: which job, what is downloaded, what it will use. */
function introduce({ job: { manifest, jobId }, dir, threads, serve }: Preparation, missing: number): void {
  const { name, tensors, model, frozen, tokenizer, initial, examples, shardBytes, job, objective } = manifest;
  const steps = stepsAsked(job);
  const weights = tensors.reduce((n, { shape }) => n + elementsOf(shape), 0);
  const base = (frozen?.bytes ?? 0) + (tokenizer?.bytes ?? 0);
  const total = model.bytes + base + initial.bytes + examples.bytes;
  console.log(
    `job        "${name}" ${jobId.slice(0, 12)}: ${weights.toLocaleString("en")} weights${steps === null ? "" : `, ${steps} steps`}`,
  );
  console.log(
    `downloads  ${mb(missing)} of ${mb(total)} (model ${mb(model.bytes + base)}, weights ${mb(initial.bytes)}, index ${mb(examples.bytes)}), then examples as they are needed, at most ${mb(shardBytes)}`,
  );
  console.log(`disk       about ${mb(total + shardBytes + LEDGER_BYTES)} in ${dir}`);
  console.log(`memory     about ${mb(1.6 * 4 * weights + (frozen?.bytes ?? 0) + 300e6)} of ${mb(totalmem())}`);
  console.log(`processor  ${threads} of ${cpus().length} threads, at low priority`);
  if (objective.reward !== null)
    console.log(`reward     the launcher's JavaScript judges what the model says, in a sandbox (--allow-rewards)`);
  if (serve)
    console.log("it serves  other volunteers may download the job from this computer, and see its address then (--no-serve: nobody may)");
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
  const steps = stepsAsked(job);
  return ({ replica }: RunningWorker["volunteer"]) => {
    const loss = replica.history.losses.at(-1);
    if (loss) console.log(`step ${loss.step + 1}${steps === null ? "" : `/${steps}`}  loss ${loss.meanLoss?.toFixed(4) ?? "-"}`);
  };
}
