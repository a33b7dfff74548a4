/** Virtual time: a queue of things to happen, in order of time and, at one time, of asking. Nothing here knows a real clock. */
import { createHash } from "node:crypto";

/** One run of a process: what it left to happen does not, once it is over. */
export interface Life {
  alive: boolean;
}

export interface World {
  readonly nowMs: number;
  /** Things that have happened. */
  readonly happened: number;
  /** Does `work` later, unless the life it belongs to is over by then. */
  after(ms: number, work: () => void, life?: Life): void;
  /** Makes the next thing happen; false where there is none. */
  advance(): boolean;
  note(who: string, what: string): void;
  /** The lines noted so far, where they are kept; their hash in any case. */
  readonly lines: readonly string[];
  traceHash(): string;
}

interface Pending {
  atMs: number;
  order: number;
  work: () => void;
  life: Life | undefined;
}

/** `keepMax`: how many of the newest lines are kept. */
export function createWorld(keepMax: number, print?: (line: string) => void): World {
  const heap: Pending[] = [];
  const lines: string[] = [];
  const hash = createHash("sha256");
  let nowMs = 0;
  let order = 0;
  let happened = 0;
  const sooner = (one: Pending, other: Pending) => one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);

  function push(pending: Pending): void {
    let at = heap.push(pending) - 1;
    for (let up = (at - 1) >> 1; at > 0 && sooner(pending, heap[up] as Pending); at = up, up = (at - 1) >> 1)
      heap[at] = heap[up] as Pending;
    heap[at] = pending;
  }
  function pop(): Pending | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && sooner(heap[down + 1] as Pending, heap[down] as Pending)) down++;
      if (!sooner(heap[down] as Pending, last)) break;
      heap[at] = heap[down] as Pending;
      at = down;
    }
    heap[at] = last;
    return first;
  }

  return {
    get nowMs() {
      return nowMs;
    },
    get happened() {
      return happened;
    },
    lines,
    after(ms, work, life) {
      push({ atMs: nowMs + Math.max(0, ms), order: order++, work, life });
    },
    advance() {
      const next = pop();
      if (next === undefined) return false;
      nowMs = next.atMs;
      happened++;
      if (next.life?.alive !== false) next.work();
      return true;
    },
    note(who, what) {
      const line = `${(nowMs / 1000).toFixed(4).padStart(10)}  ${who.padEnd(12)} ${what}`;
      hash.update(line).update("\n");
      print?.(line);
      if (keepMax === 0) return;
      lines.push(line);
      if (lines.length > 2 * keepMax) lines.splice(0, lines.length - keepMax);
    },
    traceHash: () => hash.copy().digest("hex"),
  };
}
