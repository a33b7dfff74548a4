import fc from "fast-check";
import { expect, it } from "vitest";
import { spreadOver } from "./spread.ts";

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

it("takes so many items, each once; all of them in their order", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 400 }), (length, count) => {
      const chosen = spreadOver(upTo(length), count);
      expect(chosen).toHaveLength(Math.min(length, count));
      expect(new Set(chosen).size).toBe(chosen.length);
      expect(spreadOver(upTo(length), count)).toEqual(chosen);
    }),
    { seed: 7, numRuns: 300 },
  );
  expect(spreadOver([3, 1, 2], 9)).toEqual([3, 1, 2]);
});

it("has about as much of each class as all have, in whatever order classes come", () => {
  for (const length of [200, 256, 500, 872]) {
    for (const classOf of [(i: number) => i % 2, (i: number) => i % 4, (i: number) => Math.floor((4 * i) / length)]) {
      const classes = new Set(upTo(length).map(classOf)).size;
      for (const count of [32, 128]) {
        const chosen = spreadOver(upTo(length), count).map(classOf);
        for (let one = 0; one < classes; one++)
          expect(Math.abs(chosen.filter((each) => each === one).length - count / classes)).toBeLessThanOrEqual(count / classes / 4);
      }
    }
  }
});
