import { describe, expect, it } from "vitest";
import type { DataRecord, Value } from "./collect.ts";
import { CLASSES_MAX } from "./examples.ts";
import { labelOf, labelsIn, numberOf, numbersOf, textOf } from "./rows.ts";

const recordOf = (value: Value | undefined, index = 0): DataRecord => ({
  values: value === undefined ? {} : { c: value },
  at: `f:${index + 1}`,
});
const recordsOf = (...values: Value[]) => values.map(recordOf);

/** What a reader makes of a cell: a value, or the message behind its place. */
function cell<T>(read: (record: DataRecord) => { ok: true; value: T } | { ok: false; message: string }, value?: Value): T | string {
  const result = read(recordOf(value));
  return result.ok ? result.value : result.message.replace(/^f:1: c: /, "fault: ");
}

describe("textOf", () => {
  it("reads texts, numbers and booleans that are not blank", () => {
    expect([cell(textOf("c"), " x "), cell(textOf("c"), 1.5), cell(textOf("c"), true)]).toEqual([" x ", "1.5", "true"]);
    expect(cell(textOf("c"), " \n")).toBe("fault: is blank; a text was expected: fill it in or remove the row");
    expect(cell(textOf("c"))).toBe("fault: is missing; the row has none");
    expect(cell(textOf("c"), null)).toContain("fault: is null");
    expect(cell(textOf("c"), [1])).toContain("fault: is a list");
  });
});

describe("labelOf", () => {
  it("reads names, and indices where no name is a number", () => {
    const read = labelOf("c", ["spam", "ham"]);
    expect(["spam", "ham", "0", "1"].map((name) => cell(read, name))).toEqual([0, 1, 0, 1]);
    expect([0, 1].map((index) => cell(read, index))).toEqual([0, 1]);
    for (const value of ["Spam", "spam ", "2", "01", 2, 0.5, -1, ""]) expect(cell(read, value)).toContain("is no label");
    const numbers = labelOf("c", ["3", "5"]);
    expect(["3", 5].map((name) => cell(numbers, name))).toEqual([0, 1]);
    expect(cell(numbers, 1)).toBe('fault: 1 is no label; the 2 labels are "3", "5"');
    expect(cell(labelOf("c", ["false", "true"]), true)).toBe(1);
    expect(() => labelOf("c", ["a", "a"])).toThrow("two labels are equal");
  });
});

describe("labelsIn", () => {
  it("finds whole numbers without a gap, or names in sorted order", () => {
    expect(labelsIn(recordsOf("2", 0, "1", 0), "c")).toEqual({ ok: true, labels: ["0", "1", "2"] });
    expect(labelsIn(recordsOf("b", "a", "Z", "b"), "c")).toEqual({ ok: true, labels: ["Z", "a", "b"] });
    expect(labelsIn(recordsOf(true, false), "c")).toEqual({ ok: true, labels: ["false", "true"] });
    expect(
      labelsIn(
        Array.from({ length: 12 }, (_, index) => recordOf(`${11 - index}`)),
        "c",
      ),
    ).toMatchObject({ labels: { 10: "10", 2: "2" } });
  });

  it.each([
    [["1", "2"], "c: has 2 labels, and 0 is not among them; labels count from 0 without a gap, or give the labels"],
    [["-1", "1"], 'c: holds whole numbers, as 1, and other labels, as "-1"; give the labels'],
    [["0", "1.0"], 'c: holds whole numbers, as 0, and other labels, as "1.0"; give the labels'],
    [["spam", "ham", "Spam "], 'c: "spam" and "Spam " differ only in case or spaces; make them one, or give the labels'],
    [["a", " "], 'c: " " is a label; a label must not be blank: name it'],
    [[0.5, 1], "f:1: c: is 0.5; a label is a whole number or a name: name another column, or fit a number"],
    [[null], "f:1: c: is null; a text, a number or a boolean was expected: fill it in or remove the row"],
    [Array.from({ length: CLASSES_MAX + 1 }, (_, index) => `n${index}`), "c: has more than 65536 labels; 1 to 65536 labels are possible"],
  ] as [Value[], string][])("refuses what it would have to guess at (%#)", (values, message) => {
    expect(labelsIn(recordsOf(...values), "c")).toEqual({ ok: false, code: "records-malformed", message });
  });

  it("checks labels that are given", () => {
    expect(labelsIn([], "c", ["b", "a"])).toEqual({ ok: true, labels: ["b", "a"] });
    expect(labelsIn([], "c", ["b", "a", "b"])).toMatchObject({ message: 'c: the label "b" is given twice; give each once' });
    expect(labelsIn([], "c", [])).toMatchObject({ message: "c: has 0 labels; 1 to 65536 labels are possible" });
    expect(labelsIn([], "c", ["a", ""])).toMatchObject({ ok: false });
  });
});

describe("numberOf", () => {
  it("reads numbers and decimal text, and nothing else that JavaScript would", () => {
    expect(["-1.5", "+.5", "2.", "1e-3", 7].map((value) => cell(numberOf("c"), value))).toEqual([-1.5, 0.5, 2, 0.001, 7]);
    for (const value of ["", " 1", "1,5", "0x10", "Infinity", "NaN", "1e999", "1_0", true, "1".repeat(65)])
      expect(cell(numberOf("c"), value)).toContain("a finite number with a decimal point was expected, as 0.5");
    expect(cell(numberOf("c"), null)).toContain("is null");
  });
});

describe("numbersOf", () => {
  it("reads lists of one length, from lists and from JSON", () => {
    const read = numbersOf("c", 2);
    expect([cell(read, [1, 2.5]), cell(read, "[1, 2.5]")]).toEqual([
      [1, 2.5],
      [1, 2.5],
    ]);
    expect(cell(read, [1])).toBe("fault: has 1 numbers; 2 were expected");
    for (const value of ["1, 2", "[1, null]", '["1", 2]', "[1, 1e999]", "{}", "", 1, null])
      expect(cell(read, value)).toContain("a list of 2 finite numbers was expected, as [0.5, 1]");
    expect(cell(read)).toContain("is nothing; a list");
  });
});
