/** What the tests of the arithmetic share: one key, reproducible parameters and coefficients, and a fixed seed for every property. */
import type { Commit, GroupCommit } from "./commit.ts";
import { createParameters, type Parameters } from "./kernel.ts";
import { elementsOf, type Key, LIM, type TensorSpec } from "./lattice.ts";

export const KEY: Key = [0x01234567, 0x89abcdef, 0xdeadbeef, 0x0badcafe];

/** Properties draw the same examples on every machine. */
export const runs = (numRuns: number) => ({ seed: 20_240_601, numRuns });

export const tensor = (shape: readonly number[], q = 22, gain = 0): TensorSpec => ({ name: `[${shape}]`, shape, q, gain });

/** n integers in -bound..bound, different for every salt. */
export function scattered(n: number, salt: number, bound: number): Int32Array {
  return Int32Array.from(
    { length: n },
    (_, i) => ((Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b)) >>> 0) % (2 * bound + 1),
  ).map((v) => v - bound);
}

/** Parameters within +-bound for each tensor. */
export function startOf(tensors: readonly TensorSpec[], salt = 0, bound = LIM): Int32Array[] {
  return tensors.map(({ shape }, t) => scattered(elementsOf(shape), salt + t, bound));
}

export function groupOf(g: number, m: number, p: number, bound = 2 ** 15 - 1, salt = g): GroupCommit {
  return { g, m, p, a: scattered(2 ** m, salt + 77, bound) };
}

export const commitOf = (step: number, ...groups: GroupCommit[]): Commit => ({ step, groups });

/** The kernel's parameters, loaded with a copy of x. */
export function kernelWith(tensors: readonly TensorSpec[], x: readonly Int32Array[], firstTensor = 0): Parameters {
  const parameters = createParameters(tensors, KEY, firstTensor);
  x.forEach((values, t) => {
    const set = parameters.load(t, values);
    if (!set.ok) throw new Error(`${set.code} at ${set.index}`);
  });
  return parameters;
}

export const readAll = (parameters: Parameters): Int32Array[] => parameters.tensors.map((_, t) => parameters.read(t));
export const copies = (x: readonly Int32Array[]): Int32Array[] => x.map((values) => values.slice());

/** Whether two sets of tensors hold the same integers: far quicker than a deep comparison, which boxes every element. */
export function sameBits(one: readonly Int32Array[], other: readonly Int32Array[]): boolean {
  return one.length === other.length && one.every((x, t) => Buffer.compare(bytesOf(x), bytesOf(other[t] as Int32Array)) === 0);
}

const bytesOf = (x: Int32Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
