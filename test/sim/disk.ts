/** A ledger on a virtual disk: what is flushed outlives the process; what is on its way may be there afterwards, or not. */
import type { Random } from "./random.ts";
import type { Life, World } from "./world.ts";

export interface Disk {
  /** Flushed entries. */
  readonly entries: Uint8Array[];
  /** Calls back when the entry of place `seq`, which must be the next one, is flushed. */
  append(seq: number, bytes: Uint8Array, life: Life, flushed: () => void): void;
  /** Drops the entries from `seq` on and puts `bytes` there, both or neither. */
  replaceFrom(seq: number, bytes: Uint8Array, life: Life, flushed: () => void): void;
  /** The process died: what was being written is there by half the chance, whole or not at all, as a copy-on-write store has it. */
  crash(): void;
  /** Loses the newest `count` entries. */
  loseLast(count: number): void;
}

/** How much longer a disk that reports a flush early takes to make it true. */
const LYING_MS = 2_000;

export function createDisk(world: World, random: Random, flushMs: number, isLying: boolean): Disk {
  const entries: Uint8Array[] = [];
  let flushedCount = 0;
  let writing: { seq: number; bytes: Uint8Array } | null = null;
  return {
    entries,
    append(seq, bytes, life, flushed) {
      if (seq !== entries.length) throw new Error(`entry ${seq} does not follow ${entries.length - 1}`);
      if (isLying) {
        entries.push(bytes);
        world.after(LYING_MS, () => (flushedCount = Math.max(flushedCount, seq + 1)), life);
        return flushed();
      }
      const write = { seq, bytes };
      writing = write;
      world.after(
        flushMs,
        () => {
          writing = null;
          entries.push(bytes);
          flushed();
        },
        life,
      );
    },
    replaceFrom(seq, bytes, life, flushed) {
      world.after(
        flushMs,
        () => {
          entries.splice(seq, entries.length, bytes);
          flushed();
        },
        life,
      );
    },
    crash() {
      if (writing !== null && random.chance(0.5)) entries.push(writing.bytes);
      writing = null;
      if (isLying) entries.splice(flushedCount);
    },
    loseLast(count) {
      entries.splice(Math.max(0, entries.length - count));
    },
  };
}
