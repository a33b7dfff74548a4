import { rateOf } from "@zoswarm/shared/protocol/announcement.testing";
import { END_REASONS } from "@zoswarm/shared/protocol/entries";
import { expect, it } from "vitest";
import { decisionLine, decisionText } from "./tell.ts";

it("a decision is one line: after which step, what it changes, and why", () => {
  const rate = rateOf({ rate: 1 / 3e3, groups: 2, directionsLog2: 4, why: "a probe" });
  expect(decisionLine({ seq: 2, afterStep: -1, entry: rate })).toBe(
    "decided after step 0: rate 0.000333, epsilon 2^-10, 32 directions a step in 2 groups: a probe",
  );
  expect(decisionLine({ seq: 9, afterStep: 11, entry: { kind: "restore", step: 7, stateHash: "ab".repeat(32) } })).toBe(
    "decided after step 12: back to the state after step 8",
  );
  expect(decisionLine({ seq: 9, afterStep: 11, entry: { kind: "end", reason: "target", why: "0.9 is good enough" } })).toBe(
    "decided after step 12: the job is over: its target is reached: 0.9 is good enough",
  );
});

it("every reason to end has its words", () => {
  const words = END_REASONS.map((reason) => decisionText({ entry: { kind: "end", reason, why: "" } }));
  expect(new Set(words).size).toBe(END_REASONS.length);
});
