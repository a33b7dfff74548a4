/**
 * Vector files: the format of shared/spec/arithmetic.md, and each case recomputed by both implementations of the arithmetic.
 * A fault of one implementation is a failure of that case, never of the run.
 */
import { createHash } from "node:crypto";
import { applyTable, commitPlain, perturbPlain } from "@zoswarm/shared/zo/apply";
import type { Commit } from "@zoswarm/shared/zo/commit";
import { createParameters } from "@zoswarm/shared/zo/kernel";
import { elementsOf, type Key, LIM, type TensorSpec } from "@zoswarm/shared/zo/lattice";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { commitTable, ditherWords, walsh } from "@zoswarm/shared/zo/table";
import { threefry } from "@zoswarm/shared/zo/threefry";
import * as z from "zod";

const u32 = z.int().min(0).max(0xffffffff);
const key = z.tuple([u32, u32, u32, u32]);
const formula = z.object({ n: z.int().min(1), salt: u32, shift: z.int().min(0).max(31), offset: z.int() });
const start = z.union([z.object({ x: z.array(z.int()) }), formula]);
const coefficients = z.union([z.array(z.int()), formula]);
const group = z.object({ g: u32, m: z.int().min(0).max(16), p: z.int(), a: coefficients });
const entry = z.object({
  step: u32.optional(),
  groups: z.array(group).optional(),
  restore: z.int().min(-1).optional(),
  stateHash: z.string().optional(),
});
const at = { step: u32, group: u32, m: z.int().min(0).max(16) };
const op = z.discriminatedUnion("op", [
  z.object({ op: z.literal("perturb"), ...at, k: z.int(), amount: z.int() }),
  z.object({ op: z.literal("commit"), ...at, p: z.int(), a: coefficients }),
]);
const vectorCase = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("threefry"), name: z.string(), key, counter: key, expect: z.object({ words: z.array(z.string()) }) }),
  z.object({
    kind: z.literal("apply"),
    name: z.string(),
    key,
    tensor: u32,
    q: z.int(),
    start,
    ops: z.array(op),
    expect: z.object({
      n: z.int(),
      head: z.array(z.int()),
      clamped: z.int(),
      sha256: z.string(),
      stateHash: z.string(),
      lastV: z.array(z.int()).optional(),
    }),
  }),
  z.object({
    kind: z.literal("replay"),
    name: z.string(),
    key,
    tensors: z.array(z.object({ shape: z.array(z.int().min(1)), q: z.int(), gain: z.int().default(0), start })),
    entries: z.array(entry),
    expect: z.object({ stateHash: z.string(), tensors: z.array(z.string()) }),
  }),
]);
export const vectorFile = z.object({ version: z.literal(1), cases: z.array(vectorCase).min(1) });
export type VectorCase = z.output<typeof vectorCase>;
type ApplyCase = Extract<VectorCase, { kind: "apply" }>;
type ReplayCase = Extract<VectorCase, { kind: "replay" }>;

/** Recomputes a case by every implementation that it concerns; the values should equal `expect`. */
export function implementationsOf(one: VectorCase): { implementation: string; compute: () => unknown }[] {
  switch (one.kind) {
    case "threefry":
      return [
        {
          implementation: "plain",
          compute: () => ({ words: threefry(one.key, ...one.counter).map((word) => word.toString(16).padStart(8, "0")) }),
        },
      ];
    case "apply":
      return [
        { implementation: "plain", compute: () => applyPlain(one) },
        { implementation: "kernel", compute: () => applyKernel(one) },
      ];
    case "replay":
      return [
        { implementation: "plain", compute: () => replayPlain(one) },
        { implementation: "kernel", compute: () => replayKernel(one) },
        { implementation: "kernel, block by block", compute: () => replayKernel(one, true) },
      ];
  }
}

function hashed(value: number, { salt, shift, offset }: z.output<typeof formula>): number {
  return ((Math.imul(value, 0x9e3779b1) + salt) >>> shift) - offset;
}

/** X of a case: an explicit list, or the formula of the format. */
function startOf(from: z.output<typeof start>): Int32Array {
  return "x" in from ? Int32Array.from(from.x) : Int32Array.from({ length: from.n }, (_, i) => hashed(i, from));
}

function coefficientsOf(a: z.output<typeof coefficients>): Int32Array {
  return Array.isArray(a) ? Int32Array.from(a) : Int32Array.from({ length: a.n }, (_, k) => hashed(k + 1, a));
}

function commitOf(step: number, groups: readonly z.output<typeof group>[]): Commit {
  return { step, groups: groups.map(({ g, m, p, a }) => ({ g, m, p, a: coefficientsOf(a) })) };
}

const sha256 = (x: Int32Array) =>
  createHash("sha256")
    .update(new Uint8Array(x.buffer, x.byteOffset, x.byteLength))
    .digest("hex");

function described(x: Int32Array, lastV: number[] | undefined) {
  return {
    n: x.length,
    head: [...x.subarray(0, 8)],
    clamped: x.reduce((n, v) => n + (Math.abs(v) === LIM ? 1 : 0), 0),
    sha256: sha256(x),
    stateHash: stateHash([x]),
    ...(lastV && { lastV }),
  };
}

/** The first 8 of the last commit's V, from the table that both implementations share. */
function lastV({ key, q, ops }: ApplyCase): number[] | undefined {
  const last = ops.findLast((each) => each.op === "commit");
  return last && [...commitTable(walsh(coefficientsOf(last.a)), ditherWords(key, last.step, last.group, last.m), last.p, q).subarray(0, 8)];
}

function applyPlain(one: ApplyCase) {
  const x = startOf(one.start);
  for (const each of one.ops) {
    const where = { tensor: one.tensor, step: each.step, group: each.group, m: each.m };
    if (each.op === "perturb") perturbPlain(x, one.key, where, each.k, each.amount);
    else
      applyTable(
        x,
        one.key,
        where,
        commitTable(walsh(coefficientsOf(each.a)), ditherWords(one.key, each.step, each.group, each.m), each.p, one.q),
        true,
      );
  }
  return described(x, lastV(one));
}

function applyKernel(one: ApplyCase) {
  const x = startOf(one.start);
  const parameters = loaded([{ name: "x", shape: [x.length], q: one.q, gain: 0 }], one.key, [x], one.tensor);
  for (const each of one.ops) {
    if (each.op === "perturb") parameters.perturbTensor(0, each, each.k, each.amount);
    else parameters.commit(commitOf(each.step, [{ g: each.group, m: each.m, p: each.p, a: each.a }]));
  }
  return { ...described(parameters.read(0), lastV(one)), stateHash: parameters.stateHash() };
}

function loaded(tensors: readonly TensorSpec[], key: Key, x: readonly Int32Array[], firstTensor = 0) {
  const parameters = createParameters(tensors, key, firstTensor);
  x.forEach((values, t) => {
    const set = parameters.load(t, values);
    if (!set.ok) throw new Error(`${set.code} at element ${set.index} of tensor ${t}`);
  });
  return parameters;
}

/** The commits that lead to the state after each entry: a restore goes back to those of an earlier step. */
function* branches(entries: ReplayCase["entries"]) {
  const after = new Map<number, Commit[]>([[-1, []]]);
  let branch: Commit[] = [];
  let last = -1;
  for (const { step, groups, restore, stateHash } of entries) {
    if (restore !== undefined) {
      const earlier = after.get(restore);
      if (earlier === undefined) throw new Error(`restore of step ${restore}, which was never committed`);
      branch = earlier;
    } else if (step !== undefined && groups !== undefined) {
      if (step <= last) throw new Error(`step ${step} does not ascend`);
      last = step;
      branch = [...branch, commitOf(step, groups)];
      after.set(step, branch);
    }
    yield { branch, stateHash };
  }
}

const specsOf = (one: ReplayCase) => one.tensors.map(({ shape, q, gain }, t) => ({ name: String(t), shape, q, gain }));

function startsOf(one: ReplayCase): Int32Array[] {
  return one.tensors.map(({ shape, start }) => {
    const x = startOf(start);
    if (x.length !== elementsOf(shape)) throw new Error(`a tensor of shape [${shape}] starts with ${x.length} elements`);
    return x;
  });
}

function replayPlain(one: ReplayCase) {
  let x = startsOf(one);
  for (const { branch, stateHash: stated } of branches(one.entries)) {
    if (stated === undefined) continue;
    x = afterCommits(one, branch);
    if (stateHash(x) !== stated) throw new Error("the state hash of an entry differs");
  }
  x = afterCommits(one, [...branches(one.entries)].at(-1)?.branch ?? []);
  return { stateHash: stateHash(x), tensors: x.map(sha256) };
}

function afterCommits(one: ReplayCase, commits: readonly Commit[]): Int32Array[] {
  const x = startsOf(one);
  for (const commit of commits) commitPlain(x, specsOf(one), one.key, commit);
  return x;
}

function replayKernel(one: ReplayCase, blocked = false) {
  const parameters = loaded(specsOf(one), one.key, startsOf(one));
  const commits = [...branches(one.entries)].at(-1)?.branch ?? [];
  if (blocked) parameters.replay(commits);
  else for (const commit of commits) parameters.commit(commit);
  return { stateHash: parameters.stateHash(), tensors: one.tensors.map((_, t) => sha256(parameters.read(t))) };
}
