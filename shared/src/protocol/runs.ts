/**
 * Contributors of a step's slots as runs, packed: for each run the difference of its roster number to the one before (zigzag), then how
 * many slots, both as LEB128. With ten thousand workers a commit's contributors would else be most of what it costs to read.
 */
import { LIMITS } from "./limits.ts";

/** [number in the roster, 0 for nobody; slots]. */
export type ContributorRun = [who: number, slots: number];

/** Bytes of a number below 2^35. */
const NUMBER_BYTES_MAX = 5;

export function packRuns(runs: readonly ContributorRun[]): Uint8Array {
  const bytes: number[] = [];
  const put = (value: number) => {
    let left = value;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
    bytes.push(left);
  };
  let before = 0;
  for (const [who, slots] of runs) {
    const difference = who - before;
    put(difference < 0 ? -2 * difference - 1 : 2 * difference);
    put(slots);
    before = who;
  }
  return Uint8Array.from(bytes);
}

/** Null where the bytes are no runs of roster numbers below 2^32, or speak of more slots than a step may have. */
export function unpackRuns(bytes: Uint8Array): ContributorRun[] | null {
  let at = 0;
  const next = (): number | null => {
    let value = 0;
    for (let i = 0; i < NUMBER_BYTES_MAX; i++) {
      const byte = bytes[at++];
      if (byte === undefined) return null;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    return null;
  };
  const runs: ContributorRun[] = [];
  let total = 0;
  for (let who = 0; at < bytes.byteLength; ) {
    const zigzag = next();
    const slots = next();
    if (zigzag === null || slots === null) return null;
    who += zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
    total += slots;
    if (who < 0 || who > 0xffffffff || slots < 1 || total > LIMITS.directionsPerStepMax) return null;
    runs.push([who, slots]);
  }
  return runs;
}
