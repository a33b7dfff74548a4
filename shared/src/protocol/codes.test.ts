import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ANNOUNCEMENT_CODES, RESULT_CODES, SESSION_CODES } from "./codes.ts";

const page = readFileSync(new URL("../../spec/codes.md", import.meta.url), "utf8");

/** The rows of the table under a heading: what stands in backticks first, and the second column. */
function rowsUnder(heading: string): string[][] {
  const section = page.split(/^## /m).find((text) => text.startsWith(heading)) ?? "";
  return [...section.matchAll(/^\| `([a-z-]+)` \| ([^|]+) \|/gm)].map(([, code = "", second = ""]) => [code, second.trim()]);
}

test.each([
  ["RESULT_CODES", RESULT_CODES],
  ["SESSION_CODES", SESSION_CODES],
])("the spec lists %s in the order that is on the wire", (name, codes) => {
  expect(rowsUnder(name).map(([code]) => code)).toEqual([...codes]);
});

test("the spec lists what becomes of an announcement, and what gossip is told", () => {
  expect(Object.fromEntries(rowsUnder("ANNOUNCEMENT_CODES"))).toEqual(ANNOUNCEMENT_CODES);
});
