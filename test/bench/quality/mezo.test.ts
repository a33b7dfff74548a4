import { describe, expect, it } from "vitest";
import { mezoStep, normalsFrom, perturb } from "./mezo.ts";

const draw = (seed: number, count: number) => {
  const normal = normalsFrom(seed);
  return Float64Array.from({ length: count }, normal);
};

describe("normalsFrom", () => {
  it("gives the same numbers for a seed, and others for another", () => {
    expect(draw(7, 1000)).toEqual(draw(7, 1000));
    expect(draw(7, 4)).not.toEqual(draw(8, 4));
    expect(draw(7, 4)).not.toEqual(draw(2 ** 32 + 7, 4));
  });

  it("gives a standard normal's moments, each within four of its standard errors", () => {
    const count = 1e5;
    const z = draw(3, count);
    const moment = (power: number) => z.reduce((sum, value) => sum + value ** power, 0) / count;
    expect(Math.abs(moment(1))).toBeLessThan(4 * Math.sqrt(1 / count));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / count));
    expect(Math.abs(moment(3))).toBeLessThan(4 * Math.sqrt(15 / count));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / count));
  });

  it("gives independent numbers, also to neighbouring seeds", () => {
    const count = 1e5;
    const z = draw(3, count + 1);
    const next = draw(4, count);
    const product = (of: (i: number) => number) => Array.from({ length: count }, (_, i) => of(i)).reduce((sum, x) => sum + x, 0) / count;
    expect(Math.abs(product((i) => (z[i] as number) * (z[i + 1] as number)))).toBeLessThan(4 / Math.sqrt(count));
    expect(Math.abs(product((i) => (z[i] as number) * (next[i] as number)))).toBeLessThan(4 / Math.sqrt(count));
  });
});

describe("perturb", () => {
  it("comes back within float32's rounding", () => {
    const parameters = [Float32Array.from(draw(1, 1000)), Float32Array.from(draw(2, 33))];
    const before = parameters.map((tensor) => tensor.slice());
    perturb(parameters, 1e-3, 5);
    expect(parameters).not.toEqual(before);
    perturb(parameters, -2e-3, 5);
    perturb(parameters, 1e-3, 5);
    const apart = parameters.flatMap((tensor, t) => Array.from(tensor, (value, i) => Math.abs(value - (before[t]?.[i] ?? Number.NaN))));
    // Three sums, each rounded by half an ulp of a value below 4 or 8.
    expect(Math.max(...apart)).toBeLessThanOrEqual(3 * 2 ** -22);
  });
});

describe("mezoStep", () => {
  /** Half the squared distance from 1, and how often it was asked for. */
  const quadratic = (length: number) => {
    const parameters = [new Float32Array(length - 3), new Float32Array(3)];
    const asked: number[] = [];
    const loss = () => parameters.flatMap((tensor) => Array.from(tensor)).reduce((sum, x) => sum + (x - 1) ** 2 / 2, 0);
    const lossAt = async (batch: number) => {
      asked.push(batch);
      return loss();
    };
    return { parameters, asked, loss, lossAt };
  };

  it("lowers a quadratic's loss", async () => {
    const { loss, ...rest } = quadratic(10);
    const before = loss();
    for (let t = 0; t < 400; t++) await mezoStep({ ...rest, seed: 1, epsilon: 1e-3, rate: 0.03 }, t);
    expect(loss()).toBeLessThan(before / 100);
    expect(rest.asked).toEqual(Array.from({ length: 800 }, (_, i) => Math.floor(i / 2)));
  });

  it("measures the slope along z and moves against it by rate times that", async () => {
    const { parameters, lossAt } = quadratic(10);
    const z = draw(2 * 2 ** 32 + 9, 10);
    const { projected } = await mezoStep({ parameters, lossAt, seed: 2, epsilon: 1e-2, rate: 0.5 }, 9);
    const slope = -z.reduce((sum, value) => sum + value, 0);
    expect(projected).toBeCloseTo(slope, 3);
    parameters
      .flatMap((tensor) => Array.from(tensor))
      .forEach((value, i) => {
        expect(value).toBeCloseTo(-0.5 * slope * (z[i] as number), 3);
      });
  });
});
