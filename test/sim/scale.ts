/**
 * `npm run sim -- --scale [--report FILE]`: what a step costs the real round and the real lifecycle with 100, 1,000 and 10,000 workers
 * and no faults: events, time of the reducers, bytes of commit, announcement and slots, memory. The growth is what counts; times are
 * this machine's.
 */
import { writeFileSync } from "node:fs";
import { type Announcement, createAnnouncement, parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { commitKeyOf } from "@zoswarm/shared/protocol/announcement.testing";
import { encodeCoordinatorFrame, encodeWorkerFrame, parseWorkerFrame, type WorkerFrame } from "@zoswarm/shared/protocol/messages";
import { createReplica } from "@zoswarm/shared/replica/replica";
import { manifestOf } from "../../coordinator/src/round/driver.testing.ts";
import { reduce } from "../../coordinator/src/round/round.ts";
import { createRound, type RoundEffect, type RoundEvent } from "../../coordinator/src/round/state.ts";
import { createVolunteer, reduce as reduceVolunteer, type VolunteerEvent } from "../../worker/src/lifecycle/lifecycle.ts";
import { peerIdOf } from "./simulate.ts";

export interface Scale {
  workers: number;
  directions: number;
  /** Of the quickest step, at the coordinator. */
  events: number;
  reducerMs: number;
  /** Reading result frames from bytes, with their schema. */
  parseMs: number;
  announcementBytes: number;
  commitBytesPerDirection: number;
  /** Slots frames for each worker: of a step whose workers are all told anew, and on the average of the steps after the first. */
  slotsBytesWhenShared: number;
  slotsBytesPerStep: number;
  resultBytesPerWorker: number;
  /** Heap of the round with its members, after a collection where node allows one (--expose-gc). */
  heapBytesPerWorker: number;
  /** One worker: its reducer's time for a step, without the check of the signature and what reads the announcement. */
  workerReducerMs: number;
  workerReadMs: number;
  joinMs: number;
  /** The round's time for one worker that leaves in the middle of a step and comes back. */
  churnMs: number;
}

const STEPS = 12;
/** The first steps compile the code and settle the shares. */
const WARM_UP = 3;
/** One in so many workers leaves and comes back in each step. */
const CHURN = 100;
const ESTIMATED_LOSS = 0.5;

const median = (values: readonly number[]) => [...values].sort((one, other) => one - other)[values.length >> 1] ?? 0;

export function measureScale(workers: number, directionsLog2 = Math.ceil(Math.log2(workers)) + 1): Scale {
  const { key, verifier } = commitKeyOf(1);
  const publicHex = verifier.export({ type: "spki", format: "der" }).subarray(12).toString("hex");
  const manifest = manifestOf(publicHex, { steps: STEPS, groups: 1, directionsLog2, evaluateEvery: 1_000, deadlineMs: 10_000 });
  const jobId = "5c".repeat(32);
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  const round = createRound(manifest, jobId, key, workers);
  const peers = Array.from({ length: workers }, (_, i) => peerIdOf(i));
  const volunteer = createVolunteer(createReplica(jobId, manifest.job));
  const watched = peers[workers >> 1] as string;

  let nowMs = 0;
  let reducerMs = 0;
  let parseMs = 0;
  let events = 0;
  let slotsBytes = 0;
  let tip = { seq: 0, hash: jobId };
  const announcements: Announcement[] = [];
  const worker = { reducerMs: [] as number[], readMs: [] as number[] };

  function tell(event: VolunteerEvent): number {
    const startMs = performance.now();
    reduceVolunteer(volunteer, event, verifier);
    return performance.now() - startMs;
  }
  function perform(effect: RoundEffect, queue: RoundEvent[]): void {
    if (effect.kind === "announce") {
      const { entry, task } = effect;
      const announcement = createAnnouncement({ jobId, epoch: 0, seq: tip.seq, prevHash: tip.hash, entry, task }, key);
      tip = { seq: tip.seq + 1, hash: announcement.hash };
      announcements.push(announcement);
      queue.push({ kind: "announced", bytes: announcement.bytes, nowMs });
    } else if (effect.kind === "send" && effect.frame.kind === "slots") {
      slotsBytes += encodeCoordinatorFrame(effect.frame).byteLength;
      if (effect.peerId === watched) tell({ kind: "slots", frame: effect.frame });
    }
  }
  function feed(first: RoundEvent): void {
    const queue = [first];
    for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
      const startMs = performance.now();
      const effects = reduce(round, event);
      reducerMs += performance.now() - startMs;
      events++;
      for (const effect of effects) perform(effect, queue);
    }
  }

  feed({ kind: "started", nowMs });
  feed({ kind: "evaluated", step: -1, stateHash: "ab".repeat(32), loss: 1, score: 0, examples: 1, curvature: null, nowMs });
  tell({ kind: "online" });
  tell({ kind: "caught-up" });
  const slotsOf = (peerId: string) => [...(round.open[0]?.asked.get(peerId) ?? [])];
  function join(peerId: string, atMs: number): void {
    nowMs = atMs;
    const hello = { kind: "hello" as const, version: 1, jobId, name: peerId.slice(-8), device: "simulated", threads: 1, port: 0 };
    feed({ kind: "joined", peerId, hello, nowMs });
    feed({ kind: "heartbeat", peerId, frame: { kind: "heartbeat", nextSeq: 0, state: "ready", checkpoint: null }, nowMs });
  }
  for (const peerId of peers) join(peerId, 0);
  const joinMs = reducerMs / workers;
  const sharedBytes = slotsBytes;

  const perStep = {
    events: [] as number[],
    reducerMs: [] as number[],
    parseMs: [] as number[],
    slots: [] as number[],
    churnMs: [] as number[],
  };
  /** Machines differ by a factor of eight. */
  const speeds = peers.map((_, i) => 8 ** (((i * 0.618) % 1) - 0.5));
  let resultBytes = 0;
  let told = 0;
  for (let step = 0; step < STEPS; step++) {
    [reducerMs, parseMs, events, slotsBytes, resultBytes] = [0, 0, 0, 0, 0];
    for (; told < announcements.length; told++) {
      const { bytes } = announcements[told] as Announcement;
      const startMs = performance.now();
      parseAnnouncement(bytes);
      const readMs = performance.now() - startMs;
      const wholeMs = tell({ kind: "announcement", bytes, source: "gossip" });
      if (told === announcements.length - 1) {
        worker.readMs.push(readMs);
        worker.reducerMs.push(wholeMs);
      }
    }
    const head = announcements.at(-1)?.hash ?? jobId;
    const quick = reducerMs;
    const leaving = peers.filter((_, i) => (i + step) % CHURN === 0);
    for (const peerId of leaving) {
      feed({ kind: "left", peerId, nowMs: step * 1_000 });
      join(peerId, step * 1_000);
    }
    perStep.churnMs.push((reducerMs - quick) / Math.max(1, leaving.length));
    const timed = peers
      .map((peerId, i) => ({ peerId, ms: slotsOf(peerId).length / (speeds[i] as number) }))
      .sort((one, other) => one.ms - other.ms);
    for (let copy = 0; round.replica.history.lastStep < step && copy < 3; copy++)
      for (const { peerId, ms } of timed) {
        if (round.replica.history.lastStep === step) break;
        const losses = slotsOf(peerId).map((slot) => ({ slot, plus: ESTIMATED_LOSS + Math.sin(slot + step) / 9, minus: ESTIMATED_LOSS }));
        if (losses.length === 0) continue;
        const frame: WorkerFrame = { kind: "result", step, assignment: round.version, head, checkpoint: null, losses, elapsedMs: 100 };
        const bytes = encodeWorkerFrame(frame);
        resultBytes += bytes.byteLength;
        const startMs = performance.now();
        const parsed = parseWorkerFrame(bytes);
        parseMs += performance.now() - startMs;
        if (!parsed.ok || parsed.frame.kind !== "result") throw new Error("a result cannot be read");
        nowMs = step * 1_000 + 10 * ms;
        feed({ kind: "result", peerId, frame: parsed.frame, nowMs });
      }
    if (round.replica.history.lastStep !== step) throw new Error(`step ${step} is not committed`);
    perStep.events.push(events);
    perStep.reducerMs.push(reducerMs);
    perStep.parseMs.push(parseMs);
    perStep.slots.push(slotsBytes);
  }
  globalThis.gc?.();
  const heap = process.memoryUsage().heapUsed - heapBefore;
  // The quickest: whatever else the machine does only adds.
  const steady = (values: readonly number[]) => Math.min(...values.slice(WARM_UP));
  const commits = announcements.filter(({ entry }) => entry?.kind === "commit");
  const announcementBytes = median(commits.map(({ bytes }) => bytes.byteLength));
  return {
    workers,
    directions: 2 ** directionsLog2,
    events: steady(perStep.events),
    reducerMs: steady(perStep.reducerMs),
    parseMs: steady(perStep.parseMs),
    announcementBytes,
    commitBytesPerDirection: announcementBytes / 2 ** directionsLog2,
    slotsBytesWhenShared: sharedBytes / workers,
    slotsBytesPerStep: perStep.slots.slice(1).reduce((sum, bytes) => sum + bytes, 0) / workers / (STEPS - 1),
    resultBytesPerWorker: resultBytes / workers,
    heapBytesPerWorker: heap / workers,
    workerReducerMs: steady(worker.reducerMs),
    workerReadMs: steady(worker.readMs),
    joinMs,
    churnMs: steady(perStep.churnMs),
  };
}

/** Prints the table, and writes it as JSON where asked. */
export function reportScale(report: string | undefined): void {
  measureScale(50);
  const rows = [100, 1_000, 10_000].map((workers) => measureScale(workers));
  for (const name of Object.keys(rows[0] as Scale) as (keyof Scale)[])
    console.log(
      `${name.padEnd(26)}${rows.map((row) => row[name].toLocaleString("en", { maximumFractionDigits: 3 }).padStart(14)).join("")}`,
    );
  if (report !== undefined) writeFileSync(report, `${JSON.stringify(rows, null, 1)}\n`);
}
