/** What a commit says to the arithmetic: integers only (shared/spec/arithmetic.md 5). */
import type { TensorSpec } from "./lattice.ts";
import { shiftOf } from "./table.ts";

export interface GroupCommit {
  /** Group number, 0..2^24-1. */
  g: number;
  /** K = 2^m directions, 0 <= m <= 16. */
  m: number;
  /** Binary exponent: direction k moves theta by a_k * 2^-p, times the tensor's gain. */
  p: number;
  /** 2^m int32 coefficients. */
  a: ArrayLike<number>;
}

export interface Commit {
  step: number;
  groups: readonly GroupCommit[];
}

/** Throws RangeError where a commit has no meaning for these tensors, so that nothing moves for half of it. */
export function requireMeaning({ groups }: Commit, tensors: readonly TensorSpec[]): void {
  const exponents = new Set(tensors.map(({ q, gain }) => q + gain));
  if (new Set(groups.map(({ g }) => g)).size < groups.length) throw new RangeError("a group stands twice in a commit");
  for (const { m, p, a } of groups) {
    if (!Number.isInteger(m) || m < 0 || m > 16) throw new RangeError(`a group of a commit has m = ${m}; 0..16 is allowed`);
    if (a.length !== 2 ** m) throw new RangeError(`a group of a commit has ${a.length} coefficients; m = ${m} needs ${2 ** m}`);
    for (const qPrime of exponents) shiftOf(p, qPrime);
  }
}
