import { expect, test } from "vitest";
import { generator } from "../e2e/tinyjob.ts";
import { nextFault, VICTIMS } from "./faults.ts";
import { judgeLife, LIFE_SECONDS_MIN, slope } from "./judge.ts";
import type { Sample } from "./samples.ts";

/** A life of so many seconds, a sample every two, from what it holds at a time. */
const life = (seconds: number, at: (seconds: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: seconds / 2 }, (_, i) => ({
    ...{ seconds: 2 * i, rssBytes: 300e6, heapBytes: 50e6, handles: 40, timers: 5, resources: 20 },
    ...at(2 * i),
  }));
const faultsOf = (samples: Sample[]) => judgeLife("ada", 1, samples).faults;

test("a slope is that of the best line", () => {
  expect(
    slope([
      [0, 1],
      [1, 3],
      [2, 5],
    ]),
  ).toBeCloseTo(2);
  expect(
    slope([
      [0, 1],
      [1, 0],
      [2, 1],
      [3, 0],
    ]),
  ).toBeCloseTo(-0.2);
  expect(slope([[1, 1]])).toBe(0);
});

test("what grows in the warm-up, or goes up and down, is flat", () => {
  expect(faultsOf(life(600, (s) => ({ rssBytes: 300e6 + Math.min(s, 50) * 4e6 })))).toEqual([]);
  expect(faultsOf(life(600, (s) => ({ rssBytes: 300e6 + (s % 60) * 2e6, handles: 40 + (s % 8), timers: s % 10 })))).toEqual([]);
  expect(
    judgeLife(
      "ada",
      1,
      life(600, () => ({})),
    ).rssMbPerHour,
  ).toBeCloseTo(0);
});

test("memory, handles or timers that only grow are told", () => {
  const grows = judgeLife(
    "ada",
    1,
    life(600, (s) => ({ rssBytes: 300e6 + s * 0.2e6 })),
  );
  expect(grows.rssMbPerHour).toBeCloseTo(720);
  expect(grows.faults).toEqual([expect.stringContaining("memory grew")]);
  expect(faultsOf(life(600, (s) => ({ handles: 40 + Math.floor(s / 20) })))).toEqual([
    expect.stringContaining("43 open handles became 69"),
  ]);
  expect(faultsOf(life(600, (s) => ({ timers: Math.floor(s / 20) })))).toEqual([expect.stringContaining("3 timers became 29")]);
});

test("a short life says nothing of its memory", () => {
  expect(
    judgeLife(
      "ada",
      1,
      life(LIFE_SECONDS_MIN - 2, (s) => ({ rssBytes: s * 1e9 })),
    ),
  ).toMatchObject({ rssMbPerHour: null, faults: [] });
  expect(judgeLife("ada", 1, [])).toMatchObject({ seconds: 0, faults: [] });
});

test("a seed draws the same faults, for everybody and of every kind", () => {
  const drawn = (seed: number) => {
    const random = generator(seed);
    return Array.from({ length: 200 }, () => nextFault(random));
  };
  expect(drawn(3)).toEqual(drawn(3));
  expect(drawn(3)).not.toEqual(drawn(4));
  expect(new Set(drawn(3).map(({ victim, signal }) => `${victim} ${signal}`)).size).toBe(3 * VICTIMS.length);
});
