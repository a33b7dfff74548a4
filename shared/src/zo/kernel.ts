/**
 * Parameters as fp32 in one non-shared WebAssembly.Memory, moved in place by the v128 kernel: the very buffer the runtime reads.
 * Never holds a second copy; every sum is exact, so undoing a perturbation restores every bit (shared/spec/arithmetic.md 4, 5).
 */
import { type Commit, type GroupCommit, requireMeaning } from "./commit.ts";
import { BLOCK, placement, walshSign } from "./directions.ts";
import { FUSED, instantiate, type KernelExports, MOVE_BYTES, WORK_BYTES } from "./instance.ts";
import { elementsOf, LIM, type TensorSpec } from "./lattice.ts";
import { LEAF, leafHash, rootHash } from "./statehash.ts";
import { commitTable, walsh } from "./table.ts";
import type { Key } from "./threefry.ts";

/** The kernel's step: four blocks. Every tensor is padded to whole spans, so that no tail code exists. */
const SPAN = 4 * BLOCK;
/** Blocks taken through all steps before the next ones when replaying: 4 Ki elements stay in the cache. */
const REPLAY_BLOCKS = 32;
/** Moves of a replay that are taken through a block before the next block. */
const MOVES = 1024;
/** Tables of as many steps as fit are held at once while replaying. */
const TABLES_BYTES = 16 * 2 ** 20;

export interface Move {
  k: number;
  /** In units of epsilon; +1, -1, +2 or -2, and 0 in sum once all is undone. */
  n: number;
}

export type LoadedTensor = { ok: true } | { ok: false; code: "outside-lattice" | "wrong-size"; index: number };

export interface Parameters {
  readonly tensors: readonly TensorSpec[];
  readonly memory: WebAssembly.Memory;
  readonly kernel: KernelExports;
  /** theta of tensor t, zero-copy, exactly its elements. */
  view(t: number): Float32Array;
  /** Sets tensor t from lattice points; refuses what lies outside the lattice. */
  load(t: number, x: Int32Array): LoadedTensor;
  /** The same for the elements of tensor t from `from` on. */
  set(t: number, from: number, x: Int32Array): LoadedTensor;
  /** Lattice points of tensor t, a copy. */
  read(t: number, from?: number, count?: number): Int32Array;
  /** Moves theta by the sum of `moves`, one pass over all tensors, not clamped. */
  perturb(at: { step: number; group: number; m: number; epsilonLog2: number; moves: readonly Move[] }): void;
  /** The same by `amount` units of X for one tensor. */
  perturbTensor(t: number, at: { step: number; group: number; m: number }, k: number, amount: number): void;
  commit(commit: Commit): void;
  /** Applies commits in order, block by block in the cache; the same bits as one `commit` after the other. */
  replay(commits: readonly Commit[]): void;
  stateHash(): string;
  /** Share of elements at the clamp, 0..1: to be reported at checkpoints. */
  clampedShare(): number;
}

/** A group of a commit, what all its tables are made from, where one of them lies in memory, and the most that it moves theta. */
interface Batched {
  step: number;
  group: GroupCommit;
  s: Float64Array;
  words: Uint32Array;
  table: number;
  reach: number;
}

/** Lays the tensors out in a new memory. `firstTensor` is the index of the first one, for vectors that take one out of many. */
export function createParameters(tensors: readonly TensorSpec[], key: Key, firstTensor = 0): Parameters {
  const sizes = tensors.map(({ shape }) => elementsOf(shape));
  const work = 16;
  const movesAt = work + WORK_BYTES;
  const integers = movesAt + MOVES * MOVE_BYTES;
  const tablesAt = integers + LEAF * 4;
  let end = tablesAt + TABLES_BYTES;
  const offsets = sizes.map((n) => {
    const at = end;
    end += Math.ceil(n / SPAN) * SPAN * 4;
    return at;
  });
  const pages = Math.ceil(end / 65536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const kernel = instantiate(memory, work, key);
  const kinds = [...new Set(tensors.map(kindOf))].map((kind) => {
    const [q, gain] = kind.split("+").map(Number) as [number, number];
    return { kind, q, gain };
  });
  const sizeOf = (t: number) => sizes[t] as number;
  const offsetOf = (t: number) => offsets[t] as number;
  const view = (t: number) => new Float32Array(memory.buffer, offsetOf(t), sizeOf(t));
  const blocksOf = (t: number) => Math.ceil(sizeOf(t) / SPAN) * 4;
  const bytesOfTable = (m: number) => (2 ** m + BLOCK) * 4;

  /** Writes a table as fp32 values of theta, wrapped so that a block may read 128 entries from any base. */
  function placeTable(at: number, table: ArrayLike<number>, unit: number): void {
    const floats = new Float32Array(memory.buffer, at, table.length + BLOCK);
    for (let j = 0; j < table.length; j++) floats[j] = (table[j] as number) * unit;
    for (let j = table.length; j < floats.length; j++) floats[j] = floats[j - table.length] as number;
  }

  /** Writes what one group of one step adds to tensor t; returns its address. */
  function writeMove(i: number, t: number, step: number, group: number, m: number, table: number): number {
    const { a, b } = placement(key, firstTensor + t, step, group);
    const address = movesAt + i * MOVE_BYTES;
    new Uint32Array(memory.buffer, address, MOVE_BYTES / 4).set([step, group, table, m, a, b]);
    return address;
  }

  /** `ditherWords` of table.ts by the kernel. */
  function ditherOf(step: number, group: number, m: number): Uint32Array {
    const move = writeMove(0, 0, step, ((2 << 24) | group) >>> 0, m, 0);
    kernel.generate(0, Math.ceil(2 ** m / 32) * 8, move, work, integers);
    return new Uint32Array(memory.buffer, integers, 2 ** m).slice();
  }

  function perturbWith(t: number, { step, group, m }: { step: number; group: number; m: number }): void {
    kernel.perturb(offsetOf(t), blocksOf(t), 0, firstTensor + t, writeMove(0, t, step, group, m, tablesAt), work);
  }

  /**
   * Takes every block range of one tensor through all groups of the batch before the next range; four at a time and without the
   * clamps where all of them together cannot take any element of the range to the limit (spec 5).
   */
  function updateTensor(t: number, q: number, batch: readonly Batched[]): void {
    batch.forEach(({ step, group, table }, i) => {
      writeMove(i, t, step, group.g, group.m, table);
    });
    const reach = batch.reduce((sum, each) => sum + each.reach, 0);
    const limit = LIM * 2 ** -q;
    const blocks = blocksOf(t);
    const atOnce = batch.length > 1 ? REPLAY_BLOCKS : blocks;
    for (let first = 0; first < blocks; first += atOnce) {
      const count = Math.min(atOnce, blocks - first);
      const theta = offsetOf(t) + first * BLOCK * 4;
      const free = batch.length >= FUSED && kernel.largest(theta, count) + reach <= limit;
      const fused = free ? batch.length - (batch.length % FUSED) : 0;
      for (let i = 0; i < fused; i += FUSED) kernel.fuse(theta, count, first, firstTensor + t, movesAt + i * MOVE_BYTES, work);
      for (let i = fused; i < batch.length; i++) kernel.update(theta, count, first, firstTensor + t, movesAt + i * MOVE_BYTES, work, limit);
    }
  }

  /** Tensors of one kind share a group's table: one kind after the other, so that only one table a group is in memory. */
  function updateAll(batch: readonly Batched[]): void {
    for (const { kind, q, gain } of kinds) {
      for (const each of batch) {
        const table = commitTable(each.s, each.words, each.group.p, q + gain);
        placeTable(each.table, table, 2 ** -q);
        each.reach = furthest(table) * 2 ** -q;
      }
      tensors.forEach((spec, t) => {
        if (kindOf(spec) === kind) updateTensor(t, q, batch);
      });
    }
  }

  function replay(commits: readonly Commit[]): void {
    for (const commit of commits) requireMeaning(commit, tensors);
    let batch: Batched[] = [];
    let used = 0;
    for (const { step, groups } of commits) {
      for (const group of [...groups].sort((one, other) => one.g - other.g)) {
        if (batch.length === MOVES || used + bytesOfTable(group.m) > TABLES_BYTES) {
          updateAll(batch);
          batch = [];
          used = 0;
        }
        const words = ditherOf(step, group.g, group.m);
        batch.push({ step, group, s: walsh(group.a), words, table: tablesAt + used, reach: 0 });
        used += bytesOfTable(group.m);
      }
    }
    updateAll(batch);
  }

  function read(t: number, from = 0, count = sizeOf(t) - from): Int32Array {
    const x = new Int32Array(count);
    const scale = 2 ** (tensors[t] as TensorSpec).q;
    for (let i = 0; i < count; i += LEAF) {
      const n = Math.min(LEAF, count - i);
      kernel.toIntegers(offsetOf(t) + (from + i) * 4, integers, Math.ceil(n / 4) * 4, scale);
      x.set(new Int32Array(memory.buffer, integers, n), i);
    }
    return x;
  }

  function set(t: number, from: number, x: Int32Array): LoadedTensor {
    if (from + x.length > sizeOf(t)) return { ok: false, code: "wrong-size", index: x.length };
    const unit = 2 ** -(tensors[t] as TensorSpec).q;
    for (let i = 0; i < x.length; i++)
      if ((x[i] as number) > LIM || (x[i] as number) < -LIM) return { ok: false, code: "outside-lattice", index: i };
    const theta = view(t);
    for (let i = 0; i < x.length; i++) theta[from + i] = (x[i] as number) * unit;
    return { ok: true };
  }

  return {
    tensors,
    memory,
    kernel,
    view,
    load: (t, x) => (x.length === sizeOf(t) ? set(t, 0, x) : { ok: false, code: "wrong-size", index: x.length }),
    set,
    read,
    perturb({ step, group, m, epsilonLog2, moves }) {
      const table = Float64Array.from({ length: 2 ** m }, (_, j) => moves.reduce((sum, { k, n }) => sum + n * walshSign(k, j), 0));
      let placedGain: number | undefined;
      for (const gain of new Set(tensors.map((spec) => spec.gain))) {
        tensors.forEach((spec, t) => {
          if (spec.gain !== gain) return;
          if (placedGain !== gain) placeTable(tablesAt, table, 2 ** (epsilonLog2 + gain));
          placedGain = gain;
          perturbWith(t, { step, group, m });
        });
      }
    },
    perturbTensor(t, at, k, amount) {
      const table = Float64Array.from({ length: 2 ** at.m }, (_, j) => amount * walshSign(k, j));
      placeTable(tablesAt, table, 2 ** -(tensors[t] as TensorSpec).q);
      perturbWith(t, at);
    },
    commit: (commit) => replay([commit]),
    replay,
    stateHash() {
      const leaves: Buffer[] = [];
      tensors.forEach((spec, t) => {
        for (let i = 0; i < sizeOf(t); i += LEAF) {
          const n = Math.min(LEAF, sizeOf(t) - i);
          kernel.toIntegers(offsetOf(t) + i * 4, integers, Math.ceil(n / 4) * 4, 2 ** spec.q);
          leaves.push(leafHash(new Int32Array(memory.buffer, integers, n)));
        }
      });
      return rootHash(leaves);
    },
    clampedShare() {
      let clamped = 0;
      let all = 0;
      tensors.forEach(({ q }, t) => {
        const limit = LIM * 2 ** -q;
        for (const v of view(t)) if (v >= limit || v <= -limit) clamped++;
        all += sizeOf(t);
      });
      return clamped / all;
    },
  };
}

function furthest(table: Float64Array): number {
  let most = 0;
  for (const v of table) most = Math.max(most, Math.abs(v));
  return most;
}

function kindOf({ q, gain }: TensorSpec): string {
  return `${q}+${gain}`;
}
