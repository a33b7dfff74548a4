/** What an objective is not added to, and what is said of it. */
import { describe, expect, it } from "vitest";
import type { Dimension } from "./graph.ts";
import { type Form, modelOf } from "./objective.testing.ts";
import { addObjective, type GraphObjective } from "./objective.ts";

describe("addObjective", () => {
  it("refuses a second objective and any name that it keeps, but not those of other changes", () => {
    const once = addObjective(modelOf(["batch", 3]), { kind: "classes", output: "out" }, { generates: false });
    const again = once.ok && addObjective(once.model, { kind: "classes", output: "zoswarm/scores" }, { generates: false });
    expect(again).toMatchObject({ ok: false, code: "name-taken", message: expect.stringContaining('"zoswarm/labels"') });
    const named = (name: string) => {
      const other = modelOf(["batch", 3]);
      const [node] = other.graph.node;
      if (node !== undefined) node.name = name;
      return addObjective(other, { kind: "classes", output: "out" }, { generates: false });
    };
    for (const name of ["zoswarm/loss", "zoswarm/other", "zoswarm/objective/shape_1"])
      expect(named(name)).toMatchObject({ ok: false, code: "name-taken", message: expect.stringContaining(`"${name}"`) });
    expect(named("zoswarm/lora/w/base")).toMatchObject({ ok: true });
  });

  const refusal = (dimensions: readonly Dimension[], objective: GraphObjective, form: Form = {}, generates = false) =>
    addObjective(modelOf(dimensions, form), objective, { generates });
  const [classes, tokens, values, none] = (["classes", "tokens", "values", "none"] as const).map((kind) => ({ kind, output: "out" })) as [
    GraphObjective,
    GraphObjective,
    GraphObjective,
    GraphObjective,
  ];
  const words = (...each: number[]) => ({ kind: "words", output: "out", words: each }) as const;

  it("refuses an output that is not there or is of another type, and names those that are", () => {
    expect(refusal(["b", 2], { ...classes, output: "logits" })).toMatchObject({
      code: "no-such-output",
      message: expect.stringContaining('no output "logits", its outputs are "out"'),
    });
    expect(refusal(["b", 2], classes, { type: "int64" })).toMatchObject({
      code: "unsupported-output",
      message: expect.stringContaining("is int64"),
    });
  });

  it.each([
    [["b", "s", 2], classes],
    [["b", 2, 2, 1], classes],
    [["b", 1, 1, 1, 2], classes],
    [["b", 2], tokens],
    [["b", 2], words(0, 1)],
    [["b", 2], values],
    [["b", 1, 1], values],
    [[], values],
  ])("refuses the shape %j for %j, with the one that it must have", (dimensions, objective) => {
    const message = expect.stringMatching(/^the output "out" has the shape \[.*must be \[batch/);
    expect(refusal(dimensions, objective)).toMatchObject({ ok: false, code: "unsupported-output", message });
  });

  it("takes what is not declared", () => {
    for (const objective of [classes, tokens, values, none, words(0, 9)])
      expect(refusal([], objective, { declared: null })).toMatchObject({ ok: true });
    for (const objective of [classes, values]) expect(refusal(["b", "c"], objective)).toMatchObject({ ok: true });
  });

  it("generates from logits of tokens alone", () => {
    for (const objective of [classes, values])
      expect(refusal([], objective, { declared: null }, true)).toMatchObject({ code: "cannot-generate" });
    expect(refusal(["b", 2], none, {}, true)).toMatchObject({ code: "unsupported-output" });
  });

  it.each([
    [[3], "must be 2 or more"],
    [[0, -1], "have -1, which is no integer from 0 to 4"],
    [[0, 1.5], "have 1.5"],
    [[0, 5], "have 5"],
    [[2, 3, 2], "have 2 for more than one class"],
  ])("refuses the words %j", (each, why) => {
    expect(refusal(["b", "s", 5], words(...each))).toMatchObject({ code: "unsupported-words", message: expect.stringContaining(why) });
  });
});
