/**
 * Which examples a group of a step sees: a pure function of (job, step, group), so that nobody has to send a batch.
 * It must never depend on the host, the order of calls or anything but its arguments (shared/spec/arithmetic.md says why all
 * directions of a group share one batch).
 */
import { createHash } from "node:crypto";

export interface BatchRequest {
  /** 64 hex digits. */
  jobId: string;
  /** u32. */
  step: number;
  /** The batch id of the task's group, u32. */
  group: number;
  /** Examples in the batch; fewer where the data set is smaller. */
  size: number;
  /** The label of every example of the training set. */
  labels: ArrayLike<number>;
  /** 0 where examples have no classes: then all are drawn alike. */
  classes: number;
}

/**
 * Draws a class-balanced batch of example indices, without repetition. Each class that has examples gets the same share; where the
 * size does not divide, or a class is used up, the others fill in, beginning at a class drawn for this batch.
 */
export function batchOf({ jobId, step, group, size, labels, classes }: BatchRequest): number[] {
  if (classes === 0) return drawnOf(drawsOf(jobId, step, group), Math.min(size, labels.length), labels.length);
  const pools = poolsOf(labels, classes);
  const draw = drawsOf(jobId, step, group);
  const first = pools.length > 0 ? draw(pools.length) : 0;
  const wanted = Math.min(size, labels.length);
  const batch: number[] = [];
  for (let turn = first; batch.length < wanted; turn++) {
    const pool = pools[turn % pools.length] as number[];
    if (pool.length === 0) continue;
    const at = draw(pool.length);
    batch.push(pool[at] as number);
    // The drawn one leaves the pool: the last takes its place, so a draw costs the same whatever the size of the pool.
    pool[at] = pool[pool.length - 1] as number;
    pool.pop();
  }
  return batch;
}

/** `wanted` different numbers below `count`, in the order drawn: a number that was drawn stands for the last one left (Fisher-Yates). */
function drawnOf(draw: (below: number) => number, wanted: number, count: number): number[] {
  const moved = new Map<number, number>();
  return Array.from({ length: wanted }, (_, n) => {
    const last = count - 1 - n;
    const at = draw(last + 1);
    const drawn = moved.get(at) ?? at;
    moved.set(at, moved.get(last) ?? last);
    return drawn;
  });
}

/** Indices by class, classes without examples left out. */
function poolsOf(labels: ArrayLike<number>, classes: number): number[][] {
  const pools: number[][] = Array.from({ length: classes }, () => []);
  for (let index = 0; index < labels.length; index++) {
    const pool = pools[labels[index] as number];
    if (pool === undefined) throw new RangeError(`example ${index} has label ${labels[index]}; it must be 0 to ${classes - 1}`);
    pool.push(index);
  }
  return pools.filter((pool) => pool.length > 0);
}

/** An endless stream of integers below a bound: SHA-256 in counter mode, 8 words a hash. */
function drawsOf(jobId: string, step: number, group: number): (below: number) => number {
  let words: number[] = [];
  let counter = 0;
  return (below) => {
    if (words.length === 0) {
      const hash = createHash("sha256").update(`zoswarm/batch/1 ${jobId} ${step} ${group} ${counter++}`).digest();
      words = Array.from({ length: 8 }, (_, word) => hash.readUInt32LE(4 * word));
    }
    // Exact in float64: both factors are far below 2^53 together for any pool that fits memory.
    return Math.floor(((words.pop() as number) / 2 ** 32) * below);
  };
}
