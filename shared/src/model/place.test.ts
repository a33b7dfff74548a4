import { expect, test } from "vitest";
import { gainByWeights, placeOnLattices, selectTrainable, weighTensor } from "./place.ts";

const tensor = (name: string, ...values: number[]) => ({
  name,
  shape: [values.length],
  dataType: "float32" as const,
  values: Float32Array.from(values),
});
const at = { gain: 0, epsilonLog2: -10 };

test("patterns choose tensors in their own order, and one that chooses none is refused with the names that there are", () => {
  const tensors = ["a.w", "a.b", "head.w"].map((name) => tensor(name, 1));
  expect(selectTrainable(tensors, ["head.*", "*.b"])).toMatchObject({
    ok: true,
    tensors: [{ name: "a.b" }, { name: "head.w" }],
    frozen: [{ name: "a.w", reason: "is not asked for by a pattern" }],
  });
  expect(selectTrainable(tensors, ["*", "haed.*"])).toEqual({
    ok: false,
    code: "pattern-unused",
    message: 'no trainable tensor has a name like "haed.*"; they are "a.w", "a.b", "head.w"',
  });
});

test("a tensor is weighed by its largest value and its root mean square", () => {
  expect(weighTensor(tensor("w", 3, -4, 0, 0), at)).toEqual({ ok: true, maxAbs: 4, rms: 2.5, gain: 0, q: 20 });
  expect(weighTensor(tensor("z", 0, 0), at)).toMatchObject({ maxAbs: 0, rms: 0, q: 22 });
  expect(weighTensor(tensor("far", 1e4), at)).toMatchObject({
    ok: true,
    q: null,
    reason: expect.stringContaining("reaches 10000, too large for a lattice"),
  });
});

test("a mask is frozen, and what is no number is refused with its place", () => {
  expect(weighTensor(tensor("mask", 0, Number.NEGATIVE_INFINITY), at)).toMatchObject({
    ok: true,
    q: null,
    reason: "has -Infinity, as masks have; weights are finite",
  });
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(weighTensor(tensor("w", Number.NEGATIVE_INFINITY, 0, bad), at)).toMatchObject({
      ok: false,
      code: "weights-not-finite",
      message: expect.stringContaining(`"w" has ${bad} at element 2`),
    });
});

test("the first pattern gives the gain, and integers are made only when they are asked for, one tensor at a time", () => {
  let reads = 0;
  const counted = {
    ...tensor("head.w", 0.5, -0.25),
    get values() {
      reads++;
      return Float32Array.of(0.5, -0.25);
    },
  };
  const gains = [
    { pattern: "head.*", gain: 5 },
    { pattern: "*", gain: 1 },
  ];
  const placed = placeOnLattices([counted, tensor("far", 1e4), tensor("body", 1)], { epsilonLog2: -10, gains });
  if (!placed.ok) throw new Error(placed.message);
  expect(placed.tensors.map(({ name, gain }) => [name, gain])).toEqual([
    ["head.w", 5],
    ["body", 1],
  ]);
  expect(placed.frozen.map(({ name }) => name)).toEqual(["far"]);
  expect(reads).toBe(1);
  const unit = 2 ** (placed.tensors[0]?.q ?? 0);
  const [first] = placed.initial();
  expect([...(first ?? [])]).toEqual([0.5 * unit, -0.25 * unit]);
  expect(reads).toBe(2);
});

test("gains by weights move each tensor by about the same share of its weights, within bounds, and say nothing of zeros", () => {
  const gains = [0.1, 0.8, 0.2, 0.0125, 1e6, 1e-6, 0].map(gainByWeights);
  expect(gains).toEqual([0, 3, 1, -3, 4, -4, 0]);
});

test("gains by weights are those of tensors that no pattern names, and only where they are asked for", () => {
  const gainsOf = (byWeights: boolean) => {
    const options = { epsilonLog2: -10, gains: [{ pattern: "head", gain: 5 }], byWeights };
    const placed = placeOnLattices([tensor("norm", 1, 0.6), tensor("head", 1, 1)], options);
    return placed.ok ? placed.tensors.map(({ gain }) => gain) : [];
  };
  expect([gainsOf(true), gainsOf(false)]).toEqual([
    [3, 5],
    [0, 5],
  ]);
});
