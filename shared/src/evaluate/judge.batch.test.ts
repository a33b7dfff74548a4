/** Models that take a fixed number of examples at a time. */
import { describe, expect, it } from "vitest";
import { exampleOf } from "../data/examples.ts";
import type { InputSpec, Objective } from "../protocol/manifest.ts";
import { createJudge } from "./judge.ts";
import type { ModelSession } from "./session.ts";

const OBJECTIVE: Objective = { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null };
const IDS: InputSpec = { name: "ids", type: "int64", dims: [2, "sequence"], source: { from: "tokens", pad: 0 } };

/** The loss of a row, and its next token, is its last token; a stop after three. */
function judgeOf(objective: Objective, fed: number[][]) {
  const session: ModelSession = {
    inputNames: ["ids", "zoswarm/labels"],
    async forward({ ids }) {
      const [rows = 0, columns = 0] = ids?.dims ?? [];
      const data = Array.from(ids?.data ?? [], Number);
      fed.push(data);
      const last = Array.from({ length: rows }, (_, r) => data.slice(r * columns, (r + 1) * columns).findLast((token) => token !== 0) ?? 0);
      const next = BigInt64Array.from(last, (token) => BigInt(Math.min(token + 1, 9)));
      return { losses: Float32Array.from(last), scores: Float32Array.from(last.flatMap((token) => [0, token - 5])), predicted: null, next };
    },
    seconds: () => 0,
    async release() {},
  };
  return createJudge({ session, inputs: [IDS], objective, decode: null, reward: null, async pause() {} });
}

describe("a fixed batch", () => {
  it("is fed in parts, the last filled up; what fills it counts nowhere", async () => {
    const fed: number[][] = [];
    const judge = judgeOf(OBJECTIVE, fed);
    const examples = [exampleOf([7], { label: 1 }), exampleOf([3, 4], { label: 1 }), exampleOf([8], { label: 1 })];
    const observed = await judge.observe(examples);
    expect(fed).toEqual([
      [7, 0, 3, 4],
      [8, 8],
    ]);
    expect(observed).toMatchObject({ rows: 3, forwards: 2, lossSum: 19, lossCount: 3, predicted: [1, 0, 1], truth: [1, 1, 1] });
    expect(judge.lossOf([observed])).toBeCloseTo(19 / 3, 12);
  });

  it("generates for as many as there are", async () => {
    const judge = judgeOf({ ...OBJECTIVE, kind: "none", measure: "exact-match", metric: "exact-match", generate: 2, stop: 9 }, []);
    const examples = [1, 8, 4].map((token) => exampleOf([token]));
    expect(await judge.generate(examples)).toEqual([[2, 3], [], [5, 6]]);
  });
});
