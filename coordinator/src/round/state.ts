/** What a round knows, what happens to it and what it wants done: the types of the reducer, and the state before the first event. */
import type { KeyObject } from "node:crypto";
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { ResultCode, SessionCode } from "@zoswarm/shared/protocol/codes";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import type { Checkpoint, CoordinatorFrame, WorkerFrame, WorkerState } from "@zoswarm/shared/protocol/messages";
import { createReplica, type Replica, type ReplicaEffect } from "@zoswarm/shared/replica/replica";
import type { OpenStep } from "./accept.ts";
import type { Run } from "./assign.ts";
import type { Probe } from "./probe.ts";

export interface Member {
  peerId: string;
  name: string;
  device: string;
  threads: number;
  state: WorkerState | "gone";
  checkpoint: Checkpoint | null;
  /** Slots in every step, as it was last told in this session: also while it takes no part, since it does not forget them. */
  runs: Run[];
  /** Slots per second, smoothed. */
  speed: number | null;
  /** When its last result that counted came. */
  heardMs: number;
  /** Deadlines missed in a row. */
  missed: number;
  counts: Partial<Record<ResultCode, number>>;
}

export interface Round {
  manifest: Manifest;
  replica: Replica;
  commitKey: KeyObject;
  /** The first step opens when so many workers are ready. */
  waitFor: number;
  /** So many were ready at once, since this process started. */
  hasGathered: boolean;
  phase: "gathering" | "announcing" | "open" | "ending" | "finished";
  /** Steps that are announced and not committed, oldest first: one more than the job's staleness. */
  open: OpenStep[];
  members: Map<string, Member>;
  /** Version of the newest assignment. */
  version: number;
  /** The roster changed since the last assignment. */
  changed: boolean;
  /** How many slots the last assignment shared. */
  shared: number;
  /** How long the newest shares took, from their step's opening, in milliseconds; and how many slots the first of them had, on average. */
  times: number[];
  timed: number;
  /** Steps whose held-out evaluation is under way. */
  evaluating: Set<number>;
  /** Decisions of the ledger's and those that are on their way to it, when this process last made one. */
  decided: number;
  /** Losses by outcome, and forward passes behind the accepted ones, since this process started. */
  counts: Partial<Record<ResultCode, number>>;
  forwards: number;
  /** Times that a worker's state was found to differ from the ledger's. */
  divergences: number;
  /** Root mean square of the projected gradients of the newest commit. */
  signal: number | null;
  /** Mean second derivative of the held-out loss along random directions, at the newest evaluation; null before that, NaN where there is none. */
  curvature: number | null;
  /** The newest step whose held-out loss was found to be no number. */
  notFinite: number | null;
  /** What the probe has seen, while there is one. */
  probe: Probe | null;
}

export type RoundEvent =
  | { kind: "started"; nowMs: number }
  | { kind: "joined"; peerId: string; hello: Extract<WorkerFrame, { kind: "hello" }>; nowMs: number }
  | { kind: "left"; peerId: string; nowMs: number }
  | { kind: "heartbeat"; peerId: string; frame: Extract<WorkerFrame, { kind: "heartbeat" }>; nowMs: number }
  | { kind: "result"; peerId: string; frame: Extract<WorkerFrame, { kind: "result" }>; nowMs: number }
  | { kind: "deadline"; step: number; nowMs: number }
  | { kind: "announced"; bytes: Uint8Array; nowMs: number }
  | {
      kind: "evaluated";
      step: number;
      stateHash: string;
      loss: number;
      score: number;
      examples: number;
      curvature: number | null;
      nowMs: number;
    }
  /** A state of the probe, by a part of the held-out examples. */
  | { kind: "tried"; step: number; stateHash: string; loss: number; nowMs: number };

export type RoundEffect =
  | ReplicaEffect
  | { kind: "announce"; entry: Entry; task: Task | null }
  | { kind: "send"; peerId: string; frame: CoordinatorFrame }
  | { kind: "deadline"; step: number; afterMs: number }
  | { kind: "evaluate"; step: number }
  /** Take the loss of the state after `step` on so many held-out examples, at most. */
  | { kind: "try"; step: number; examples: number }
  | { kind: "dismiss"; peerId: string; code: SessionCode; message: string }
  | { kind: "finish" };

/** A round over a replica that has taken in the ledger on disk, if there is one. */
export function createRound(manifest: Manifest, jobId: string, commitKey: KeyObject, waitFor: number): Round {
  return {
    manifest,
    replica: createReplica(jobId, manifest.job),
    commitKey,
    waitFor,
    hasGathered: false,
    phase: "gathering",
    open: [],
    members: new Map(),
    version: 0,
    changed: true,
    shared: 0,
    times: [],
    timed: 0,
    evaluating: new Set(),
    decided: 0,
    counts: {},
    forwards: 0,
    divergences: 0,
    signal: null,
    curvature: null,
    notFinite: null,
    probe: null,
  };
}

/** Whether a decision is on its way to the ledger: nothing else that depends on it may follow. */
export function isDeciding({ replica, decided }: Round): boolean {
  return replica.history.decisions.length < decided;
}

/** Workers that can measure now. */
export function activeMembers(round: Round): Member[] {
  return [...round.members.values()].filter(({ state }) => state === "ready" || state === "evaluating");
}
