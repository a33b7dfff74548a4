/** `worker`: from a coordinator's address alone to taking part in its job, until the job is finished. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { constants, cpus, homedir, platform, setPriority, totalmem } from "node:os";
import { join } from "node:path";
import { decodeExamples } from "@zoswarm/shared/data/examples";
import { type Evaluator, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { fetchBlob } from "@zoswarm/shared/net/blobs";
import { loadPeerKey } from "@zoswarm/shared/net/identity";
import { createNode, type SwarmNode } from "@zoswarm/shared/net/node";
import { keepConnected, parseAddress } from "@zoswarm/shared/net/redial";
import { openSession, type Session } from "@zoswarm/shared/net/session";
import type { SessionCode } from "@zoswarm/shared/protocol/codes";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { type Manifest, readManifest } from "@zoswarm/shared/protocol/manifest";
import { type CoordinatorFrame, encodeWorkerFrame, parseCoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { onStopSignal } from "@zoswarm/shared/signals";
import { type BlobFiles, openBlobFiles } from "@zoswarm/shared/store/blobs";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { lockFolder } from "@zoswarm/shared/store/lock";
import { typedPath } from "@zoswarm/shared/typed";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { reportOf } from "./report.ts";
import { type RunningWorker, startWorker } from "./worker.ts";

export interface RunOptions {
  join: string[];
  threads: number;
  name: string;
  data?: string;
  report?: string;
}

type Fault = { ok: false; code: string; message: string };
type Ended = { ok: true; ended: "finished" | "stopped" };

/** After these the coordinator will not have this worker, however often it dials. */
const FINAL: readonly SessionCode[] = ["wrong-version", "wrong-job", "malformed"];

/** A coordinator that has only just started may not know our protocol yet; one that says so this often in a row is of another version. */
const STRANGERS_MAX = 3;

/** An address that never answered is most likely wrong; one that did is dialled for ever. */
const FIRST_FAILURES_MAX = 5;

interface Job {
  manifest: Manifest;
  jobId: string;
}

/** Works for a coordinator until its job is finished or the process is told to stop. Expected failures are values. */
export async function run(options: RunOptions): Promise<Ended | Fault> {
  const addresses: string[] = [];
  for (const text of options.join) {
    const parsed = parseAddress(text);
    if (!parsed.ok) return parsed;
    addresses.push(parsed.address);
  }
  const dir = options.data === undefined ? join(homedir(), ".zoswarm", "worker") : typedPath(options.data);
  await mkdir(dir, { recursive: true });
  const locked = lockFolder(dir);
  if (!locked.ok) return locked;
  try {
    const key = await loadPeerKey(join(dir, "peer.key"));
    if (!key.ok) return key;
    if (key.tooOpen) console.log(`WARNING: others on this machine can read ${join(dir, "peer.key")}: chmod 600 it`);
    const created = await createNode({ role: "worker", privateKey: key.privateKey });
    if (!created.ok) return created;
    try {
      return await work(created.node, addresses, dir, options);
    } finally {
      await created.node.stop();
    }
  } finally {
    locked.release();
  }
}

async function work(node: SwarmNode, addresses: readonly string[], dir: string, options: RunOptions): Promise<Ended | Fault> {
  const startedMs = performance.now();
  const over = new AbortController();
  const end = Promise.withResolvers<Ended | Fault>();
  const unhandle = onStopSignal(() => end.resolve({ ok: true, ended: "stopped" }));
  // A volunteer's own programs come first.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const evaluator = startEvaluator({ threads: options.threads });
  let job: Job | null = null;
  let worker: Promise<RunningWorker> | null = null;
  let attached: RunningWorker | null = null;
  let strangers = 0;
  let everConnected = false;
  let failures = 0;
  let said = "";

  const onWelcome = async (session: Session, frame: Extract<CoordinatorFrame, { kind: "welcome" }>) => {
    const read = readManifest(frame.manifest);
    if (!read.ok) return end.resolve({ ...read, message: `the coordinator's manifest cannot be used: ${read.message}` });
    if (job !== null && job.jobId !== read.jobId)
      return end.resolve({
        ok: false,
        code: "other-job",
        message: `the coordinator now runs job ${read.jobId.slice(0, 12)}, this worker ${job.jobId.slice(0, 12)}: start the worker again`,
      });
    job = { manifest: read.manifest, jobId: read.jobId };
    worker ??= prepare(node, job, session.peerId, evaluator, dir, options, over.signal);
    // A failed preparation (a donor that went away) is tried again with the next session.
    const ready = await worker.catch((error: Error & { code?: string }) => {
      worker = null;
      if (error.code !== "interrupted") throw error;
      console.log(error.message);
      return null;
    });
    if (ready === null) return session.close();
    ready.failed.catch((error: Error) => end.resolve({ ok: false, code: "failed", message: error.message }));
    session.onClose(() => ready.detach());
    attached = ready;
    ready.attach(session);
  };
  const onFarewell = async (frame: Extract<CoordinatorFrame, { kind: "farewell" }>) => {
    if (FINAL.includes(frame.code)) return end.resolve({ ok: false, code: frame.code, message: frame.message });
    if (frame.code !== "finished") return console.log(`the coordinator says: ${frame.message}`);
    await attached?.catchUp(AbortSignal.timeout(LIMITS.requestTimeoutMs));
    end.resolve({ ok: true, ended: "finished" });
  };
  const onFrame = (session: Session, bytes: Uint8Array) => {
    const parsed = parseCoordinatorFrame(bytes);
    if (!parsed.ok) {
      console.log(`the coordinator sent a frame that nobody understands: ${parsed.code}`);
      return void session.close();
    }
    const { frame } = parsed;
    if (frame.kind === "farewell") return void onFarewell(frame);
    if (frame.kind === "welcome")
      return void onWelcome(session, frame).catch((error: Error) => end.resolve({ ok: false, code: "failed", message: error.message }));
    attached?.frame(frame);
  };

  const connected = keepConnected({
    addresses,
    signal: over.signal,
    async connect(address, signal) {
      const opened = await openSession(node, address, signal);
      if (!opened.ok) return opened;
      const { session } = opened;
      session.onFrame((bytes) => onFrame(session, bytes));
      session.send(
        encodeWorkerFrame({
          kind: "hello",
          version: PROTOCOL_VERSION,
          jobId: job?.jobId ?? null,
          name: options.name,
          device: deviceOf(),
          threads: options.threads,
        }),
      );
      signal.addEventListener("abort", () => void session.close(), { once: true });
      const ended = Promise.withResolvers<void>();
      session.onClose((_code, error) => {
        if (error !== undefined) console.error(`session: ${(error as Error).message}`);
        ended.resolve();
      });
      return { ok: true, ended: ended.promise };
    },
    onAttempt(attempt) {
      everConnected ||= attempt.event === "connected";
      if (attempt.event === "connected") return console.log(`connected to ${attempt.address}`);
      strangers = attempt.event === "failed" && attempt.code === "wrong-protocol" ? strangers + 1 : 0;
      if (attempt.event === "failed" && !everConnected) failures++;
      if (attempt.event === "failed" && (strangers === STRANGERS_MAX || failures === FIRST_FAILURES_MAX))
        return end.resolve({ ok: false, code: attempt.code, message: attempt.message });
      const line = attempt.event === "failed" ? attempt.message : "the connection ended";
      if (line !== said) console.log(`${line}; trying again until it answers (Ctrl-C stops)`);
      said = line;
    },
  });

  const ended = await end.promise;
  unhandle();
  const ready = await (worker as Promise<RunningWorker> | null)?.catch(() => null);
  if (options.report !== undefined && ready)
    await writeFile(typedPath(options.report), `${JSON.stringify(await reportOf(node, ready, evaluator, startedMs), null, 1)}\n`);
  over.abort();
  await connected;
  await ready?.stop();
  await evaluator.close();
  console.log(
    ended.ok ? (ended.ended === "finished" ? "the job is finished: thank you" : "stopped; the same command goes on from here") : "",
  );
  return ended;
}

/** Says what will be used, downloads, loads. Rejects with code "interrupted" where another try may help. */
async function prepare(
  node: SwarmNode,
  { manifest, jobId }: Job,
  coordinator: string,
  evaluator: Evaluator,
  dir: string,
  { threads }: RunOptions,
  signal: AbortSignal,
): Promise<RunningWorker> {
  const blobs = await openBlobFiles(join(dir, "blobs"));
  introduce(manifest, jobId, blobs, dir, threads);
  const path = async (what: string, { id, bytes }: { id: string; bytes: number }): Promise<string> => {
    if (blobs.has(id) && (await blobs.verify(id))) return blobs.path(id);
    let shown = -1;
    const fetched = await fetchBlob(node, [coordinator], id, blobs, {
      signal,
      bytes,
      onProgress(done, chunks) {
        const quarter = Math.floor((4 * done) / chunks);
        if (quarter > shown) console.log(`${what} ${25 * quarter} %`);
        shown = quarter;
      },
    });
    if (fetched.ok) return fetched.path;
    const final = ["disk-full", "unwritable", "wrong-size"].includes(fetched.code);
    throw Object.assign(new Error(`${what}: ${fetched.message}`), final ? {} : { code: "interrupted" });
  };
  const graph = Uint8Array.from(await readFile(await path("model", manifest.model)));
  const initialFile = await path("weights", manifest.initial);
  const blob = Uint8Array.from(await readFile(await path("examples", manifest.examples)));
  const { tensors, key } = manifest;
  const { stateHash } = await evaluator.call("load", { graph, tensors, key, initialFile });
  if (stateHash !== manifest.stateHash)
    throw new Error(`the downloaded weights have the state hash ${stateHash}, the manifest states ${manifest.stateHash}`);
  const { labels } = decodeExamples(blob);
  await evaluator.call("setExamples", { name: "train", blob });
  const store = openLedgerStore(join(dir, "jobs", jobId.slice(0, 32)));
  return startWorker({
    node,
    manifest,
    jobId,
    evaluator,
    labels: Int32Array.from(labels),
    store,
    log: (line) => console.log(line),
    onStep: sayStep(manifest),
  });
}

/** Before the first step: which job, what is downloaded, what it will use. */
function introduce(
  { name, tensors, model, initial, examples, job }: Manifest,
  jobId: string,
  blobs: BlobFiles,
  dir: string,
  threads: number,
): void {
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const weights = tensors.reduce((n, { shape }) => n + elementsOf(shape), 0);
  const all = [model, initial, examples];
  const missing = all.filter(({ id }) => !blobs.has(id)).reduce((sum, { bytes }) => sum + bytes, 0);
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`job        "${name}" ${jobId.slice(0, 12)}: ${weights.toLocaleString("en")} weights, ${job.steps} steps`);
  console.log(
    `downloads  ${mb(missing)} of ${mb(total)} (model ${mb(model.bytes)}, weights ${mb(initial.bytes)}, examples ${mb(examples.bytes)})`,
  );
  console.log(`disk       about ${mb(total + 4e6)} in ${dir}`);
  console.log(`memory     about ${mb(1.6 * 4 * weights + 300e6)} of ${mb(totalmem())}`);
  console.log(`processor  ${threads} of ${cpus().length} threads, at low priority`);
  console.log("it sees    the coordinator sees your address, your worker's name and what machine it is; nothing else leaves it");
}

function sayStep({ job }: Manifest) {
  return ({ replica }: RunningWorker["volunteer"]) => {
    const loss = replica.history.losses.at(-1);
    if (loss) console.log(`step ${loss.step + 1}/${job.steps}  loss ${loss.meanLoss?.toFixed(4) ?? "-"}`);
  };
}

function deviceOf(): string {
  const all = cpus();
  const model = (all[0]?.model ?? process.arch).replace(/\s+/g, " ").trim();
  return `${platform()} ${process.arch}, ${model}, ${all.length} threads`.replace(/[^\P{C}]/gu, "").slice(0, LIMITS.deviceCharactersMax);
}
