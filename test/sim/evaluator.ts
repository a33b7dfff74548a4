/**
 * The evaluator of a simulated node: parameters on the lattice, moved and perturbed by the plain implementation, one call after the
 * other on a machine of some speed. The loss is a quadratic around a point that each batch shifts a little.
 */
import type { BranchNode } from "@zoswarm/shared/ledger/folds";
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { commitPlain, perturbPlain } from "@zoswarm/shared/zo/apply";
import { CENTRE_MIN } from "@zoswarm/shared/zo/estimate";
import type { TensorSpec } from "@zoswarm/shared/zo/lattice";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import type { Key } from "@zoswarm/shared/zo/threefry";
import type { Life, World } from "./world.ts";

export interface Loss {
  slot: number;
  plus: number | null;
  minus: number | null;
}

/** The model of a run: its tensors, where they start, and what its losses are. */
export interface Objective {
  key: Key;
  tensors: TensorSpec[];
  initial(): Int32Array[];
  /** Of parameters `x`, on batch `batch` of a step; batch -1 is the held-out data. */
  loss(x: readonly Int32Array[], step: number, batch: number): number;
}

export const EPSILON_LOG2 = -8;
const Q = 20;

export function createObjective(elements: number): Objective {
  const key: Key = [1, 2, 3, 4];
  const half = Math.floor(elements / 2);
  const shapes = half > 0 ? [elements - half, half] : [elements];
  const tensors = shapes.map((size, t) => ({ name: `w${t}`, shape: [size], q: Q, gain: t }));
  const at = (t: number, i: number) => Math.sin(1 + i * (t + 1)) / 2;
  return {
    key,
    tensors,
    initial: () => shapes.map((size, t) => Int32Array.from({ length: size }, (_, i) => Math.round(at(t, 3 * i + 7) * 2 ** Q))),
    loss(x, step, batch) {
      let sum = 0;
      x.forEach((values, t) => {
        for (let i = 0; i < values.length; i++) {
          const shift = batch < 0 ? 0 : ((Math.imul(step + 1, 0x9e3779b1) ^ Math.imul(batch + i + 1, 0x85ebca6b)) >>> 24) / 4096;
          const off = (values[i] as number) * 2 ** -Q - at(t, i) - shift;
          sum += off * off;
        }
      });
      return sum / elements;
    },
  };
}

/** What a slot's loss is at parameters `x`; both sides, or one. */
export function measureSlot(objective: Objective, x: readonly Int32Array[], task: Task, slot: number, twoSided: boolean): Loss {
  let first = 0;
  const group = task.groups.find(({ m }) => {
    first += 2 ** m;
    return slot < first;
  });
  if (group === undefined) throw new Error(`slot ${slot} is none of step ${task.step}`);
  const k = slot - (first - 2 ** group.m);
  const side = (sign: number) => {
    const moved = x.map((values, t) => {
      const copy = values.slice();
      const { q, gain } = objective.tensors[t] as TensorSpec;
      perturbPlain(
        copy,
        objective.key,
        { tensor: t, step: task.step, group: group.g, m: group.m },
        k,
        sign * 2 ** (q + gain + task.epsilonLog2),
      );
      return copy;
    });
    return objective.loss(moved, task.step, group.batch);
  };
  return { slot, plus: side(1), minus: twoSided ? side(-1) : null };
}

/** What a loss depends on besides the parameters: a task that a restore dropped may come again with another size or epsilon. */
export function keyOf({ step, groups, epsilonLog2 }: Task, slot: number, twoSided: boolean): string {
  return `${step} ${groups.length} ${groups[0]?.m} ${epsilonLog2} ${slot} ${twoSided}`;
}

/** How much the held-out loss bends along a few directions that no step has (shared/src/evaluate/evaluator.ts). */
export function curvatureOf(objective: Objective, x: readonly Int32Array[]): number {
  const task: Task = { step: 0, groups: [{ g: 0xffffff, m: 1, batch: -1 }], epsilonLog2: EPSILON_LOG2, estimator: "two-sided" };
  const here = objective.loss(x, 0, -1);
  const bends = [0, 1].map((slot) => {
    const { plus, minus } = measureSlot(objective, x, task, slot, true);
    return ((plus ?? here) + (minus ?? here) - 2 * here) / 4 ** EPSILON_LOG2;
  });
  return bends.reduce((sum, bend) => sum + bend, 0) / bends.length;
}

/** How the slots of a task are measured: below the least that can be centred, both sides of each direction (worker/src/measure.ts). */
export function sidesOf(task: Task, slots: readonly number[], own: Iterable<number>): Map<number, boolean> {
  const sides = new Map<number, boolean>();
  let first = 0;
  for (const { m } of task.groups) {
    const isHere = (slot: number) => slot >= first && slot < first + 2 ** m;
    const here = slots.filter(isHere);
    const known = new Set([...here, ...[...own].filter(isHere)]);
    for (const slot of here) sides.set(slot, task.estimator === "two-sided" || known.size < CENTRE_MIN);
    first += 2 ** m;
  }
  return sides;
}

export interface Evaluator {
  readonly x: Int32Array[];
  stateHash(): string;
  replay(commits: readonly CommitEntry[], after: BranchNode | null, done: () => void): void;
  reset(commits: readonly CommitEntry[], after: BranchNode | null, done: () => void): void;
  /** Calls back in its turn, after `passes` forward passes. */
  call(passes: number, done: () => void): void;
  measure(task: Task, sides: ReadonlyMap<number, boolean>, done: (losses: Loss[], elapsedMs: number) => void): void;
  /** Ends the measurement that is under way or waits, with what it has. */
  abort(): void;
  /** A bit of the parameters flips; `where` in [0, 1). */
  corrupt(where: number): void;
  /** The parameters are not what the commits make of them, since a bit flipped. */
  readonly isTainted: boolean;
}

interface Call {
  ms: number;
  /** With the share of the work that is done. */
  end: (share: number) => void;
  abortable: boolean;
}

/** A forward pass's worth of work for a replayed commit or a hash. */
const SMALL_PASSES = 0.1;

/** `moved` hears what state each replay should have led to. */
export function createEvaluator(
  world: World,
  life: Life,
  objective: Objective,
  passesPerSecond: number,
  moved: (x: readonly Int32Array[], after: BranchNode | null) => void,
): Evaluator {
  let x = objective.initial();
  let hash: string | null = null;
  let isTainted = false;
  const calls: Call[] = [];
  let running: { call: Call; fromMs: number } | null = null;
  const losses = new Map<string, Loss>();

  function wake(): void {
    const call = calls[0];
    if (running !== null || call === undefined) return;
    calls.shift();
    const mine = { call, fromMs: world.nowMs };
    running = mine;
    world.after(call.ms, () => running === mine && finish(1), life);
  }
  function finish(share: number): void {
    const { call } = running as NonNullable<typeof running>;
    running = null;
    call.end(share);
    wake();
  }
  function enqueue(passes: number, end: (share: number) => void, abortable = false): void {
    calls.push({ ms: (1000 * passes) / passesPerSecond, end, abortable });
    wake();
  }
  function apply(commits: readonly CommitEntry[], after: BranchNode | null): void {
    for (const commit of commits) commitPlain(x, objective.tensors, objective.key, commit);
    hash = null;
    if (!isTainted) moved(x, after);
  }
  const hashNow = () => {
    hash ??= stateHash(x);
    return hash;
  };
  function lossOf(task: Task, slot: number, twoSided: boolean): Loss {
    const key = `${hashNow()} ${keyOf(task, slot, twoSided)}`;
    const known = losses.get(key) ?? measureSlot(objective, x, task, slot, twoSided);
    losses.set(key, known);
    return known;
  }

  return {
    get x() {
      return x;
    },
    stateHash: hashNow,
    replay: (commits, after, done) =>
      enqueue(SMALL_PASSES * commits.length, () => {
        apply(commits, after);
        done();
      }),
    reset: (commits, after, done) =>
      enqueue(SMALL_PASSES * (1 + commits.length), () => {
        x = objective.initial();
        isTainted = false;
        apply(commits, after);
        done();
      }),
    call: (passes, done) => enqueue(passes, done),
    measure(task, sides, done) {
      const fromMs = world.nowMs;
      const passes = [...sides.values()].reduce((n, twoSided) => n + (twoSided ? 2 : 1), 0);
      enqueue(
        passes,
        (share) => {
          const measured = [...sides].slice(0, Math.floor(share * sides.size));
          done(
            measured.map(([slot, twoSided]) => lossOf(task, slot, twoSided)),
            Math.min(3_600_000, Math.round(world.nowMs - fromMs)),
          );
        },
        true,
      );
    },
    get isTainted() {
      return isTainted;
    },
    corrupt(where) {
      const values = x[0] as Int32Array;
      const at = Math.floor(where * values.length);
      values[at] = (values[at] as number) ^ 0x100;
      hash = null;
      isTainted = true;
    },
    abort() {
      if (running?.call.abortable) return finish((world.nowMs - running.fromMs) / Math.max(1e-9, running.call.ms));
      const waiting = calls.findIndex(({ abortable }) => abortable);
      if (waiting >= 0) calls.splice(waiting, 1)[0]?.end(0);
    },
  };
}
