/** What a commit says to the arithmetic: integers only (shared/spec/arithmetic.md 5). */

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
