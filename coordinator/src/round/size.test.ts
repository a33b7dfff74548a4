import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { manifestOf } from "./driver.testing.ts";
import { directionsOf, epsilonFor, firstSize, resized, shareOfRate, sizeFor, stepSeconds } from "./size.ts";

const OPEN = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };
const manifest = (over: Partial<Manifest["job"]> = {}) => manifestOf("ab".repeat(32), { ...OPEN, estimator: "one-sided", ...over });
const jobOf = (over: Partial<Manifest["job"]> = {}) => manifest(over).job;
const swarm = { workers: 4, speed: 100, overhead: 0.1 };
const swarms = fc.record({
  workers: fc.integer({ min: 1, max: 300 }),
  speed: fc.double({ min: 0.1, max: 1e5, noNaN: true }),
  overhead: fc.double({ min: 0.01, max: 30, noNaN: true }),
});
const run = { seed: 7, numRuns: 500 };

describe("the size of a step", () => {
  it("is the square root of overhead, speed and knee, as a power of two in groups of 16", () => {
    // sqrt(0.1 x 100 x 512) = 71.6
    expect(sizeFor(swarm, jobOf())).toEqual({ groups: 4, directionsLog2: 4 });
    expect(sizeFor({ ...swarm, speed: 50, overhead: 0.01 }, jobOf())).toEqual({ groups: 1, directionsLog2: 4 });
    expect(sizeFor({ ...swarm, speed: 1600 }, jobOf())).toEqual({ groups: 16, directionsLog2: 4 });
  });

  it("takes the shortest time to a given loss of all powers of two, by the formula that it is from", () => {
    const timeOf = (one: typeof swarm, directions: number) => (stepSeconds(one, directions) * (1 + directions / 512)) / directions;
    fc.assert(
      fc.property(swarms, (one) => {
        const wanted = Math.sqrt(one.overhead * one.speed * 512);
        fc.pre(wanted > 4 * one.workers && wanted > 16 && wanted < 1000);
        const chosen = directionsOf(sizeFor(one, jobOf()));
        for (const other of [chosen / 2, chosen * 2])
          if (other >= 16) expect(timeOf(one, chosen)).toBeLessThanOrEqual(1.0001 * timeOf(one, other));
      }),
      run,
    );
  });

  it("grows with speed and with overhead, and is from 16 to 1024", () => {
    fc.assert(
      fc.property(swarms, fc.double({ min: 1, max: 100, noNaN: true }), (one, factor) => {
        const size = directionsOf(sizeFor(one, jobOf()));
        expect(size).toBeGreaterThanOrEqual(16);
        expect(size).toBeLessThanOrEqual(1024);
        expect(directionsOf(sizeFor({ ...one, speed: factor * one.speed }, jobOf()))).toBeGreaterThanOrEqual(size);
        expect(directionsOf(sizeFor({ ...one, overhead: factor * one.overhead }, jobOf()))).toBeGreaterThanOrEqual(size);
      }),
      run,
    );
  });

  it("gives everybody something to do: enough to be centred, where losses are one-sided", () => {
    const many = { workers: 60, speed: 1, overhead: 0.01 };
    expect(directionsOf(sizeFor(many, jobOf()))).toBe(256);
    expect(directionsOf(sizeFor(many, jobOf({ estimator: "two-sided" })))).toBe(64);
  });

  it("of the first steps gives everybody something to do, as far as its budget is large enough", () => {
    const sizes = [1, 4, 5, 64, 10_000].map((workers) => directionsOf(firstSize(workers, jobOf())));
    expect(sizes).toEqual([16, 16, 16, 256, 1024]);
    const stop = { target: null, patience: null, forwards: 6400 };
    expect(directionsOf(firstSize(64, jobOf({ stop })))).toBe(64);
    expect(directionsOf(firstSize(64, jobOf({ stop, estimator: "two-sided" })))).toBe(32);
    expect(firstSize(64, jobOf({ groups: 3, directionsLog2: 4 }))).toEqual({ groups: 3, directionsLog2: 4 });
    expect(firstSize(1, jobOf({ groups: 3 }))).toEqual({ groups: 3, directionsLog2: 4 });
  });

  it("leaves a budget of forward passes enough steps to be steered", () => {
    const stop = { target: null, patience: null, forwards: 960 };
    expect(directionsOf(sizeFor({ ...swarm, speed: 1e5 }, jobOf({ stop })))).toBe(32);
    expect(directionsOf(sizeFor({ ...swarm, speed: 1e5 }, jobOf({ stop, estimator: "two-sided" })))).toBe(16);
  });

  it("keeps what the job file pins", () => {
    fc.assert(
      fc.property(swarms, fc.integer({ min: 1, max: 64 }), fc.integer({ min: 2, max: 16 }), (one, groups, directionsLog2) => {
        expect(sizeFor(one, jobOf({ groups })).groups).toBe(groups);
        expect(sizeFor(one, jobOf({ directionsLog2 })).directionsLog2).toBe(directionsLog2);
        expect(sizeFor(one, jobOf({ groups, directionsLog2 }))).toEqual({ groups, directionsLog2 });
        for (const size of [sizeFor(one, jobOf({ groups })), sizeFor(one, jobOf({ directionsLog2 }))]) {
          expect(Number.isInteger(size.groups) && Number.isInteger(size.directionsLog2)).toBe(true);
          expect(size.groups).toBeLessThanOrEqual(64);
          expect(directionsOf(size)).toBeLessThanOrEqual(65_536);
        }
      }),
      run,
    );
  });
});

describe("steps of another size", () => {
  const settings = { rate: 1e-3, epsilonLog2: -8, groups: 1, directionsLog2: 4, probing: false, reference: null };

  it("are shorter where many directions run into the gradient's own curvature, and back again as long", () => {
    const large = resized(settings, { groups: 32, directionsLog2: 4 }, manifest());
    expect(large.rate).toBeCloseTo((1e-3 * (1 + 16 / 512)) / 2, 9);
    expect(resized(large, { groups: 1, directionsLog2: 4 }, manifest()).rate).toBeCloseTo(1e-3, 12);
    expect(shareOfRate(512)).toBe(0.5);
  });

  it("are measured about as far away as they are long, within bounds; a pinned epsilon stays", () => {
    expect(epsilonFor(manifest(), 1e-3, 16)).toBe(-8);
    expect([epsilonFor(manifest(), 1e-9, 16), epsilonFor(manifest(), 1, 1024)]).toEqual([-12, -7]);
    expect(epsilonFor(manifest({ epsilonLog2: -3 }), 1e-3, 16)).toBe(-3);
    const coarse = { ...manifest(), tensors: [{ name: "w", shape: [4], q: 8, gain: 0 }] };
    expect(epsilonFor(coarse, 1e-9, 16)).toBe(-8);
  });
});
