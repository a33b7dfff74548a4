import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VALUE_CHARACTERS_MAX, type Value } from "./collect.ts";
import { parseTemplate, render, renderParts, type Template } from "./template.ts";

function parsed(source: string, columns: string[]): Template {
  const result = parseTemplate(source, columns);
  if (!result.ok) throw new Error(result.message);
  return result.template;
}

const recordOf = (values: Record<string, Value>) => ({ values, at: "rows.csv:7" });

describe("parseTemplate", () => {
  it("tells words from columns", () => {
    const template = parsed("Review: {text}\nIt was {label}, {text}", ["label", "text", "more"]);
    expect(template.columns).toEqual(["text", "label"]);
    expect(template.parts).toEqual([
      { text: "Review: " },
      { column: "text" },
      { text: "\nIt was " },
      { column: "label" },
      { text: ", " },
      { column: "text" },
    ]);
    expect(parsed("{a b}{{{a b}}}", ["a b"]).parts).toEqual([{ column: "a b" }, { text: "{" }, { column: "a b" }, { text: "}" }]);
  });

  it.each([
    ["ab {txt}", 'names "txt" at character 4, which is no column; there are "text", "label"'],
    ["{ text }", 'names " text " at character 1, which is no column'],
    ["{}", 'names "" at character 1, which is no column'],
    ["{text} {", 'has a "{" at character 8 that is never closed; write "{{" for a brace, "{column}" for a column'],
    ["{text {label}", 'has a "{" at character 1 that is never closed'],
    ["{text}}", 'has a "}" at character 7 that closes nothing; write "}}" for a brace'],
    ["{{text}", 'has a "}" at character 7 that closes nothing'],
    ["{{text}}", "names no column, so all prompts would be one"],
    ["", "names no column"],
    [`{text}${"x".repeat(VALUE_CHARACTERS_MAX)}`, "has 1000006 characters; at most 1000000 are allowed"],
  ])("refuses %j", (source, what) => {
    const result = parseTemplate(source, ["text", "label"]);
    expect(result).toMatchObject({ ok: false, code: "template-malformed", message: expect.stringContaining(`the template ${what}`) });
  });

  it("takes any words whose braces are doubled", () => {
    const words = fc.string({ unit: fc.oneof(fc.constantFrom("{", "}", "{{", "}}"), fc.string({ unit: "binary", maxLength: 1 })) });
    const escaped = (text: string) => text.replace(/[{}]/g, "$&$&");
    fc.assert(
      fc.property(words, words, words, (before, after, value) => {
        const template = parsed(`${escaped(before)}{a}${escaped(after)}`, ["a"]);
        expect(render(template, recordOf({ a: value }))).toEqual({ ok: true, value: before + value + after });
      }),
      { seed: 1 },
    );
  });
});

describe("render", () => {
  it("writes numbers and booleans, and keeps an empty text", () => {
    const template = parsed("{t}|{n}|{b}", ["t", "n", "b"]);
    expect(render(template, recordOf({ t: "", n: 1.5, b: false }))).toEqual({ ok: true, value: "|1.5|false" });
  });

  it("says which parts may be cut", () => {
    expect(renderParts(parsed("a {t} b", ["t"]), recordOf({ t: "x" }))).toEqual({
      ok: true,
      value: [
        { text: "a ", cuttable: false },
        { text: "x", cuttable: true },
        { text: " b", cuttable: false },
      ],
    });
  });

  it("names place and column of what is missing, null, a list, or too long", () => {
    const template = parsed("{constructor}{t}", ["constructor", "t"]);
    const faultOf = (values: Record<string, Value>) => {
      const cell = render(template, recordOf(values));
      return cell.ok ? undefined : [cell.code, cell.message];
    };
    expect(faultOf({ t: "x" })).toEqual(["records-malformed", 'rows.csv:7: constructor: is missing; the row has "t"']);
    expect(faultOf({ constructor: 1, t: null })?.[1]).toContain("rows.csv:7: t: is null; a text, a number or a boolean was expected");
    expect(faultOf({ constructor: 1, t: [1] })?.[1]).toContain("rows.csv:7: t: is a list;");
    expect(faultOf({ constructor: 1, t: "x".repeat(VALUE_CHARACTERS_MAX) })?.[1]).toContain(
      "rows.csv:7: the prompt: has 1000001 characters",
    );
  });
});
