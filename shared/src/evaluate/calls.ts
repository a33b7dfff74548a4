/** What the main thread may ask of the evaluator's thread, and what it answers: types only, shared by both sides. */
import type { Example } from "../data/examples.ts";
import type { Estimator } from "../protocol/announcement.ts";
import type { InputSpec, Objective } from "../protocol/manifest.ts";
import type { Commit } from "../zo/commit.ts";
import type { Key, TensorSpec } from "../zo/lattice.ts";
import type { LoadedSnapshot, SnapshotOf } from "./snapshot.ts";

export interface LoadRequest {
  /** The graph: the model's own inputs, every trained tensor, and what the objective adds. Frozen weights are beside it. */
  graphFile: string;
  tensors: readonly TensorSpec[];
  key: Key;
  /** File of int32 little-endian X of all tensors, in order: read tensor by tensor, never held whole. */
  initialFile: string;
  inputs: readonly InputSpec[];
  objective: Objective;
  /** A tokenizer.json, where generated text is judged; else null. */
  tokenizerFile: string | null;
}

export interface MeasureRequest {
  step: number;
  group: number;
  m: number;
  epsilonLog2: number;
  estimator: Estimator;
  directions: readonly number[];
  /** The group's batch. */
  examples: readonly Example[];
}

export interface MeasuredLoss {
  k: number;
  /** Mean loss over the batch at theta + epsilon z_k; null where it is not finite. */
  plus: number | null;
  /** At theta - epsilon z_k; null for a one-sided measurement, too. */
  minus: number | null;
}

export interface Evaluation {
  /** Mean loss; 1 - score where the objective has no loss of its own (-score for rewards). */
  loss: number;
  /** The objective's metric. */
  score: number;
  examples: number;
  forwards: number;
}

export interface EvaluatorStats {
  forwards: number;
  evalForwards: number;
  /** Seconds inside the runtime, and from taking a call to its end; the forwards of training only, and their calls. */
  forwardSeconds: number;
  busySeconds: number;
}

/** A snapshot's file, and how many commits of a list are in it. */
export interface SnapshotOnWay extends SnapshotOf {
  stateHash: string;
  file: string;
  holds: number;
}

/** Every call with its arguments and its answer. */
export interface Calls {
  load: { request: LoadRequest; answer: { stateHash: string } };
  /** Writes the state, which is the one after `step`, to `file`. */
  writeSnapshot: { request: SnapshotOf & { file: string }; answer: { stateHash: string; bytes: number } };
  /** Puts the snapshot's state in place; the initial state where the file is not the snapshot of that state hash. */
  loadSnapshot: { request: SnapshotOf & { stateHash: string; file: string }; answer: LoadedSnapshot };
  setHeldout: { request: { shards: readonly Uint8Array[] }; answer: { count: number } };
  /** Puts the initial state back, then applies the commits; by a snapshot, where it holds, and the commits behind it. */
  reset: { request: { commits: readonly Commit[]; snapshot?: SnapshotOnWay | undefined }; answer: null };
  replay: { request: { commits: readonly Commit[] }; answer: null };
  measure: { request: MeasureRequest; answer: { losses: MeasuredLoss[]; aborted: boolean } };
  /** Over the held-out examples, or so many of them, spread evenly. */
  evaluate: { request: { batch: number; examplesMax?: number }; answer: Evaluation };
  /** How much the loss of so many held-out examples bends along random directions: the mean of their second derivatives, taken epsilon away. */
  curvature: {
    request: { step: number; epsilonLog2: number; directions: number; examplesMax: number };
    answer: { curvature: number; forwards: number };
  };
  /** What the model says of examples: scores of each class (or the number), or generated tokens. */
  predict: { request: { examples: readonly Example[] }; answer: { scores: number[][]; generated: number[][] } };
  stateHash: { request: null; answer: { stateHash: string; clampedShare: number } };
  read: { request: null; answer: Int32Array[] };
  stats: { request: null; answer: EvaluatorStats };
}

export type CallName = keyof Calls;

export type ToThread =
  | { [N in CallName]: { id: number; name: N; request: Calls[N]["request"] } }[CallName]
  | { abort: number }
  | { close: true };
export type FromThread = { id: number; answer: unknown } | { id: number; fault: string };
