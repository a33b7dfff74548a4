import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchOf } from "./batches.ts";

const JOB = "ab".repeat(32);
const LABELS = Array.from({ length: 90 }, (_, i) => (i % 9 === 0 ? 1 : 0));

describe("batchOf", () => {
  it("is pinned: another release must draw the same batches", () => {
    expect(batchOf({ jobId: JOB, step: 3, group: 1, size: 6, labels: LABELS, classes: 2 })).toEqual([78, 45, 23, 18, 30, 0]);
  });

  it("gives every class its share, each example once, whatever the classes' sizes", () => {
    fc.assert(
      fc.property(fc.nat(0xffff), fc.nat(9), fc.integer({ min: 1, max: 5 }), (step, group, half) => {
        const batch = batchOf({ jobId: JOB, step, group, size: 2 * half, labels: LABELS, classes: 2 });
        expect(new Set(batch).size).toBe(2 * half);
        expect(batch.filter((i) => LABELS[i] === 1)).toHaveLength(half);
      }),
    );
  });

  it("fills up from the other classes when one is used up, and stops at the data set's end", () => {
    const batch = batchOf({ jobId: JOB, step: 0, group: 0, size: 40, labels: LABELS, classes: 2 });
    expect(batch.filter((i) => LABELS[i] === 1)).toHaveLength(10);
    expect(batch).toHaveLength(40);
    expect(batchOf({ jobId: JOB, step: 0, group: 0, size: 500, labels: LABELS, classes: 2 }).toSorted((a, b) => a - b)).toEqual([
      ...LABELS.keys(),
    ]);
    expect(batchOf({ jobId: JOB, step: 0, group: 0, size: 4, labels: [], classes: 2 })).toEqual([]);
  });

  it("differs by job, step and group, and reaches every example", () => {
    const draw = (jobId: string, step: number, group: number) => batchOf({ jobId, step, group, size: 8, labels: LABELS, classes: 2 });
    expect(draw(JOB, 1, 0)).not.toEqual(draw(JOB, 0, 0));
    expect(draw(JOB, 0, 1)).not.toEqual(draw(JOB, 0, 0));
    expect(draw("cd".repeat(32), 0, 0)).not.toEqual(draw(JOB, 0, 0));
    const seen = new Set(Array.from({ length: 200 }, (_, step) => draw(JOB, step, 0)).flat());
    expect(seen.size).toBe(LABELS.length);
  });

  it("takes classes without examples for what they are", () => {
    expect(batchOf({ jobId: JOB, step: 0, group: 0, size: 2, labels: [2, 2, 2], classes: 5 })).toHaveLength(2);
    expect(() => batchOf({ jobId: JOB, step: 0, group: 0, size: 2, labels: [3], classes: 2 })).toThrow("label 3");
  });
});
