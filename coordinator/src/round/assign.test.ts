import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Candidate, runsOf, shareSlots, slotsIn, slowestOf } from "./assign.ts";

const upTo = (n: number) => Array.from({ length: n }, (_, slot) => slot);
const workers = (...speeds: (number | null)[]): Candidate[] => speeds.map((speed, i) => ({ id: `w${i}`, speed }));
/** How many slots each candidate gets; nothing counts as 0. */
const sizes = (slots: readonly number[], candidates: readonly Candidate[], oneSided = false) => {
  const shares = shareSlots(slots, candidates, oneSided);
  return candidates.map(({ id }) => shares.get(id)?.length ?? 0);
};

const speeds = fc.array(fc.option(fc.double({ min: 0.01, max: 1000, noNaN: true }), { freq: 4 }), { minLength: 1, maxLength: 12 });
/** Ascending slots, with gaps as they are where some are answered already. */
const someSlots = fc.uniqueArray(fc.nat(99), { maxLength: 60 }).map((slots) => slots.sort((one, other) => one - other));
const property = (holds: (slots: number[], candidates: Candidate[], oneSided: boolean) => void) =>
  fc.assert(
    fc.property(someSlots, speeds, fc.boolean(), (slots, each, oneSided) => holds(slots, workers(...each), oneSided)),
    { seed: 7, numRuns: 300 },
  );

describe("shares", () => {
  it("are pieces of the slots in the candidates' order that cover every slot once", () => {
    property((slots, candidates, oneSided) => {
      const shares = shareSlots(slots, candidates, oneSided);
      expect([...shares.values()].flat()).toEqual(slots);
      const ids = candidates.map(({ id }) => id);
      expect([...shares.keys()]).toEqual(ids.filter((id) => shares.has(id)));
    });
  });

  it("are one run each where the slots are", () => {
    const shares = shareSlots(upTo(100), workers(1, 7, 3, null, 2), false);
    expect([...shares.values()].map((share) => runsOf(share).length)).toEqual([1, 1, 1, 1, 1]);
  });

  it("are in proportion to speed, and who is unknown counts as the mean of the others", () => {
    expect(sizes(upTo(8), workers(30, 10))).toEqual([6, 2]);
    expect(sizes(upTo(60), workers(1, 2, 3))).toEqual([10, 20, 30]);
    expect(sizes(upTo(90), workers(4, null, 2))).toEqual([40, 30, 20]);
    expect(sizes(upTo(9), workers(null, null, null))).toEqual([3, 3, 3]);
  });

  it("leave no slot that somebody else would finish earlier", () => {
    property((slots, candidates) => {
      const known = candidates.flatMap(({ speed }) => (speed === null ? [] : [speed]));
      const mean = known.length > 0 ? known.reduce((sum, speed) => sum + speed, 0) / known.length : 1;
      const speedOf = ({ speed }: Candidate) => speed ?? mean;
      const counts = sizes(slots, candidates);
      candidates.forEach((one, i) => {
        const [mine, ends] = [counts[i] as number, (counts[i] as number) / speedOf(one)];
        const better = candidates.some((other, j) => j !== i && ((counts[j] as number) + 1) / speedOf(other) < ends * (1 - 1e-12));
        // Nobody who takes part gets less than one.
        expect(mine > 1 && better).toBe(false);
      });
    });
  });

  it("are one slot for the slowest, and none where there are fewer slots than candidates", () => {
    expect(sizes(upTo(8), workers(1000, 1))).toEqual([7, 1]);
    expect(sizes(upTo(2), workers(1, 3, 2))).toEqual([0, 1, 1]);
    expect(sizes(upTo(2), workers(5, 5, 5))).toEqual([1, 1, 0]);
  });

  it("are empty without slots, and nobody's without candidates", () => {
    expect(sizes([], workers(1, 2))).toEqual([0, 0]);
    expect(shareSlots(upTo(4), [], false).size).toBe(0);
  });
});

describe("one-sided shares", () => {
  it("are large enough to be centred, as far as there are slots", () => {
    property((slots, candidates) => {
      const some = sizes(slots, candidates, true).filter((size) => size > 0);
      if (slots.length >= 4) expect(Math.min(...some)).toBeGreaterThanOrEqual(4);
      else expect(some).toEqual(slots.length > 0 ? [slots.length] : []);
      expect(some.length).toBe(Math.min(candidates.length, Math.max(Math.min(1, slots.length), Math.floor(slots.length / 4))));
    });
  });

  it("go to the fastest where they are too few, and the rest is in proportion to speed", () => {
    expect(sizes(upTo(11), workers(1, 5, 3), true)).toEqual([0, 7, 4]);
    expect(sizes(upTo(3), workers(1, 5, 3), true)).toEqual([0, 3, 0]);
    expect(sizes(upTo(32), workers(1, 100, 3), true)).toEqual([4, 24, 4]);
    expect(sizes(upTo(32), workers(4, 8, 4), true)).toEqual([8, 16, 8]);
  });
});

describe("one-sided shares of whole groups", () => {
  it("have no piece of a group that is too small to be centred, cover all, and are off by little from what speed says", () => {
    const whole = fc.tuple(fc.integer({ min: 2, max: 5 }), fc.integer({ min: 1, max: 8 }));
    fc.assert(
      fc.property(whole, speeds, ([m, groups], each) => {
        const [group, candidates] = [2 ** m, workers(...each)];
        const slots = upTo(groups * group);
        const shares = [...shareSlots(slots, candidates, true, group).values()];
        expect(shares.flat()).toEqual(slots);
        for (const share of shares) {
          const pieces = new Map<number, number>();
          for (const slot of share) pieces.set(Math.floor(slot / group), (pieces.get(Math.floor(slot / group)) ?? 0) + 1);
          expect(Math.min(...pieces.values())).toBeGreaterThanOrEqual(4);
        }
        const plain = [...shareSlots(slots, candidates, true).values()];
        expect(shares.length).toBe(plain.length);
        // A bound that moves may push the next ones by as much again.
        if (group >= 16 && plain.every((share) => share.length >= 12))
          for (const [i, share] of shares.entries()) expect(Math.abs(share.length - (plain[i]?.length ?? 0))).toBeLessThanOrEqual(6);
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it("end at a group's bound where they would end near it, and are shared as ever within a group", () => {
    const of = (candidates: Candidate[], groups: number) =>
      [...shareSlots(upTo(16 * groups), candidates, true, 16).values()].map((share) => share.length);
    expect(of(workers(1, 1, 1), 1)).toEqual([6, 5, 5]);
    expect(of(workers(1, 1, 1), 2)).toEqual([11, 11, 10]);
    expect(of(workers(14, 17, 17), 3)).toEqual([16, 16, 16]);
    expect(of(workers(15, 17), 2)).toEqual([16, 16]);
  });
});

describe("runs", () => {
  it("join neighbours, in whatever order slots come", () => {
    expect(runsOf([7, 2, 3, 9, 1, 8])).toEqual([
      [1, 3],
      [7, 3],
    ]);
    expect(runsOf([])).toEqual([]);
  });

  it("give the slots back, and no two of them touch", () => {
    property((slots) => {
      const runs = runsOf(new Set(slots));
      expect(slotsIn(runs)).toEqual(slots);
      expect(runs.every(([start], i) => i === 0 || start > (runs[i - 1]?.[0] ?? 0) + (runs[i - 1]?.[1] ?? 0))).toBe(true);
    });
  });
});

describe("the slowest share", () => {
  it("is the longest time of all, and who is unknown or has nothing takes none", () => {
    const shares = new Map([
      ["w0", upTo(6)],
      ["w1", upTo(8)],
      ["w2", upTo(90)],
    ]);
    expect(slowestOf(shares, workers(2, 4, null, 1))).toBe(3);
    expect(slowestOf(new Map(), workers(2, 4))).toBe(0);
  });
});
