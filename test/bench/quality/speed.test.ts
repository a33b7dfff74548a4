import { expect, it } from "vitest";
import { type Run, speedsOf } from "./speed.ts";

const runOf = (workers: number, seconds: number): Run => ({
  ...{ workers, seed: 1, isReached: true, seconds, crossedSeconds: seconds - 1, probeSeconds: 1, steps: 10, loss: 3, forwards: 160 },
  ...{ directions: [16], decisions: [], evaluations: [], stateHash: "" },
});

it("compares mean times with one worker's, by workers and by the cores that they share", () => {
  const [one, four] = speedsOf([runOf(1, 20), runOf(1, 22), runOf(4, 14)], 2);
  expect(one).toMatchObject({ workers: 1, seconds: 21, speedup: 1, efficiency: 1, crossedEfficiency: 1, efficiencyByCores: 1 });
  expect(four).toMatchObject({ workers: 4, seconds: 14, speedup: 1.5, efficiency: 0.375, efficiencyByCores: 0.75 });
  expect(four?.crossedEfficiency).toBeCloseTo(20 / 13 / 4);
});

it("says of no efficiency what nobody measured", () => {
  expect(speedsOf([runOf(4, 14)])).toEqual([expect.objectContaining({ speedup: null, efficiency: null, crossedEfficiency: null })]);
  expect(speedsOf([])).toEqual([]);
});
