import { describe, expect, it } from "vitest";
import type { Features } from "./features.ts";
import { chooseHead, lossAndGradient, trainHead } from "./head.ts";
import { normalsFrom } from "./mezo.ts";

/** Rows of three classes around the corners of a triangle, `spread` wide. */
function triangle(rows: number, spread: number, seed: number): Features {
  const normal = normalsFrom(seed);
  const corners = [
    [1, 0],
    [-0.5, 0.87],
    [-0.5, -0.87],
  ];
  const labels = Int32Array.from({ length: rows }, (_, row) => row % 3);
  const values = Float32Array.from(
    { length: 2 * rows },
    (_, i) => (corners[Math.floor(i / 2) % 3]?.[i % 2] ?? Number.NaN) + spread * normal(),
  );
  return { values, width: 2, labels };
}
const options = { classes: 3, epochs: 40, batch: 8, rate: 0.05, decay: 0.01, seed: 1 };

describe("lossAndGradient", () => {
  it("has the gradient that finite differences have", () => {
    const features = triangle(30, 0.5, 1);
    const weights = Float64Array.from({ length: 9 }, normalsFrom(2));
    const rows = [0, 4, 5, 7, 29];
    const lossAt = (i: number, by: number) =>
      lossAndGradient(
        weights.map((weight, j) => (i === j ? weight + by : weight)),
        3,
        features,
        rows,
      ).loss;
    const { gradient } = lossAndGradient(weights, 3, features, rows);
    gradient.forEach((slope, i) => {
      expect(slope).toBeCloseTo((lossAt(i, 1e-5) - lossAt(i, -1e-5)) / 2e-5, 8);
    });
  });

  it("is at even odds with weights of zero", () => {
    const { loss } = lossAndGradient(new Float64Array(9), 3, triangle(30, 0.5, 1), [0, 1, 2]);
    expect(loss).toBeCloseTo(Math.log(3), 12);
  });

  it("is finite where the classes are far apart", () => {
    const weights = new Float64Array(9).fill(0);
    weights[0] = 1e5;
    expect(lossAndGradient(weights, 3, { values: Float32Array.of(1, 0), width: 2, labels: Int32Array.of(1) }, [0]).loss).toBe(1e5);
  });
});

describe("trainHead", () => {
  it("separates what can be separated", () => {
    const curve = trainHead(triangle(300, 0.1, 1), triangle(90, 0.1, 2), options);
    expect(curve).toHaveLength(40);
    expect(curve.at(-1)?.accuracy).toBe(1);
    expect(curve.at(-1)?.loss).toBeLessThan(0.05);
  });

  it("moves every weight by the rate in its first step, as Adam does, against its gradient", () => {
    const features = triangle(1, 0.1, 1);
    const [after] = trainHead(features, features, { ...options, epochs: 1, rate: 0.1 });
    const { gradient } = lossAndGradient(new Float64Array(9), 3, features, [0]);
    const moved = gradient.map((slope) => -0.1 * Math.sign(slope));
    expect(after?.loss).toBeCloseTo(lossAndGradient(moved, 3, features, [0]).loss, 6);
  });
});

describe("chooseHead", () => {
  it("takes the rate that learns", () => {
    expect(chooseHead(triangle(300, 0.1, 1), [1e-6, 0.05], options).rate).toBe(0.05);
  });

  it("stops early where there is nothing to learn but the examples themselves", () => {
    const normal = normalsFrom(3);
    const noise = {
      values: Float32Array.from({ length: 60 * 50 }, normal),
      width: 50,
      labels: Int32Array.from({ length: 60 }, () => (normal() > 0 ? 1 : 0)),
    };
    expect(chooseHead(noise, [0.05], { ...options, classes: 2 }).epochs).toBeLessThan(options.epochs / 2);
  });
});
