/** `worker`: from a coordinator's address alone to taking part in its job, until the job is finished. */
import { access, constants as fsConstants, mkdir, writeFile } from "node:fs/promises";
import { constants, cpus, homedir, platform, setPriority } from "node:os";
import { dirname, join } from "node:path";
import { startEvaluator } from "@zoswarm/shared/evaluate/client";
import { loadPeerKey } from "@zoswarm/shared/net/identity";
import { createNode, type SwarmNode } from "@zoswarm/shared/net/node";
import { keepConnected, parseAddress } from "@zoswarm/shared/net/redial";
import { openSession, type Session } from "@zoswarm/shared/net/session";
import type { SessionCode } from "@zoswarm/shared/protocol/codes";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { type CoordinatorFrame, encodeWorkerFrame, parseCoordinatorFrame, type WorkerFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { highestEpoch } from "@zoswarm/shared/replica/replica";
import { onStopSignal } from "@zoswarm/shared/signals";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { type Locked, lockFolder } from "@zoswarm/shared/store/lock";
import { typedPath } from "@zoswarm/shared/typed";
import { type Job, prepare } from "./prepare.ts";
import { reportOf } from "./report.ts";
import { openStandbys } from "./standbys.ts";
import type { RunningWorker } from "./worker.ts";

export interface RunOptions {
  join: string[];
  threads: number;
  name: string;
  allowRewards: boolean;
  /** Where other volunteers may download the job. */
  listen: string[];
  serve: boolean;
  keepSnapshots: boolean;
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

/** Works for a coordinator until its job is finished or the process is told to stop. Expected failures are values. */
export async function run(options: RunOptions): Promise<Ended | Fault> {
  const addresses: string[] = [];
  for (const text of options.join) {
    const parsed = parseAddress(text);
    if (!parsed.ok) return parsed;
    addresses.push(parsed.address);
  }
  const unreportable = await refuseReport(options.report);
  if (unreportable !== null) return unreportable;
  const dir = options.data === undefined ? join(homedir(), ".zoswarm", "worker") : typedPath(options.data);
  const locked = await holdFolder(dir);
  if (!locked.ok) return locked;
  try {
    const key = await loadPeerKey(join(dir, "peer.key"));
    if (!key.ok) return key;
    if (key.tooOpen) console.log(`WARNING: others on this machine can read ${join(dir, "peer.key")}: chmod 600 it`);
    const created = await createNode({ role: "worker", privateKey: key.privateKey, listen: options.serve ? options.listen : [] });
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

/** Null where a report can be written at the end: better known now. */
async function refuseReport(report: string | undefined): Promise<Fault | null> {
  if (report === undefined) return null;
  const folder = dirname(typedPath(report));
  try {
    await access(folder, fsConstants.W_OK);
    return null;
  } catch (error) {
    const message = `--report ${report}: cannot write in ${folder} (${(error as Error).message}); name a file in a folder that exists`;
    return { ok: false, code: "report-unwritable", message };
  }
}

/** Makes the data folder where there is none and holds it for this process. */
async function holdFolder(dir: string): Promise<Locked | Fault> {
  try {
    await mkdir(dir, { recursive: true });
    return lockFolder(dir);
  } catch (error) {
    const message = `data folder ${dir}: cannot be used (${(error as Error).message}); name one that this user may write to with --data`;
    return { ok: false, code: "folder-unwritable", message };
  }
}

async function work(node: SwarmNode, addresses: string[], dir: string, options: RunOptions): Promise<Ended | Fault> {
  const startedMs = performance.now();
  const standbys = openStandbys(dir);
  standbys.extend(addresses);
  const over = new AbortController();
  const end = Promise.withResolvers<Ended | Fault>();
  const unhandle = onStopSignal(() => end.resolve({ ok: true, ended: "stopped" }));
  // A volunteer's own programs come first.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const evaluator = startEvaluator({ threads: options.threads });
  let job: Job | null = null;
  let worker: Promise<RunningWorker> | null = null;
  let attached: RunningWorker | null = null;
  let current: Session | null = null;
  /** A session with a coordinator that was succeeded. */
  let left: Session | null = null;
  let strangers = 0;
  let everConnected = false;
  let failures = 0;
  let said = "";
  /** The newest welcome's. */
  let peers: { coordinator: string; epoch: number; donors: readonly string[] } = { coordinator: "", epoch: 0, donors: [] };
  /** The coordinator has said that the job is over: that it hangs up then is no news. */
  let finishing = false;

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
    peers = { coordinator: session.peerId, epoch: frame.epoch, donors: frame.donors };
    const { threads, allowRewards, serve, keepSnapshots } = options;
    const onSucceeded = () => attached !== null && current !== null && leave(current, attached);
    const preparation = { node, job, peers: () => peers, onSucceeded, evaluator, dir, threads, allowRewards, serve, keepSnapshots };
    // Downloads and a replay may take longer than silence is borne.
    const alive = setInterval(() => session.send(encodeWorkerFrame(signOfLife(frame.nextSeq))), LIMITS.heartbeatMs);
    session.onClose(() => clearInterval(alive));
    worker ??= prepare({ ...preparation, signal: over.signal });
    // A failed preparation (a donor that went away) is tried again with the next session.
    const ready = await worker.catch((error: Error & { code?: string }) => {
      worker = null;
      if (error.code === "rewound") sayRewound(dir, error);
      else if (error.code !== "interrupted") throw error;
      else console.log(error.message);
      return null;
    });
    clearInterval(alive);
    if (ready === null) return session.close();
    if (frame.epoch < highestEpoch(ready.volunteer.replica)) return leave(session, ready);
    if (attached !== ready)
      ready.failed.catch((error: Error & { code?: string; seq?: number }) =>
        error.code === "rewound" ? startAnew(ready, error) : end.resolve({ ok: false, code: "failed", message: error.message }),
      );
    session.onClose(() => ready.detach());
    attached = ready;
    current = session;
    ready.attach(session, frame.epoch);
  };
  /** Leaves a coordinator that was succeeded, with the proof of it. */
  const leave = (session: Session, ready: RunningWorker) => {
    if (left === session) return;
    left = session;
    const epoch = highestEpoch(ready.volunteer.replica);
    console.log(
      `this coordinator is of epoch ${peers.epoch}, and one of epoch ${epoch} took over: leaving it, and trying the other addresses`,
    );
    const proof = ready.proof();
    if (proof !== undefined) session.send(encodeWorkerFrame({ kind: "proof", announcement: proof }));
    void session.close();
  };
  /** The ledger on disk was cut: whatever is in memory goes, and the next session starts from the disk as after a restart. */
  const startAnew = async (ready: RunningWorker, rewound: { message: string; seq?: number }) => {
    if (attached !== ready) return;
    attached = null;
    sayRewound(dir, rewound);
    await ready.stop();
    worker = null;
    await current?.close();
  };
  const onFarewell = async (peer: string, frame: Extract<CoordinatorFrame, { kind: "farewell" }>) => {
    if (FINAL.includes(frame.code)) return end.resolve({ ok: false, code: frame.code, message: frame.message });
    if (frame.code !== "finished") return console.log(`the coordinator says: ${frame.message}`);
    finishing = true;
    try {
      await attached?.catchUp(peer, AbortSignal.timeout(LIMITS.requestTimeoutMs));
    } catch {
      // What broke is told, or the worker started anew, by who waits for `failed`.
      finishing = false;
      return;
    }
    end.resolve({ ok: true, ended: "finished" });
  };
  const onFrame = (session: Session, bytes: Uint8Array) => {
    const parsed = parseCoordinatorFrame(bytes);
    if (!parsed.ok) {
      console.log(`the coordinator sent a frame that nobody understands: ${parsed.code}`);
      return void session.close();
    }
    const { frame } = parsed;
    if (frame.kind === "farewell") return void onFarewell(session.peerId, frame);
    if (frame.kind === "welcome")
      return void onWelcome(session, frame).catch((error: Error) => end.resolve({ ok: false, code: "failed", message: error.message }));
    if (frame.kind === "standbys") {
      standbys.learn(session.peerId, frame.addresses);
      return standbys.extend(addresses);
    }
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
          port: portOf(node),
        }),
      );
      signal.addEventListener("abort", () => void session.close(), { once: true });
      const ended = Promise.withResolvers<"elsewhere" | undefined>();
      session.onClose((_code, error) => {
        if (error !== undefined) console.error(`session: ${(error as Error).message}`);
        ended.resolve(left === session ? "elsewhere" : undefined);
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
      if (finishing) return;
      const line = attempt.event === "failed" ? attempt.message : "the connection ended";
      const patience = everConnected ? "until it answers (Ctrl-C stops)" : `(${FIRST_FAILURES_MAX} times, then this ends)`;
      if (line !== said) console.log(`${line}; trying again ${patience}`);
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
  if (ended.ok) console.log(ended.ended === "finished" ? "the job is finished: thank you" : "stopped; the same command goes on from here");
  return ended;
}

function deviceOf(): string {
  const all = cpus();
  const model = (all[0]?.model ?? process.arch).replace(/\s+/g, " ").trim();
  return `${platform()} ${process.arch}, ${model}, ${all.length} threads`.replace(/[^\P{C}]/gu, "").slice(0, LIMITS.deviceCharactersMax);
}

/** A coordinator took over: what was dropped is a volunteer's to know. */
function sayRewound(dir: string, { message, seq }: { message: string; seq?: number }): void {
  console.log(message);
  recordIncident(dir, { code: "epoch-rewind", message, ...(seq !== undefined && { seq }) });
}

/** What a worker says while it prepares. */
function signOfLife(nextSeq: number): WorkerFrame {
  return { kind: "heartbeat", nextSeq, state: "joining", checkpoint: null };
}

/** The port that this node listens on; 0 where it does not. */
function portOf(node: SwarmNode): number {
  return Number(/\/tcp\/(\d+)/.exec(node.addresses()[0] ?? "")?.[1] ?? 0);
}
