/**
 * The kernel's binary in a memory, and what it reads there beside theta; kernel.as.ts names the same layout. Reads its own file and
 * nothing else.
 */
import { readFileSync } from "node:fs";
import type { Key } from "./threefry.ts";

/** Moves that `fuse` makes in one pass. */
export const FUSED = 4;
/** A move, as u32: step, group, address of the table, m, A, B. */
export const MOVE_BYTES = 24;
/** Sign bit, key schedule, room for the words of 16 blocks, a sink. */
export const WORK_BYTES = 16 + 24 * 16 + 256 + 16;

/** Addresses and counts in the kernel's memory; `move` is an address of MOVE_BYTES, `work` one of WORK_BYTES. */
export interface KernelExports {
  perturb(theta: number, blocks: number, first: number, t: number, move: number, work: number): void;
  update(theta: number, blocks: number, first: number, t: number, move: number, work: number, limit: number): void;
  fuse(theta: number, blocks: number, first: number, t: number, moves: number, work: number): void;
  generate(t: number, count: number, move: number, work: number, out: number): void;
  largest(theta: number, blocks: number): number;
  toIntegers(theta: number, x: number, count: number, scale: number): void;
  addConstant(f: number, count: number, c: number): void;
}

const module = new WebAssembly.Module(readFileSync(new URL("kernel.wasm", import.meta.url)));

/** The kernel over `memory`, with its constants for `key` written at `work`. */
export function instantiate(memory: WebAssembly.Memory, work: number, key: Key): KernelExports {
  new Uint32Array(memory.buffer, work, WORK_BYTES / 4).set(constants(key));
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as KernelExports;
}

/** The sign bit, then the key schedule of the generator (spec 2): each word in four lanes, the first with the lanes' block offsets. */
function constants(key: Key): Uint32Array {
  const schedule = [...key, 0x1bd11bda ^ key[0] ^ key[1] ^ key[2] ^ key[3]];
  const words = [0, 1, 2, 3, 4, 5].flatMap((j) =>
    [0, 1, 2, 3].flatMap((i) => {
      const word = (schedule[(j + i) % 5] as number) + (i === 3 ? j : 0);
      return [0, 1, 2, 3].map((lane) => (word + (i === 0 && j === 0 ? lane : 0)) >>> 0);
    }),
  );
  return Uint32Array.from([...Array<number>(4).fill(2 ** 31), ...words]);
}
