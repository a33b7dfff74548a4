import type { Example } from "@zoswarm/shared/data/examples";
import type { DataRecord } from "@zoswarm/shared/data/records";
import type { LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import { beforeAll, describe, expect, it } from "vitest";
import { columnsOf, type MakerOptions, makeExamples } from "./examples.ts";
import { ID, jobOf, objectiveOf, testFolder, wordTokenizer } from "./job.testing.ts";

const dir = testFolder();
let framed: LoadedTokenizer;
let plain: LoadedTokenizer;
beforeAll(async () => {
  framed = await wordTokenizer(dir, { framed: true });
  plain = await wordTokenizer(dir, { framed: false });
});

const recordsOf = (...rows: DataRecord["values"][]): DataRecord[] => rows.map((values, i) => ({ values, at: `train.jsonl:${i + 1}` }));
const idsOf = (text: string) => text.split(" ").map((word) => ID[word] as number);
const LONG = "a b c d e f g h i j";

function make(rows: DataRecord["values"][], job: Record<string, unknown>, more: Partial<MakerOptions> = {}) {
  const options = { objective: objectiveOf(), tokenizer: framed, features: [], labels: ["no", "yes"], ...more };
  return makeExamples(recordsOf(...rows), { job: jobOf(job), ...options });
}

function made(...args: Parameters<typeof make>): { examples: Example[]; truncated: number } {
  const result = make(...args);
  if (!result.ok) throw new Error(result.message);
  return result;
}

const faultOf = (...args: Parameters<typeof make>) => {
  const result = make(...args);
  return result.ok ? "none" : result.message;
};

describe("classification", () => {
  it("cuts a long text and keeps the special tokens around it, and counts the rows that were cut", () => {
    const rows = [
      { text: "a b", label: "yes" },
      { text: LONG, label: 0 },
    ];
    const { examples, truncated } = made(rows, { maxTokens: 5 });
    expect(examples).toMatchObject([
      { tokens: idsOf("[CLS] a b [SEP]"), label: 1 },
      { tokens: idsOf("[CLS] a b c [SEP]"), label: 0 },
    ]);
    expect(truncated).toBe(1);
  });

  it("cuts the longest of several columns, and never the template's own words", () => {
    const job = { template: "good {one} bad {two} plain", maxTokens: 9 };
    const { examples } = made([{ one: "a b", two: LONG, label: "no" }], job);
    expect(examples[0]?.tokens).toEqual(idsOf("[CLS] good a b bad a b plain [SEP]"));
  });

  it("keeps the frame where a text's end is no token at all", () => {
    const text = `${"a ".repeat(99)}${" ".repeat(1400)}`;
    const [example] = made([{ text, label: 0 }], { maxTokens: 100 }).examples;
    const tokens = Array.from(example?.tokens ?? []);
    expect([tokens[0], tokens.at(-1)]).toEqual(idsOf("[CLS] [SEP]"));
    expect(tokens.length).toBeLessThanOrEqual(100);
  });

  it("shows a person's own texts without a label", () => {
    expect(made([{ text: "a" }], {}, { isAsked: true }).examples).toMatchObject([{ label: -1, tokens: idsOf("[CLS] a [SEP]") }]);
  });
});

describe("label words", () => {
  const objective = objectiveOf({ kind: "words" });
  const job = { words: ["good", "bad"], template: "{text} it was", maxTokens: 6 };

  it("are asked for at the end of the prompt, which survives a long text and is not closed", () => {
    const { examples, truncated } = made([{ text: LONG, label: "yes" }], job, { objective });
    expect(examples).toMatchObject([{ tokens: idsOf("[CLS] a b c it was"), position: 5, label: 1 }]);
    expect(truncated).toBe(1);
    const spaces = made([{ text: `${LONG}${" ".repeat(80)}`, label: "yes" }], job, { objective }).examples[0]?.tokens;
    expect(Array.from(spaces ?? []).slice(-2)).toEqual(idsOf("it was"));
  });

  it("are refused where the template alone is too long", () => {
    expect(faultOf([{ text: "a", label: 0 }], { ...job, maxTokens: 2 }, { objective })).toBe(
      "train.jsonl:1: the prompt has 3 tokens without the row's texts, and there is room for 2; raise maxTokens, shorten the template, or remove the row",
    );
  });
});

describe("masked-lm", () => {
  const objective = objectiveOf({ kind: "words" });
  const job = { objective: "masked-lm", words: ["good", "bad"], template: "{text} it was [MASK] .", maxTokens: 9 };

  it("asks at the mask and keeps what closes the text", () => {
    const { examples } = made([{ text: LONG, label: 1 }], job, { objective });
    expect(examples).toMatchObject([{ tokens: idsOf("[CLS] a b c it was [MASK] [UNK] [SEP]"), position: 6, label: 1 }]);
  });

  it("refuses none and two masks with the row's place", () => {
    expect(faultOf([{ text: "a", label: 1 }], { ...job, template: "{text}" }, { objective })).toBe(
      "train.jsonl:1: the prompt has 0 masks; it needs exactly one",
    );
    expect(
      faultOf(
        [
          { text: "a", label: 1 },
          { text: "[MASK]", label: 1 },
        ],
        job,
        { objective },
      ),
    ).toBe("train.jsonl:2: the prompt has 2 masks; it needs exactly one");
  });
});

describe("causal-lm", () => {
  const objective = objectiveOf({ kind: "tokens", metric: "perplexity", classes: 0 });
  const job = { objective: "causal-lm", template: "{q} :", completion: " {a}", maxTokens: 8 };
  const more = () => ({ objective, labels: null });

  it("counts the completion and the token that ends it, or all", () => {
    const rows = [{ q: "a b", a: "good" }];
    const tokens = idsOf("[CLS] a b : good [SEP]");
    expect(made(rows, job, more()).examples).toMatchObject([{ tokens, from: 4, position: 3, label: -1 }]);
    expect(made(rows, { ...job, on: "all" }, more()).examples).toMatchObject([{ tokens, from: 1 }]);
    const { completion: _, ...whole } = job;
    expect(made(rows, whole, more()).examples).toMatchObject([{ tokens: idsOf("[CLS] a b : [SEP]"), from: 1 }]);
  });

  it("has no end where the tokenizer has none", () => {
    expect(made([{ q: "a", a: "bad" }], job, { ...more(), tokenizer: plain }).examples).toMatchObject([
      { tokens: idsOf("a : bad"), from: 2 },
    ]);
  });

  it("cuts the prompt's text for the completion", () => {
    const { examples, truncated } = made([{ q: LONG, a: "good bad" }], job, more());
    expect(examples).toMatchObject([{ tokens: idsOf("[CLS] a b c : good bad [SEP]"), from: 5 }]);
    expect(truncated).toBe(1);
  });

  it("refuses a completion that leaves no room for the prompt, and one of nothing", () => {
    expect(faultOf([{ q: "a", a: LONG }], job, more())).toMatch(/^train\.jsonl:1: the prompt has 2 tokens .* room for 1; raise maxTokens/);
    expect(faultOf([{ q: "a", a: "" }], job, { ...more(), tokenizer: plain })).toBe(
      "train.jsonl:1: nothing is left to learn after 2 tokens; raise maxTokens, shorten the template, or remove the row",
    );
  });

  it("generates behind the prompt, not behind the answer, and shows rewards the prompt alone", () => {
    const asked = { ...job, metric: "exact-match", generate: { tokens: 2 }, columns: { target: "a" } };
    const [example] = made([{ q: "a b", a: "good" }], asked, {
      ...more(),
      objective: { ...objective, metric: "exact-match", generate: 2 },
    }).examples;
    expect(example).toMatchObject({ tokens: idsOf("[CLS] a b : good [SEP]"), position: 3 });
    expect(JSON.parse(example?.extra ?? "")).toEqual({ text: "a b :", target: "good", row: { q: "a b", a: "good" } });
  });

  it("packs whole texts in full windows, however long they are", () => {
    const packed = { objective: "causal-lm", packed: true, maxTokens: 4 };
    const rows = [{ text: "a b c d e f" }, { text: "g" }, { text: "h i" }];
    const { examples, truncated } = made(rows, packed, { ...more(), tokenizer: plain });
    expect(examples.map(({ tokens }) => tokens)).toEqual([idsOf("a b c d"), idsOf("e f g h")]);
    expect(truncated).toBe(0);
    expect(made([{ text: "a b" }], packed, more()).examples).toMatchObject([{ tokens: idsOf("[CLS] a b [SEP]"), from: 1 }]);
  });
});

describe("numbers, targets and rewards", () => {
  it("reads a regression's value and features of every type", () => {
    const job = { objective: "regression", tokenizer: undefined, columns: { value: "y", inputs: { x: "x", n: "n" } } };
    const features = [
      { input: "x", column: "x", type: "float32" as const, elements: 2 },
      { input: "n", column: "n", type: "int64" as const, elements: 1 },
    ];
    const objective = objectiveOf({ kind: "values", classes: 0 });
    const { examples } = made([{ y: "0.5", x: "[1, -2]", n: [3] }], job, { objective, features, tokenizer: null, labels: null });
    expect(examples).toEqual([
      {
        ...{ tokens: [], label: -1, value: 0.5, from: 0, position: 0, extra: "" },
        features: [new Uint8Array(Float32Array.of(1, -2).buffer), new Uint8Array(BigInt64Array.of(3n).buffer)],
      },
    ]);
    const fault = faultOf([{ y: "much", x: "[1]", n: [3] }], job, { objective, features, tokenizer: null, labels: null });
    expect(fault).toBe("train.jsonl:1: x: has 1 numbers; 2 were expected");
  });

  it("needs a target that is not blank for exact matches", () => {
    const job = { objective: "causal-lm", measure: "exact-match", generate: { tokens: 1 } };
    const objective = objectiveOf({ kind: "none", measure: "exact-match", metric: "exact-match", generate: 1 });
    expect(columnsOf(jobOf(job))).toEqual(["text", "target"]);
    const { examples } = made([{ text: "a", target: "b" }], job, { objective, labels: null });
    expect(examples).toMatchObject([
      { tokens: idsOf("[CLS] a"), position: 1, extra: '{"text":"a","target":"b","row":{"text":"a","target":"b"}}' },
    ]);
    expect(faultOf([{ text: "a", target: " " }], job, { objective, labels: null })).toMatch(/^train\.jsonl:1: target: is blank/);
  });

  it("gives rewards the row, and a label where there is one", () => {
    const objective = objectiveOf({ measure: "reward", metric: "reward", reward: "function reward() { return 1 }" });
    const { examples } = made([{ text: "a", label: "yes" }, { text: "b" }], { objective: "reward", reward: "r.js" }, { objective });
    expect(examples).toMatchObject([{ label: 1, extra: '{"text":"a","row":{"text":"a","label":"yes"}}' }, { label: -1 }]);
  });
});

describe("faults", () => {
  it("name file, line and column, five at most", () => {
    expect(faultOf([{ text: "a", label: 0 }, { text: "b", label: "maybe" }, { label: 1 }], {})).toBe(
      'train.jsonl:2: label: "maybe" is no label; the 2 labels are "no", "yes"\n' + 'train.jsonl:3: text: is missing; the row has "label"',
    );
    expect(faultOf(Array(9).fill({ text: null, label: 0 }), {}).split("\n")).toHaveLength(5);
  });

  it("of a row without a token and of a template that cannot be", () => {
    expect(faultOf([{ text: " ", label: 0 }], {}, { tokenizer: plain })).toBe(
      "train.jsonl:1: has no token; remove the row or use another tokenizer",
    );
    expect(faultOf([{ text: "a", label: 0 }], { template: "plain {text" })).toContain("that is never closed");
  });
});
