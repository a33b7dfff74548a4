/** Drives a round in tests as the shell does: announcements are signed and come back as events; everything else is kept to look at. */
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { manifestBytes } from "@zoswarm/shared/protocol/manifest";
import { createCommitKey, readCommitKey, sha256Hex } from "@zoswarm/shared/protocol/signing";
import { receive } from "@zoswarm/shared/replica/replica";
import { reduce } from "./round.ts";
import { createRound, type Round, type RoundEffect, type RoundEvent } from "./state.ts";

const HASH = "ab".repeat(32);

export function manifestOf(publicHex: string, job: Partial<Manifest["job"]>): Manifest {
  const blob = { id: HASH, bytes: 1 };
  return {
    version: 1,
    name: "test",
    key: [1, 2, 3, 4],
    commitKey: publicHex,
    stateHash: HASH,
    staleness: 0,
    model: blob,
    frozen: null,
    tokenizer: null,
    initial: blob,
    examples: blob,
    shardBytes: 1,
    inputs: [{ name: "input_ids", type: "int64", dims: ["batch", "sequence"], source: { from: "tokens", pad: 0 } }],
    objective: { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null },
    tensors: [{ name: "w", shape: [4], q: 20, gain: 0 }],
    job: {
      steps: 4,
      groups: 1,
      directionsLog2: 3,
      batch: 2,
      epsilonLog2: -10,
      estimator: "two-sided",
      rule: "normalised",
      rate: 1e-3,
      stop: { target: null, patience: null, forwards: null },
      evaluateEvery: 2,
      deadlineMs: 1000,
      deadlineFloorMs: 1000,
      quorum: 0.5,
      ...job,
    },
  };
}

export interface Driver {
  round: Round;
  /** Ledger entries announced so far, signed. */
  ledger: Uint8Array[];
  /** All effects but announcements, in order. */
  effects: RoundEffect[];
  /** Called before each announcement comes back durable: what happens meanwhile may be fed here. */
  between: () => void;
  feed(event: RoundEvent): RoundEffect[];
  join(peerId: string, nowMs?: number): RoundEffect[];
  /** A result of `slots` for the open step; `loss` of a slot defaults to something distinct. */
  answer(
    peerId: string,
    slots: readonly number[],
    options?: { nowMs?: number; elapsedMs?: number; head?: string; step?: number; loss?: number | null },
  ): RoundEffect[];
  /** Ends every evaluation that is under way. */
  evaluated(result?: { loss?: number; score?: number; curvature?: number | null }): void;
  /** Ends the try that is under way, if one is. */
  tried(loss: number, nowMs?: number): RoundEffect[];
  /** An entry that the round has decided on comes back durable. */
  announced(entry: Entry, nowMs?: number): RoundEffect[];
  /** What a worker is asked for in the oldest open step and has not answered. */
  slots(peerId: string): number[];
}

/** A round whose initial state is evaluated. */
export function drive(
  {
    staleness = 0,
    measure = "loss",
    ...job
  }: Partial<Manifest["job"]> & { staleness?: number; measure?: Manifest["objective"]["measure"] } = {},
  waitFor = 1,
  ledger: readonly Uint8Array[] = [],
  pem = createCommitKey().privatePem,
): Driver & { pem: string } {
  const { key, publicHex } = readCommitKey(pem);
  const usual = manifestOf(publicHex, job);
  const manifest = { ...usual, staleness, objective: { ...usual.objective, measure } };
  const jobId = sha256Hex(manifestBytes(manifest));
  const round = createRound(manifest, jobId, key, waitFor);
  for (const bytes of ledger) receive(round.replica, bytes, key, true);
  /** Announced, but not yet durable. */
  const flushing: RoundEvent[] = [];
  let tip = { seq: round.replica.history.nextSeq, hash: round.replica.history.headHash };
  function take(event: RoundEvent): RoundEffect[] {
    const effects = reduce(round, event);
    for (const effect of effects) if (effect.kind === "announce") flushing.push(announced(effect, event.nowMs));
    return effects;
  }
  function announced({ entry, task }: Pick<Extract<RoundEffect, { kind: "announce" }>, "entry" | "task">, nowMs: number): RoundEvent {
    const announcement = createAnnouncement({ jobId, epoch: 0, seq: tip.seq, prevHash: tip.hash, entry, task }, key);
    tip = { seq: tip.seq + 1, hash: announcement.hash };
    kept.ledger.push(announcement.bytes);
    return { kind: "announced", bytes: announcement.bytes, nowMs };
  }
  const kept: Driver = {
    round,
    ledger: [...ledger],
    effects: [],
    between: () => {},
    feed(event) {
      const seen = take(event);
      for (;;) {
        if (flushing.length > 0) kept.between();
        const announced = flushing.shift();
        if (announced === undefined) break;
        seen.push(...take(announced));
      }
      kept.effects.push(...seen);
      return seen;
    },
    join(peerId, nowMs = 0) {
      const hello = { kind: "hello" as const, version: 1, jobId: null, name: peerId, device: "test", threads: 1, port: 0 };
      kept.feed({ kind: "joined", peerId, hello, nowMs });
      return kept.feed({ kind: "heartbeat", peerId, frame: { kind: "heartbeat", nextSeq: 0, state: "ready", checkpoint: null }, nowMs });
    },
    answer(peerId, slots, { nowMs = 100, elapsedMs = 100, head, step = round.open[0]?.task.step ?? 0, loss } = {}) {
      const losses = slots.map((slot) => ({
        slot,
        plus: loss === undefined ? 0.5 + slot / 100 : loss,
        minus: loss === undefined ? 0.4 : loss,
      }));
      return kept.feed({
        kind: "result",
        peerId,
        frame: {
          ...{ kind: "result", step, assignment: 1, checkpoint: null, losses, elapsedMs },
          head: head ?? round.open.find(({ task }) => task.step === step)?.head ?? HASH,
        },
        nowMs,
      });
    },
    evaluated({ loss = 0.7, score = 0.5, curvature = null } = {}) {
      for (const step of [...round.evaluating])
        kept.feed({ kind: "evaluated", step, stateHash: HASH, loss, score, examples: 2, curvature, nowMs: 0 });
    },
    tried(loss, nowMs = 0) {
      const step = round.probe?.awaited;
      return typeof step === "number" ? kept.feed({ kind: "tried", step, stateHash: HASH, loss, nowMs }) : [];
    },
    announced: (entry, nowMs = 0) => kept.feed(announced({ entry, task: null }, nowMs)),
    slots: (peerId) => [...(round.open[0]?.asked.get(peerId) ?? [])].sort((one, other) => one - other),
  };
  kept.feed({ kind: "started", nowMs: 0 });
  kept.evaluated();
  return Object.assign(kept, { pem });
}
