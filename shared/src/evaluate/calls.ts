/** What the main thread may ask of the evaluator's thread, and what it answers: types only, shared by both sides. */
import type { Estimator } from "../protocol/announcement.ts";
import type { Commit } from "../zo/commit.ts";
import type { Key, TensorSpec } from "../zo/lattice.ts";

export interface LoadRequest {
  /** ONNX bytes of the lifted graph: inputs input_ids, attention_mask, labels and every tensor; outputs logits and loss. */
  graph: Uint8Array;
  tensors: readonly TensorSpec[];
  key: Key;
  /** File of int32 little-endian X of all tensors, in order: read tensor by tensor, never held whole. */
  initialFile: string;
}

export interface MeasureRequest {
  step: number;
  group: number;
  m: number;
  epsilonLog2: number;
  estimator: Estimator;
  directions: readonly number[];
  /** Indices into the training examples. */
  batch: readonly number[];
}

export interface MeasuredLoss {
  k: number;
  /** Mean loss over the batch at theta + epsilon z_k; null where it is not finite. */
  plus: number | null;
  /** At theta - epsilon z_k; null for a one-sided measurement, too. */
  minus: number | null;
}

export interface Evaluation {
  loss: number;
  accuracy: number;
  examples: number;
  forwards: number;
  /** Predicted class of every example asked for, in order; ties are the lowest class. */
  predictions: Int32Array;
}

export interface EvaluatorStats {
  forwards: number;
  evalForwards: number;
  /** Seconds inside the runtime, and from taking a call to its end; the forwards of training only, and their calls. */
  forwardSeconds: number;
  busySeconds: number;
}

/** Every call with its arguments and its answer. */
export interface Calls {
  load: { request: LoadRequest; answer: { stateHash: string } };
  setExamples: { request: { name: ExamplesName; blob: Uint8Array }; answer: { count: number } };
  /** Puts the initial state back, then applies the commits. */
  reset: { request: { commits: readonly Commit[] }; answer: null };
  replay: { request: { commits: readonly Commit[] }; answer: null };
  measure: { request: MeasureRequest; answer: { losses: MeasuredLoss[]; aborted: boolean } };
  evaluate: { request: { name: ExamplesName; batch: number; indices?: readonly number[] }; answer: Evaluation };
  stateHash: { request: null; answer: { stateHash: string; clampedShare: number } };
  read: { request: null; answer: Int32Array[] };
  stats: { request: null; answer: EvaluatorStats };
}

export type ExamplesName = "train" | "heldout";
export type CallName = keyof Calls;

export type ToThread =
  | { [N in CallName]: { id: number; name: N; request: Calls[N]["request"] } }[CallName]
  | { abort: number }
  | { close: true };
export type FromThread = { id: number; answer: unknown } | { id: number; fault: string };
