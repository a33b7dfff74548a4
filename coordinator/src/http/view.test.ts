import * as fc from "fast-check";
import { expect, test } from "vitest";
import { sampleEvaluation, sampleStep } from "./sample.ts";
import { pageOfHistory } from "./view.ts";

test("following next gives every step and every evaluation once, whatever the page size and the gaps", () => {
  const steps = fc.uniqueArray(fc.nat(300), { maxLength: 60 }).map((numbers) => numbers.sort((a, b) => a - b));
  const evaluated = fc.uniqueArray(fc.integer({ min: -1, max: 320 }), { maxLength: 20 });
  fc.assert(
    fc.property(steps, evaluated, fc.integer({ min: 1, max: 9 }), (steps, evaluated, max) => {
      const seen = { steps: [] as number[], evaluations: [] as number[] };
      for (let from: number | null = -1; from !== null; ) {
        const page = pageOfHistory(steps.map(sampleStep), evaluated.map(sampleEvaluation), from, max);
        expect(page.steps.length).toBeLessThanOrEqual(max);
        seen.steps.push(...page.steps.map(({ step }) => step));
        seen.evaluations.push(...page.evaluations.map(({ step }) => step));
        from = page.next;
      }
      expect(seen.steps).toEqual(steps);
      expect(seen.evaluations.toSorted((a, b) => a - b)).toEqual(evaluated.toSorted((a, b) => a - b));
    }),
  );
});

test("from 0 includes the evaluation before training, from 1 does not", () => {
  const evaluations = [sampleEvaluation(-1), sampleEvaluation(0), sampleEvaluation(1)];
  const evaluationsFrom = (from: number) =>
    pageOfHistory([0, 1].map(sampleStep), evaluations, from, 10).evaluations.map(({ step }) => step);
  expect(evaluationsFrom(0)).toEqual([-1, 0, 1]);
  expect(evaluationsFrom(1)).toEqual([1]);
});
