import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitPlain, perturbPlain } from "./apply.ts";
import { createParameters, type Move } from "./kernel.ts";
import { LIM } from "./lattice.ts";
import { commitOf, copies, groupOf, KEY, kernelWith, readAll, runs, sameBits, scattered, startOf, tensor } from "./sample.ts";
import { stateHash } from "./statehash.ts";

const TENSORS = [tensor([3, 43], 22), tensor([], 20, 3), tensor([513], 24, -2), tensor([2, 65], 22, 5)];
const TAILS = [1, 2, 3, 4, 5, 127, 128, 129, 383, 511, 512, 513, 5000, 65535, 65536, 65537, 1_100_001];
const EXPONENTS = Array.from({ length: 17 }, (_, m) => m);

describe("the kernel equals the plain implementation", () => {
  it.each(EXPONENTS)("m = %i: perturb", (m) => {
    const x = startOf(TENSORS);
    const parameters = kernelWith(TENSORS, x);
    for (const [k, n] of [
      [0, 1],
      [2 ** m - 1, -2],
      [Math.floor((2 ** m * 2) / 3), 2],
    ] as const) {
      parameters.perturb({ step: 12, group: 3, m, epsilonLog2: -10, moves: [{ k, n }] });
      TENSORS.forEach(({ q, gain }, t) => {
        perturbPlain(x[t] as Int32Array, KEY, { tensor: t, step: 12, group: 3, m }, k, n * 2 ** (q + gain - 10));
      });
      expect(sameBits(readAll(parameters), x)).toBe(true);
    }
  });

  it.each(EXPONENTS)("m = %i: commit, with rounding and without, to the clamp", (m) => {
    const x = startOf(TENSORS);
    const parameters = kernelWith(TENSORS, x);
    for (const p of [19, 27, 36, 52]) {
      const commit = commitOf(p, groupOf(2 ** 24 - 1, m, p), groupOf(0, m, p));
      parameters.commit(commit);
      commitPlain(x, TENSORS, KEY, commit);
      expect(sameBits(readAll(parameters), x)).toBe(true);
    }
    expect(x.some((values) => values.some((v) => Math.abs(v) === LIM))).toBe(true);
  });

  it.each(TAILS)("a tensor of %i elements, and the one after it", (n) => {
    const tensors = [tensor([n], 22), tensor([131], 21)];
    const x = startOf(tensors, n);
    const parameters = kernelWith(tensors, x, 6);
    const commit = commitOf(0xffffffff, groupOf(1, 5, 33));
    parameters.commit(commit);
    commitPlain(x, tensors, KEY, commit, 6);
    parameters.perturbTensor(0, { step: 1, group: 0, m: 7 }, 77, 4096);
    perturbPlain(x[0] as Int32Array, KEY, { tensor: 6, step: 1, group: 0, m: 7 }, 77, 4096);
    expect(sameBits(readAll(parameters), x)).toBe(true);
    expect(parameters.stateHash()).toBe(stateHash(x));
  });

  it("extreme coefficients of every width, steps and groups", () => {
    const coefficient = fc.oneof(fc.constantFrom(-(2 ** 31), 2 ** 31 - 1, 0, 1, -1), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
    const group = fc.nat(6).chain((m) =>
      fc.record({
        g: fc.nat(2 ** 24 - 1),
        m: fc.constant(m),
        p: fc.integer({ min: 19, max: 52 }),
        a: fc.array(coefficient, { minLength: 2 ** m, maxLength: 2 ** m }),
      }),
    );
    const groups = fc.uniqueArray(group, { minLength: 1, maxLength: 3, selector: ({ g }) => g });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), groups, fc.nat(999), (step, some, salt) => {
        const x = startOf(TENSORS, salt);
        const parameters = kernelWith(TENSORS, x);
        parameters.commit({ step, groups: some });
        commitPlain(x, TENSORS, KEY, { step, groups: some });
        expect(sameBits(readAll(parameters), x)).toBe(true);
      }),
      runs(40),
    );
  });
});

describe("perturbing", () => {
  /** Walks among directions of several groups; a walk never leaves the displacement that the spec bounds. */
  const walk = fc.array(fc.record({ group: fc.nat(2), k: fc.nat(255), n: fc.constantFrom(1, -1, 2, -2) }), { minLength: 1, maxLength: 12 });

  it("is restored exactly after any sequence within the spec's displacement", () => {
    const m = 8;
    const x = startOf(TENSORS);
    const parameters = kernelWith(TENSORS, x);
    const before = parameters.stateHash();
    fc.assert(
      fc.property(walk, fc.integer({ min: -18, max: -7 }), (moves, epsilonLog2) => {
        const undo: { group: number; moves: Move[] }[] = [];
        let displacement = 0;
        for (const { group, k, n } of moves) {
          // q + gain is at most 27: E <= 2^20 at epsilon = 2^-7, so 4 epsilons are the bound.
          if (displacement + Math.abs(n) > 4) {
            for (const back of undo.splice(0)) parameters.perturb({ step: 5, m, epsilonLog2, ...back });
            displacement = 0;
          }
          displacement += Math.abs(n);
          parameters.perturb({ step: 5, group, m, epsilonLog2, moves: [{ k, n }] });
          undo.push({ group, moves: [{ k, n: -n }] });
        }
        for (const back of undo.toReversed()) parameters.perturb({ step: 5, m, epsilonLog2, ...back });
        expect(parameters.stateHash()).toBe(before);
      }),
      runs(40),
    );
    expect(sameBits(readAll(parameters), x)).toBe(true);
  });

  it("undoes one direction and stands on the next in one pass", () => {
    const onePass = kernelWith(TENSORS, startOf(TENSORS));
    const twoPasses = kernelWith(TENSORS, startOf(TENSORS));
    const at = { step: 5, group: 1, m: 4, epsilonLog2: -10 };
    for (const parameters of [onePass, twoPasses]) parameters.perturb({ ...at, moves: [{ k: 3, n: 1 }] });
    onePass.perturb({
      ...at,
      moves: [
        { k: 3, n: -1 },
        { k: 4, n: 1 },
      ],
    });
    twoPasses.perturb({ ...at, moves: [{ k: 3, n: -1 }] });
    twoPasses.perturb({ ...at, moves: [{ k: 4, n: 1 }] });
    expect(onePass.stateHash()).toBe(twoPasses.stateHash());
  });

  it("is not clamped, and comes back from beyond the clamp", () => {
    const tensors = [tensor([200], 16)];
    const x = [new Int32Array(200).fill(LIM)];
    const parameters = kernelWith(tensors, x);
    parameters.perturbTensor(0, { step: 0, group: 0, m: 0 }, 0, 4 * 2 ** 20);
    expect(new Set(parameters.read(0))).toEqual(new Set([LIM + 2 ** 22, LIM - 2 ** 22]));
    parameters.perturbTensor(0, { step: 0, group: 0, m: 0 }, 0, -4 * 2 ** 20);
    expect(sameBits(readAll(parameters), x)).toBe(true);
  });
});

describe("parameters", () => {
  it("are viewed without a copy, exactly their elements, in units of 2^-q", () => {
    const parameters = kernelWith(TENSORS, startOf(TENSORS));
    const theta = parameters.view(2);
    expect([theta.buffer === parameters.memory.buffer, theta.length]).toEqual([true, 513]);
    parameters.commit(commitOf(1, groupOf(0, 3, 30)));
    expect([...theta]).toEqual([...parameters.read(2)].map((v) => v * 2 ** -24));
    expect([...parameters.read(2, 3, 5)]).toEqual([...parameters.read(2).subarray(3, 8)]);
    expect([...parameters.read(2, 511)]).toEqual([...parameters.read(2).subarray(511)]);
  });

  it("never hold -0, which would be another bit pattern of the same integer", () => {
    const parameters = kernelWith([tensor([300])], [new Int32Array(300)]);
    parameters.commit(commitOf(1, { g: 0, m: 1, p: 22, a: [0, 0] }));
    parameters.perturb({ step: 1, group: 0, m: 1, epsilonLog2: -10, moves: [{ k: 1, n: 1 }] });
    parameters.perturb({ step: 1, group: 0, m: 1, epsilonLog2: -10, moves: [{ k: 1, n: -1 }] });
    expect(new Uint8Array(parameters.memory.buffer, parameters.view(0).byteOffset, 1200).every((byte) => byte === 0)).toBe(true);
  });

  it("refuse to load what is no lattice point, or not of their size, and stay as they were", () => {
    const x = startOf(TENSORS);
    const parameters = kernelWith(TENSORS, x);
    expect(parameters.load(0, new Int32Array(5))).toEqual({ ok: false, code: "wrong-size", index: 5 });
    const outside = scattered(129, 1, 9);
    outside[100] = LIM + 1;
    expect(parameters.load(0, outside)).toEqual({ ok: false, code: "outside-lattice", index: 100 });
    outside[100] = -(2 ** 31);
    expect(parameters.load(0, outside)).toEqual({ ok: false, code: "outside-lattice", index: 100 });
    expect(sameBits(readAll(parameters), x)).toBe(true);
  });

  it("refuse a commit that is not valid before anything moves", () => {
    const x = startOf(TENSORS);
    const parameters = kernelWith(TENSORS, x);
    const valid = commitOf(1, groupOf(0, 3, 30));
    expect(() => parameters.replay([valid, commitOf(2, groupOf(0, 3, 55))])).toThrow("p = 55");
    expect(() => parameters.replay([valid, commitOf(2, groupOf(0, 3, 13))])).toThrow("p = 13");
    expect(() => parameters.replay([valid, commitOf(2, { g: 0, m: 2, p: 30, a: [1, 2, 3] })])).toThrow("3 coefficients");
    expect(() => parameters.replay([valid, commitOf(2, { g: 0, m: 17, p: 30, a: new Int32Array(2 ** 17) })])).toThrow("m = 17");
    expect(() => parameters.replay([valid, commitOf(2, groupOf(4, 3, 30), groupOf(4, 2, 30))])).toThrow("twice");
    expect(sameBits(readAll(parameters), x)).toBe(true);
  });

  it("tell the share of elements at the clamp", () => {
    const x = copies([Int32Array.of(LIM, -LIM, 5, LIM - 1), Int32Array.of(0, 1, 2, LIM)]);
    expect(kernelWith([tensor([4]), tensor([4], 16)], x).clampedShare()).toBe(3 / 8);
  });

  it("hash as the plain state does, over several leaves, short ones and an odd number", () => {
    const tensors = [tensor([65537]), tensor([3, 65536], 20), tensor([7], 16)];
    const x = startOf(tensors);
    expect(kernelWith(tensors, x).stateHash()).toBe(stateHash(x));
    expect(createParameters(tensors, KEY).stateHash()).toBe(stateHash(x.map((values) => values.map(() => 0))));
  });
});
