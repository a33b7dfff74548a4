/** What the samples of a process's life say: whether its memory is flat, and whether it holds more and more. Pure. */
import type { Sample } from "./samples.ts";

/** A process takes what it needs, and JavaScript is compiled, in this time; a life must go on as long again to say anything. */
export const WARM_UP_SECONDS = 60;
export const LIFE_SECONDS_MIN = 180;
/** Growth over a life that counts as flat: the collector's mood. */
const GROWTH_SHARE_MAX = 0.2;
/** Handles and timers that may come with connections, downloads and requests under way. */
const MORE_HELD_MAX = 16;

export interface Life {
  name: string;
  pid: number;
  seconds: number;
  /** Least squares over the life after its warm-up; null where it was too short. */
  rssMbPerHour: number | null;
  heapMbPerHour: number | null;
  rssMb: number;
  /** At the end of the warm-up and at the end of the life. */
  handles: [number, number] | null;
  timers: [number, number] | null;
  faults: string[];
}

/** Least-squares slope of y over x. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [mx, my] = [mean(0), mean(1)];
  const over = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  const under = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  return under === 0 ? 0 : over / under;
}

export function judgeLife(name: string, pid: number, samples: readonly Sample[]): Life {
  const last = samples.at(-1);
  const settled = samples.filter(({ seconds }) => seconds >= WARM_UP_SECONDS);
  const first = settled[0];
  const seconds = last?.seconds ?? 0;
  const rssMb = (last?.rssBytes ?? 0) / 1e6;
  if (first === undefined || last === undefined || seconds < LIFE_SECONDS_MIN)
    return { name, pid, seconds, rssMbPerHour: null, heapMbPerHour: null, rssMb, handles: null, timers: null, faults: [] };
  const perHour = (of: (sample: Sample) => number) => slope(settled.map((sample) => [sample.seconds / 3600, of(sample) / 1e6]));
  const rssMbPerHour = perHour(({ rssBytes }) => rssBytes);
  const handles: [number, number] | null = first.handles === null || last.handles === null ? null : [first.handles, last.handles];
  const timers: [number, number] = [first.timers, last.timers];
  const mean = settled.reduce((sum, { rssBytes }) => sum + rssBytes / 1e6, 0) / settled.length;
  const grownMb = (rssMbPerHour * (seconds - first.seconds)) / 3600;
  const faults = [
    ...(grownMb > GROWTH_SHARE_MAX * mean
      ? [`memory grew by ${grownMb.toFixed(0)} MB of ${mean.toFixed(0)} MB in ${seconds.toFixed(0)} s`]
      : []),
    ...(handles !== null && handles[1] - handles[0] > MORE_HELD_MAX ? [`${handles[0]} open handles became ${handles[1]}`] : []),
    ...(timers[1] - timers[0] > MORE_HELD_MAX ? [`${timers[0]} timers became ${timers[1]}`] : []),
  ];
  return { name, pid, seconds, rssMbPerHour, heapMbPerHour: perHour(({ heapBytes }) => heapBytes), rssMb, handles, timers, faults };
}
