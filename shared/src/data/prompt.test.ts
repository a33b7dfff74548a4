import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fitPrompt, type PromptPart, truncate } from "./prompt.ts";

describe("truncate", () => {
  it("cuts the end or the start, and says how much", () => {
    expect(truncate([1, 2, 3, 4], 3, "end")).toEqual({ tokens: [1, 2, 3], cut: 1 });
    expect(truncate([1, 2, 3, 4], 3, "start")).toEqual({ tokens: [2, 3, 4], cut: 1 });
    expect(truncate([1, 2], 2, "start")).toEqual({ tokens: [1, 2], cut: 0 });
    expect(truncate([1, 2], 0, "end")).toEqual({ tokens: [], cut: 2 });
    expect(truncate([1, 2], 0, "start")).toEqual({ tokens: [], cut: 2 });
  });

  it("needs a whole number", () => {
    for (const max of [-1, 1.5, Number.NaN]) expect(() => truncate([1], max, "end")).toThrow(`max is ${max}`);
  });
});

describe("fitPrompt", () => {
  const fixed = (...tokens: number[]): PromptPart => ({ tokens, cuttable: false });
  const text = (...tokens: number[]): PromptPart => ({ tokens, cuttable: true });

  it("leaves a prompt that fits as it is", () => {
    expect(fitPrompt([fixed(1), text(2, 3), fixed(4)], 4)).toEqual({ ok: true, tokens: [1, 2, 3, 4], cut: 0 });
    expect(fitPrompt([], 0)).toEqual({ ok: true, tokens: [], cut: 0 });
  });

  it("keeps the template's end and cuts the text's", () => {
    expect(fitPrompt([fixed(1), text(2, 3, 4, 5, 6), fixed(7, 8)], 5)).toEqual({ ok: true, tokens: [1, 2, 3, 7, 8], cut: 3 });
  });

  it("cuts the longest text first, and of equally long ones the later", () => {
    expect(fitPrompt([text(1, 2), fixed(0), text(3, 4, 5, 6)], 5)).toEqual({ ok: true, tokens: [1, 2, 0, 3, 4], cut: 2 });
    expect(fitPrompt([text(1, 2), fixed(0), text(3, 4)], 4)).toEqual({ ok: true, tokens: [1, 2, 0, 3], cut: 1 });
  });

  it("refuses a prompt whose template leaves no room for a token of each text", () => {
    const refusal = { ok: false, code: "prompt-too-long", message: expect.stringMatching(/at least 4 tokens .+ more than 3; shorten/) };
    expect(fitPrompt([fixed(1, 2), text(3, 4), fixed(), text(), text(5)], 3)).toEqual(refusal);
    expect(fitPrompt([fixed(1, 2, 3, 4)], 3)).toEqual(refusal);
    expect(() => fitPrompt([], -1)).toThrow("max is -1");
  });

  it("does what its rule says, token by token", () => {
    const part = fc.record({ tokens: fc.array(fc.nat(9), { maxLength: 12 }), cuttable: fc.boolean() });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), fc.nat(40), (parts, max) => {
        const left = parts.map(({ tokens, cuttable }) => ({ tokens: [...tokens], cuttable }));
        const tokens = () => left.flatMap((one) => one.tokens);
        let longest: { tokens: number[] } | undefined;
        let cut = 0;
        for (; tokens().length > max; cut++) {
          longest = undefined;
          for (const one of left)
            if (one.cuttable && one.tokens.length > 1 && one.tokens.length >= (longest?.tokens.length ?? 0)) longest = one;
          if (longest === undefined) break;
          longest.tokens.pop();
        }
        const fits = { ok: true, tokens: tokens(), cut };
        expect(fitPrompt(parts, max)).toMatchObject(tokens().length > max ? { ok: false, code: "prompt-too-long" } : fits);
      }),
      { seed: 7, numRuns: 500 },
    );
  });
});
