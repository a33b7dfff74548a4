/**
 * A swarm in one process: the coordinator's own round (coordinator/src/round) over a real model, and workers that differ from real ones in
 * the network alone. Losses are measured by real forward passes; time is virtual, from measured times of a forward pass and a stated
 * delay, so that hundreds of workers can be tried on a machine that has two processors.
 */

import type { Example } from "@zoswarm/shared/data/examples";
import type { History, Settings } from "@zoswarm/shared/ledger/folds";
import { createAnnouncement, type TaskGroup } from "@zoswarm/shared/protocol/announcement";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { createCommitKey, readCommitKey, sha256Hex } from "@zoswarm/shared/protocol/signing";
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";
import { settingsOf } from "../../../coordinator/src/round/course.ts";
import { reduce } from "../../../coordinator/src/round/round.ts";
import { createRound, type Round, type RoundEffect, type RoundEvent } from "../../../coordinator/src/round/state.ts";
import { CURVATURE_BY } from "../../../coordinator/src/round/steer.ts";
import type { Lab } from "./lab.ts";

export interface SwarmOptions {
  lab: Lab;
  seed: number;
  /** What differs from the job that the lab was opened with. */
  job: Partial<Manifest["job"]>;
  workers: number;
  /** Of one worker, in seconds: a forward pass, and a message's way in one direction. */
  forwardSeconds: number;
  delaySeconds: number;
  /** Of a worker, for each group of a commit that it applies. */
  groupSeconds?: number;
  /** Of the coordinator: an announcement is signed and on its disk, and what a worker costs it in a step, which it does one after the other. */
  announceSeconds?: number;
  resultSeconds?: number;
  /** The held-out loss is taken, beside what the job itself does, after every so many forward passes. */
  lookEvery: number;
  /** Stop once the loss is at or below this. */
  until?: number;
}

export interface Point {
  forwards: number;
  /** Commits so far: each waits for the one before it. */
  steps: number;
  /** Virtual time. */
  seconds: number;
  loss: number;
  score: number;
}

export interface SwarmRun {
  curve: Point[];
  /** The job's own evaluations, when the coordinator knew them, from the first task on; of forward passes those behind commits. */
  evaluations: Point[];
  /** Virtual time of the first task, and of the end of the probe; null where there was none. */
  firstTaskSeconds: number | null;
  probedSeconds: number | null;
  history: History;
  /** What the probe found; null where there was none. */
  found: Settings | null;
  decisions: { afterStep: number; what: string; why: string }[];
  stateHash: string;
}

/** Runs a job to its end, or until a loss is reached. */
export async function runSwarm({
  lab,
  seed,
  job,
  workers,
  forwardSeconds,
  delaySeconds,
  groupSeconds = 0,
  announceSeconds = 0,
  resultSeconds = 0,
  lookEvery,
  until,
}: SwarmOptions): Promise<SwarmRun> {
  await lab.reset(seed);
  const manifest: Manifest = { ...lab.manifest, stateHash: await lab.stateHash(), job: { ...lab.manifest.job, ...job } };
  const { key } = readCommitKey(createCommitKey().privatePem);
  const jobId = sha256Hex(new TextEncoder().encode(`quality ${seed}`));
  const round = createRound(manifest, jobId, key, workers);
  const { history } = round.replica;
  const queue: { atMs: number; event: RoundEvent }[] = [];
  const later = (atMs: number, event: RoundEvent) => {
    const place = queue.findLastIndex((one) => one.atMs <= atMs) + 1;
    queue.splice(place, 0, { atMs, event });
  };
  const busyUntil = new Map<string, number>();
  const started = new Map<string, Set<number>>();
  const curve: Point[] = [];
  const evaluations: Point[] = [];
  let nowMs = 0;
  let firstTaskMs: number | null = null;
  let probedMs: number | null = null;
  /** Until when its disk, and the thread that its own forward passes run in, are busy: the latter does not hold up steps. */
  let diskMs = 0;
  let evaluatorMs = 0;
  let spent = 0;
  let looked = -lookEvery;
  let isOver = false;
  let tip = { seq: 0, hash: jobId };

  async function look(): Promise<void> {
    if (spent - looked < lookEvery) return;
    looked = spent;
    const { loss, score } = await lab.evaluate();
    curve.push({ forwards: spent, steps: history.lastStep + 1, seconds: nowMs / 1000, loss, score });
    if (until !== undefined && loss <= until) isOver = true;
  }

  async function perform(effect: RoundEffect): Promise<void> {
    switch (effect.kind) {
      case "announce": {
        const { entry, task } = effect;
        const announcement = createAnnouncement({ jobId, epoch: 0, seq: tip.seq, prevHash: tip.hash, entry, task }, key);
        tip = { seq: tip.seq + 1, hash: announcement.hash };
        diskMs = Math.max(diskMs, nowMs) + 1000 * announceSeconds;
        if (task !== null) firstTaskMs ??= diskMs;
        return later(diskMs, { kind: "announced", bytes: announcement.bytes, nowMs: diskMs });
      }
      case "deadline":
        return later(nowMs + effect.afterMs, { kind: "deadline", step: effect.step, nowMs: nowMs + effect.afterMs });
      case "apply":
        await lab.apply(effect.commit);
        return look();
      case "restore":
        return lab.restore(effect.commits);
      case "evaluate": {
        const { loss, score, examples, forwards } = await lab.evaluate();
        const bent = await lab.curvature(effect.step, settingsOf(manifest, history)?.epsilonLog2 ?? -10);
        const batches = forwards + (bent.forwards * CURVATURE_BY.examplesMax) / manifest.job.batch;
        const atMs = evaluatedBy(batches);
        const evaluated = { step: effect.step, stateHash: await lab.stateHash(), loss, score, examples, curvature: bent.curvature };
        return later(atMs, { kind: "evaluated", ...evaluated, nowMs: atMs });
      }
      case "try": {
        const { loss, forwards } = await lab.evaluate(effect.examples);
        const atMs = evaluatedBy(forwards);
        return later(atMs, { kind: "tried", step: effect.step, stateHash: await lab.stateHash(), loss, nowMs: atMs });
      }
      case "finish":
        isOver = true;
    }
  }

  /** When the coordinator's own forward passes are done: they stand in a queue. */
  function evaluatedBy(forwards: number): number {
    evaluatorMs = Math.max(evaluatorMs, nowMs) + 1000 * forwards * forwardSeconds;
    return evaluatorMs;
  }

  /** Each worker measures what it is asked for and has not begun. */
  async function work(): Promise<void> {
    for (const open of round.open)
      for (const [peerId, slots] of open.asked) {
        // Not by its step: one that a restore has dropped is announced again under the same number.
        const id = `${open.head} ${peerId}`;
        const begun = started.get(id) ?? new Set();
        started.set(id, begun);
        const fresh = [...slots].filter((slot) => !begun.has(slot));
        if (fresh.length === 0) continue;
        const applyMs = begun.size > 0 ? 0 : 1000 * groupSeconds * open.task.groups.length;
        for (const slot of fresh) begun.add(slot);
        const losses = await measure(open.task.step, open.task.groups, open.task.epsilonLog2, fresh);
        const forwards = losses.reduce((n, { minus }) => n + (minus === null ? 1 : 2), 0);
        spent += forwards;
        const elapsedMs = 1000 * forwardSeconds * forwards;
        const doneMs = Math.max(nowMs + 1000 * delaySeconds, busyUntil.get(peerId) ?? 0) + applyMs + elapsedMs;
        busyUntil.set(peerId, doneMs);
        const atMs = doneMs + 1000 * delaySeconds;
        const frame = {
          kind: "result" as const,
          step: open.task.step,
          assignment: round.version,
          head: open.head,
          checkpoint: null,
          losses,
          elapsedMs,
        };
        later(atMs, { kind: "result", peerId, frame, nowMs: atMs });
      }
  }

  async function measure(step: number, groups: readonly TaskGroup[], epsilonLog2: number, slots: readonly number[]) {
    const losses: { slot: number; plus: number | null; minus: number | null }[] = [];
    let first = 0;
    for (const { g, m, batch } of groups) {
      const directions = slots.filter((slot) => slot >= first && slot < first + 2 ** m).map((slot) => slot - first);
      if (directions.length > 0) {
        const examples: Example[] = lab.batch(step, batch, manifest.job.batch);
        // As workers do where there are too few to be centred.
        const estimator = directions.length < CENTRE_MIN ? "two-sided" : manifest.job.estimator;
        const measured = await lab.measure({ step, group: g, m, epsilonLog2, estimator, examples, directions });
        losses.push(...measured.map(({ k, plus, minus }) => ({ slot: first + k, plus, minus })));
      }
      first += 2 ** m;
    }
    return losses;
  }

  const feed = async (event: RoundEvent) => {
    for (const effect of reduce(round, event)) await perform(effect);
    await work();
  };
  await look();
  await feed({ kind: "started", nowMs });
  for (let i = 0; i < workers; i++) {
    const peerId = `12D3KooW${"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".charAt(i % 49).repeat(20)}${[...String(i)].map((digit) => "123456789A".charAt(Number(digit))).join("")}`;
    const hello = { kind: "hello" as const, version: 1, jobId: null, name: `w${i}`, device: "loop", threads: 1, port: 0 };
    await feed({ kind: "joined", peerId, hello, nowMs });
    await feed({ kind: "heartbeat", peerId, frame: { kind: "heartbeat", nextSeq: 0, state: "ready", checkpoint: null }, nowMs });
  }
  for (let next = queue.shift(); next !== undefined && !isOver; next = queue.shift()) {
    nowMs = Math.max(nowMs, next.atMs) + (next.event.kind === "result" ? 1000 * resultSeconds : 0);
    if (next.event.kind === "evaluated") {
      const { step, loss, score } = next.event;
      evaluations.push({ forwards: history.forwards, steps: step + 1, seconds: (nowMs - (firstTaskMs ?? nowMs)) / 1000, loss, score });
    }
    await feed({ ...next.event, nowMs });
    if (history.settings?.probing === false) probedMs ??= nowMs;
  }
  const [firstTaskSeconds, probedSeconds] = [firstTaskMs, probedMs].map((ms) => (ms === null ? null : ms / 1000)) as [
    number | null,
    number | null,
  ];
  const decisions = decisionsOf(round);
  return {
    curve,
    evaluations,
    firstTaskSeconds,
    probedSeconds,
    history,
    found: foundBy(history),
    decisions,
    stateHash: await lab.stateHash(),
  };
}

function foundBy({ decisions }: History): Settings | null {
  const rates = decisions.flatMap(({ entry }) => (entry.kind === "rate" ? [entry] : []));
  return rates.find(({ probing }) => !probing) ?? null;
}

function decisionsOf({ replica: { history } }: Round): SwarmRun["decisions"] {
  return history.decisions.map(({ afterStep, entry }) => {
    const { kind, why = "", ...rest } = entry as { kind: string; why?: string };
    return { afterStep, what: `${kind} ${JSON.stringify(rest)}`, why };
  });
}
