/** A replica that goes wrong: a worker whose parameters are changed behind its back notices, says so, takes the state from others and goes on. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Evaluator, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { loopbackNode } from "@zoswarm/shared/net/loopback";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { openSession, type Session } from "@zoswarm/shared/net/session";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { encodeWorkerFrame, parseCoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { prepare } from "../../worker/src/prepare.ts";
import type { RunningWorker } from "../../worker/src/worker.ts";
import { coordinatorArgs, createProcesses, joinAddress, pageAddress, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir = "";
let evaluator: Evaluator;
let node: SwarmNode;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-diverged-"));
  evaluator = startEvaluator({ threads: 1 });
  node = await loopbackNode("worker");
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.info(processes.tails());
  vi.restoreAllMocks();
  await processes.killAll();
  await node.stop();
  await evaluator.close();
  await rm(dir, { recursive: true, force: true });
});

/** A worker in this process, as worker/src/run.ts makes one, over an evaluator that the test can reach. */
async function takePart(address: string): Promise<RunningWorker> {
  const opened = await openSession(node, address, AbortSignal.timeout(10_000));
  if (!opened.ok) throw new Error(opened.message);
  const { session } = opened;
  const ready = Promise.withResolvers<RunningWorker>();
  session.onFrame((bytes) => void take(session, bytes).catch(ready.reject));
  async function take(session: Session, bytes: Uint8Array): Promise<void> {
    const parsed = parseCoordinatorFrame(bytes);
    if (!parsed.ok) throw new Error(parsed.code);
    const { frame } = parsed;
    if (frame.kind === "farewell") return;
    if (frame.kind === "standbys") return;
    if (frame.kind !== "welcome") return (await ready.promise).frame(frame);
    const read = readManifest(frame.manifest);
    if (!read.ok) throw new Error(read.message);
    const peers = () => ({ coordinator: session.peerId, epoch: frame.epoch, donors: frame.donors });
    const how = { threads: 1, allowRewards: false, serve: false, keepSnapshots: false, signal: new AbortController().signal };
    const worker = await prepare({ node, job: read, peers, onSucceeded() {}, evaluator, dir: join(dir, "ada"), ...how });
    worker.attach(session, frame.epoch);
    ready.resolve(worker);
  }
  const hello = { kind: "hello" as const, version: PROTOCOL_VERSION, jobId: null, name: "ada", device: "test", threads: 1, port: 0 };
  session.send(encodeWorkerFrame(hello));
  return ready.promise;
}

test("parameters that were changed are noticed at the next checkpoint, told, recorded and made anew from another peer's snapshot", async () => {
  const said: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void said.push(line));
  const { job } = await writeTinyJob(dir, { job: { steps: 1_000_000, evaluateEvery: 10 } });
  const coordinator = processes.start(
    "coordinator",
    coordinatorArgs(job, join(dir, "data"), ["--wait-for-workers", "2", "--snapshot-every", "100"]),
  );
  const address = await joinAddress(coordinator);
  const page = await pageAddress(coordinator);
  processes.start("worker", workerArgs(address, join(dir, "alan")));
  const worker = await takePart(address);
  await coordinator.line(/^snapshot after step 100: /);
  // A commit that no ledger holds: every parameter moves.
  await evaluator.call("replay", { commits: [{ step: 0xfffffff0, groups: [{ g: 0, m: 0, p: 30, a: [2 ** 20] }] }] });
  await coordinator.line(/ diverged: /);
  await vi.waitFor(() => expect(said).toContain("the state agrees with the ledger again"), { timeout: 60_000 });
  await vi.waitFor(() => expect(worker.volunteer.mismatches).toBe(0), 60_000);
  const metrics = await (await fetch(`${page}/metrics`)).text();
  expect(metrics).toMatch(/^zoswarm_divergences_total 1$/m);
  // The ledger tells of a checkpoint's state a moment after the worker has it.
  await vi.waitFor(() => {
    const { checkpoint, replica } = worker.volunteer;
    const evaluation = replica.history.evaluations.find(({ step }) => step === checkpoint?.step);
    expect(evaluation?.stateHash ?? "none yet").toBe(checkpoint?.stateHash);
  }, 60_000);
  expect(said.filter((line) => /nothing more is sent|took the snapshot|agrees with the ledger again/.test(line))).toEqual([
    expect.stringMatching(
      /^after step \d+ this replica has the state hash [0-9a-f]{12}, the ledger states [0-9a-f]{12}: nothing more is sent/,
    ),
    expect.stringMatching(/^took the snapshot after step \d+$/),
    "the state agrees with the ledger again",
  ]);
  const incidents = (await readFile(join(dir, "ada", "incidents.jsonl"), "utf8")).trim().split("\n");
  expect(incidents.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ code: "state-mismatch", step: expect.any(Number) }),
  ]);
  await worker.stop();
});
