import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitPlain, perturbPlain, splitTensors } from "./apply.ts";
import type { Commit, GroupCommit } from "./commit.ts";
import { LIM, type TensorSpec } from "./lattice.ts";
import { commitOf, copies, groupOf, KEY, kernelWith, readAll, runs, sameBits, startOf, tensor } from "./sample.ts";

const TENSORS = [tensor([3, 43], 22), tensor([], 20, 3), tensor([513], 24, -2), tensor([130], 22, 5)];

/** Both implementations, as functions from a state to the next. */
const implementations = [
  {
    name: "plain",
    apply: (tensors: readonly TensorSpec[], x: readonly Int32Array[], commits: readonly Commit[]) => {
      const state = copies(x);
      for (const commit of commits) commitPlain(state, tensors, KEY, commit);
      return state;
    },
  },
  {
    name: "kernel",
    apply: (tensors: readonly TensorSpec[], x: readonly Int32Array[], commits: readonly Commit[]) => {
      const parameters = kernelWith(tensors, x);
      for (const commit of commits) parameters.commit(commit);
      return readAll(parameters);
    },
  },
];

/** A group whose moves stay small: far from VMAX, and from the clamp where X is. */
const smallGroup = fc.tuple(fc.nat(2 ** 24 - 1), fc.nat(6), fc.integer({ min: 24, max: 40 }), fc.nat(1000));
const smallCommits = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 0xffffffff }), smallGroup), { minLength: 2, maxLength: 5, selector: ([step]) => step })
  .map((steps) => steps.map(([step, [g, m, p, salt]]) => commitOf(step, groupOf(g, m, p, 999, salt))));

describe.each(implementations)("$name", ({ apply }) => {
  it("updates commute away from the clamp", () => {
    const x = startOf(TENSORS, 4, LIM / 2);
    fc.assert(
      fc.property(smallCommits, (commits) => {
        expect(sameBits(apply(TENSORS, x, commits), apply(TENSORS, x, commits.toReversed()))).toBe(true);
      }),
      runs(15),
    );
  });

  it("with no rounding and no clamp, one commit of K equals K commits of one coefficient each", () => {
    const x = startOf(TENSORS, 8, LIM / 2);
    // q + gain is 20, 22, 23 and 27: p <= 20 rounds nowhere, and p >= 19 keeps all shifts at -8 or above.
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 19, max: 20 }), fc.nat(1000), (m, p, salt) => {
        const whole = groupOf(2, m, p, 20, salt);
        const apart = Array.from({ length: 2 ** m }, (_, k): GroupCommit => {
          const a = new Int32Array(2 ** m);
          a[k] = (whole.a as Int32Array)[k] as number;
          return { ...whole, a };
        });
        const oneByOne = apply(
          TENSORS,
          x,
          apart.map((group) => commitOf(6, group)),
        );
        expect(sameBits(oneByOne, apply(TENSORS, x, [commitOf(6, whole)]))).toBe(true);
      }),
      runs(12),
    );
  });

  it("clamps every group of every step to +-LIM, groups in ascending g whatever their order", () => {
    const x = [Int32Array.of(LIM, -LIM, LIM - 1, 0)];
    const tensors = [tensor([4], 16)];
    const far = (g: number, by: number): GroupCommit => ({ g, m: 0, p: 16, a: [by] });
    const at = apply(tensors, x, [commitOf(0, far(0, 2 ** 21)), commitOf(1, far(0, 2 ** 21))]);
    for (const v of at[0] as Int32Array) expect(Math.abs(v)).toBeLessThanOrEqual(LIM);
    const commit = commitOf(9, far(3, 2 ** 21), far(1, -(2 ** 21)), far(2, 2 ** 20));
    const ascending = commitOf(9, far(1, -(2 ** 21)), far(2, 2 ** 20), far(3, 2 ** 21));
    expect(sameBits(apply(tensors, x, [commit]), apply(tensors, x, [ascending]))).toBe(true);
  });

  it("moves one parameter by at most VMAX a step and group", () => {
    const x = [new Int32Array(300)];
    const moved = apply([tensor([300], 16)], x, [commitOf(0, { g: 0, m: 1, p: 16, a: [2 ** 31 - 1, 0] })]);
    expect(new Set((moved[0] as Int32Array).map(Math.abs))).toEqual(new Set([2 ** 21]));
  });
});

it("perturbing and undoing restores every bit, for any m, k, amount and tail", () => {
  const at = fc.record({ tensor: fc.nat(99), step: fc.integer({ min: 0, max: 0xffffffff }), group: fc.nat(2 ** 24 - 1), m: fc.nat(16) });
  fc.assert(
    fc.property(at, fc.nat(65535), fc.integer({ min: 1, max: 2 ** 20 }), fc.integer({ min: 1, max: 700 }), (where, k, amount, n) => {
      const [x] = startOf([tensor([n])]) as [Int32Array];
      const before = x.slice();
      const direction = k % 2 ** where.m;
      perturbPlain(x, KEY, where, direction, amount);
      expect(x.every((v, i) => Math.abs(v - (before[i] as number)) === amount)).toBe(true);
      perturbPlain(x, KEY, where, direction, -2 * amount);
      perturbPlain(x, KEY, where, direction, amount);
      expect(sameBits([x], [before])).toBe(true);
    }),
    runs(40),
  );
});

it("splitTensors takes any byte offset, and exactly the right length", () => {
  const [x] = startOf([tensor([132])]) as [Int32Array];
  const shifted = new Uint8Array(x.byteLength + 1);
  shifted.set(new Uint8Array(x.buffer), 1);
  const [head, tail] = splitTensors(shifted.subarray(1), [tensor([4, 32]), tensor([4])]) as [Int32Array, Int32Array];
  expect([head.length, tail.length]).toEqual([128, 4]);
  expect([...tail]).toEqual([...x.subarray(128)]);
  expect(() => splitTensors(shifted, [tensor([4, 33])])).toThrow(RangeError);
});
