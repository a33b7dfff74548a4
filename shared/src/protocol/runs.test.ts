import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "./limits.ts";
import { type ContributorRun, packRuns, unpackRuns } from "./runs.ts";

test("any runs come back, and neighbours in the roster cost two bytes", () => {
  const run = fc.tuple(fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffffffff })), fc.integer({ min: 1, max: 400 }));
  fc.assert(
    fc.property(fc.array(run, { maxLength: 100 }), (runs) => {
      expect(unpackRuns(packRuns(runs))).toEqual(runs);
    }),
  );
  const row = Array.from({ length: 1000 }, (_, i): ContributorRun => [i + 1, 3]);
  expect(packRuns(row).byteLength).toBe(2000);
});

test("what is no runs is refused, whatever it claims", () => {
  const most = LIMITS.directionsPerStepMax;
  expect(unpackRuns(packRuns([[0xffffffff, most]]))).toEqual([[0xffffffff, most]]);
  for (const bad of [
    [2],
    [2, 0],
    [1, 1],
    [0x80],
    [0x80, 0x80, 0x80, 0x80, 0x80, 1],
    [2, ...packRuns([[0, most + 1]]).slice(1)],
    [0, 0xff, 0xff, 3, 0, 2],
    [0xff, 0xff, 0xff, 0xff, 0x7f, 1],
  ])
    expect(unpackRuns(Uint8Array.from(bad))).toBe(null);
});
