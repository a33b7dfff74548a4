/** Replaying block by block in the cache must give the bits of one commit after the other; nothing else may tell them apart. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitPlain } from "./apply.ts";
import type { Commit } from "./commit.ts";
import { LIM, type TensorSpec } from "./lattice.ts";
import { commitOf, copies, groupOf, KEY, kernelWith, readAll, runs, sameBits, startOf, tensor } from "./sample.ts";

/** Several q and gains, tails, and a tensor longer than a block of the replay. */
const TENSORS = [tensor([97, 131], 22), tensor([], 20, 3), tensor([513], 24, -2), tensor([2, 65], 22, 5), tensor([4096 + 512], 20)];

function plain(tensors: readonly TensorSpec[], x: readonly Int32Array[], commits: readonly Commit[]): Int32Array[] {
  const state = copies(x);
  for (const commit of commits) commitPlain(state, tensors, KEY, commit);
  return state;
}

function expectEqual(tensors: readonly TensorSpec[], x: readonly Int32Array[], commits: readonly Commit[]): Int32Array[] {
  const blocked = kernelWith(tensors, x);
  blocked.replay(commits);
  const oneByOne = kernelWith(tensors, x);
  for (const commit of commits) oneByOne.commit(commit);
  const state = plain(tensors, x, commits);
  expect(sameBits(readAll(oneByOne), state)).toBe(true);
  expect(sameBits(readAll(blocked), state)).toBe(true);
  return state;
}

describe("replay", () => {
  it("equals one commit after the other and the plain implementation, near the clamp and far from it", () => {
    const group = fc.record({ g: fc.nat(5), m: fc.nat(6), p: fc.integer({ min: 19, max: 45 }), salt: fc.nat(999) });
    const groups = fc.uniqueArray(group, { minLength: 1, maxLength: 3, selector: ({ g }) => g });
    const start = fc.constantFrom(0, 2 ** 20, LIM - 2 ** 16, LIM);
    fc.assert(
      fc.property(fc.array(groups, { maxLength: 9 }), start, (steps, bound) => {
        const commits = steps.map((each, step) => commitOf(step, ...each.map(({ g, m, p, salt }) => groupOf(g, m, p, 2 ** 15 - 1, salt))));
        expectEqual(TENSORS, startOf(TENSORS, bound, bound), commits);
      }),
      runs(15),
    );
  });

  it("clamps at every step where one of many moves leaves the lattice", () => {
    // One element is a single unit below the limit; all others are far from it.
    const x = startOf(TENSORS, 3, 2 ** 18);
    for (const values of x) values[values.length - 1] = LIM - 1;
    const commits = Array.from({ length: 40 }, (_, step) => commitOf(step, groupOf(0, 4, 30), groupOf(1, 2, 33)));
    const state = expectEqual(TENSORS, x, commits);
    expect(state.some((values) => values.some((v) => Math.abs(v) > LIM / 2))).toBe(true);
  });

  it("clamps where the state is far from the limit but the steps add up to it", () => {
    const x = startOf([tensor([700], 16)], 3, 1000);
    const commits = Array.from({ length: 30 }, (_, step) => commitOf(step, { g: 0, m: 0, p: 16, a: [2 ** 21] }));
    const state = expectEqual([tensor([700], 16)], x, commits);
    expect((state[0] as Int32Array).some((v) => Math.abs(v) === LIM)).toBe(true);
  });

  it("goes on with the next tables where one arena is full", () => {
    const tensors = [tensor([600], 22), tensor([600], 22, 2), tensor([70], 20)];
    const commits = Array.from({ length: 30 }, (_, step) => commitOf(step, groupOf(0, 16, 40, 2 ** 15 - 1, step)));
    expectEqual(tensors, startOf(tensors), commits);
  });

  it("takes as many kinds of tensors as the spec allows", () => {
    const exponents = Array.from({ length: 13 }, (_, i) => 16 + i);
    const gains = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    const tensors = exponents.flatMap((q) => gains.filter((gain) => q + gain <= 36).map((gain) => tensor([3], q, gain)));
    expectEqual(tensors, startOf(tensors), [commitOf(0, groupOf(0, 16, 40)), commitOf(1, groupOf(0, 16, 40))]);
  });

  it("of nothing, or of steps without groups, changes nothing", () => {
    const x = startOf(TENSORS);
    expect(sameBits(expectEqual(TENSORS, x, []), x)).toBe(true);
    expect(sameBits(expectEqual(TENSORS, x, [commitOf(3), commitOf(4)]), x)).toBe(true);
  });
});
