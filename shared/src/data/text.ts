/** Records from plain text: one for each line, paragraph or file, with the one column `text`. */
import { collect, type Reading, type Records, refused, tooLong, VALUE_CHARACTERS_MAX } from "./collect.ts";
import { readLines } from "./lines.ts";

export type TextUnit = "line" | "paragraph" | "file";
export const TEXT_COLUMN = "text";

/**
 * Reads a text file. Blank lines are no records; they end a paragraph. The lines of a record are joined by "\n", without an end after the
 * last; a whole file keeps its blank lines. `at` is `file:line` of a record's first line. Throws Node's errors where the file cannot be
 * read.
 */
export async function readText(file: string, { columns, rowsMax }: Reading, by: TextUnit): Promise<Records> {
  const other = columns?.find((column) => column !== TEXT_COLUMN);
  if (other !== undefined) return refused("records-malformed", `${file}: ${other}: is no column; plain text has one, "${TEXT_COLUMN}"`);
  const collection = collect(file, rowsMax);
  let lines: string[] = [];
  let characters = 0;
  let first = 0;
  const end = () => {
    if (characters > VALUE_CHARACTERS_MAX)
      collection.fault(first, TEXT_COLUMN, `a ${by} ${tooLong(characters)}${by === "line" ? "" : `, or read it by ${SMALLER[by]}`}`);
    else if (lines.some(isWritten)) collection.add(first, { [TEXT_COLUMN]: lines.join("\n") });
    lines = [];
    characters = 0;
    first = 0;
  };
  await readLines(file, collection, (text, line) => {
    if (by !== "file" && !isWritten(text)) return end();
    characters += text.length + (first === 0 ? 0 : 1);
    if (first === 0) first = line;
    // What is beyond the limit is counted and not kept.
    if (characters <= VALUE_CHARACTERS_MAX) lines.push(text);
    if (by === "line") end();
  });
  end();
  return collection.result("text");
}

const SMALLER = { paragraph: "line", file: "paragraph" } as const;

function isWritten(line: string): boolean {
  return /\S/.test(line);
}
