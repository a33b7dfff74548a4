/** The real reducers under faults that a seed draws: 300 seeds hold every invariant, and each invariant notices a deliberate bug. */
import { describe, expect, it } from "vitest";
import { MUTATIONS } from "./mutations.ts";
import { simulate } from "./simulate.ts";
import { INVARIANTS } from "./violation.ts";

const SEEDS = 300;
const PER_TEST = 50;
/** Seeds within which a bug must be noticed; most are at the first. */
const NOTICED_WITHIN = 400;

const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

describe("the simulator", () => {
  it.each(range(0, SEEDS / PER_TEST).map((part) => [1 + part * PER_TEST, (part + 1) * PER_TEST]))(
    "holds every invariant, seeds %d to %d",
    (from, to) => {
      const failures = range(from, to - from + 1)
        .map((seed) => simulate({ seed }))
        .filter(({ failure }) => failure !== null)
        .map(({ seed, failure }) => `npm run sim -- --seed ${seed}: ${failure?.message}`);
      expect(failures).toEqual([]);
    },
  );

  it("draws faults: processes die, jobs reach their target all the same", () => {
    const outcomes = range(1, 30).map((seed) => simulate({ seed }));
    expect(outcomes.reduce((n, { deaths }) => n + deaths, 0)).toBeGreaterThan(30);
    expect(outcomes.filter(({ scenario }) => Number.isFinite(scenario.faults.partitionEveryMs)).length).toBeGreaterThan(5);
  });

  it.each([7, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER])("replays seed %d exactly", (seed) => {
    const [one, again, other] = [simulate({ seed }), simulate({ seed }), simulate({ seed: seed - 1 })];
    expect(again.traceHash).toBe(one.traceHash);
    expect(other.traceHash).not.toBe(one.traceHash);
  });

  it("runs the swarm that it is asked for", () => {
    const { scenario, steps } = simulate({ seed: 3, workers: 5, steps: 4 });
    expect([scenario.workers, scenario.machines.length, steps]).toEqual([5, 5, 4]);
  });
});

describe("a deliberate bug", () => {
  it.each(Object.entries(MUTATIONS))("%s is noticed", (mutate, { breaks, workers }) => {
    const noticed = range(1, NOTICED_WITHIN).find((seed) => simulate({ seed, workers, mutate }).failure?.invariant === breaks);
    expect(noticed, `no seed up to ${NOTICED_WITHIN} violates ${breaks}`).toBeDefined();
  });

  it("is there for every invariant", () => {
    expect(new Set(Object.values(MUTATIONS).map(({ breaks }) => breaks))).toEqual(new Set(INVARIANTS));
  });
});
