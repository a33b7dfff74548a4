/**
 * Prompt templates: text with columns in braces, "Review: {text}\nIt was {label}". "{{" and "}}" are braces. What a template says about a
 * record is decided here alone: nothing is trimmed, and nothing that is missing becomes an empty text.
 */
import { badCell, type Cell, type DataRecord, listed, quoted, tooLong, VALUE_CHARACTERS_MAX, valueIn } from "./collect.ts";

export interface Template {
  /** In order; neighbouring text is one part. */
  parts: readonly ({ text: string } | { column: string })[];
  /** The columns that it names, each once, in the order of their first use. */
  columns: readonly string[];
}

export type ParsedTemplate = { ok: true; template: Template } | { ok: false; code: "template-malformed"; message: string };

/**
 * Parses a template of at most VALUE_CHARACTERS_MAX characters. Refused are a name that is none of `columns`, a brace without its partner,
 * and a template that names no column; the message says at which character, counted from 1.
 */
export function parseTemplate(source: string, columns: readonly string[]): ParsedTemplate {
  if (source.length > VALUE_CHARACTERS_MAX) return malformed(`${tooLong(source.length)}`);
  const parts: ({ text: string } | { column: string })[] = [];
  let text = "";
  for (let at = 0; at < source.length; ) {
    const brace = source[at] as string;
    if (brace !== "{" && brace !== "}") {
      const next = source.slice(at).search(/[{}]/);
      const end = next < 0 ? source.length : at + next;
      text += source.slice(at, end);
      at = end;
    } else if (source[at + 1] === brace) {
      text += brace;
      at += 2;
    } else {
      const end = source.slice(at + 1).search(/[{}]/) + at + 1;
      if (brace === "}") return malformed(`has a "}" at character ${at + 1} that closes nothing; write "}}" for a brace`);
      if (end === at || source[end] !== "}")
        return malformed(`has a "{" at character ${at + 1} that is never closed; write "{{" for a brace, "{column}" for a column`);
      const column = source.slice(at + 1, end);
      if (!columns.includes(column))
        return malformed(`names ${quoted(column)} at character ${at + 1}, which is no column; there are ${listed(columns)}`);
      if (text !== "") parts.push({ text });
      text = "";
      parts.push({ column });
      at = end + 1;
    }
  }
  if (text !== "") parts.push({ text });
  const named = [...new Set(parts.flatMap((part) => ("column" in part ? [part.column] : [])))];
  if (named.length === 0) return malformed(`names no column, so all prompts would be one; name one of ${listed(columns)} in braces`);
  return { ok: true, template: { parts, columns: named } };
}

/** One piece of a prompt: the words of the template are not cuttable, the texts of the record are. */
export interface RenderedPart {
  text: string;
  cuttable: boolean;
}

/** The parts of a record's prompt, in order. Faults name the record's place and the column. */
export function renderParts({ parts }: Template, record: DataRecord): Cell<RenderedPart[]> {
  const rendered: RenderedPart[] = [];
  let characters = 0;
  for (const part of parts) {
    const read = "text" in part ? { ok: true as const, value: part.text } : textIn(record, part.column);
    if (!read.ok) return read;
    characters += read.value.length;
    rendered.push({ text: read.value, cuttable: "column" in part });
  }
  if (characters > VALUE_CHARACTERS_MAX) return badCell(record, "the prompt", tooLong(characters));
  return { ok: true, value: rendered };
}

/** A record's prompt. Faults as of `renderParts`. */
export function render(template: Template, record: DataRecord): Cell<string> {
  const read = renderParts(template, record);
  return read.ok ? { ok: true, value: read.value.map(({ text }) => text).join("") } : read;
}

/** A column as text: numbers and booleans as JavaScript writes them. Missing, null and lists are faults; an empty text is none. */
export function textIn(record: DataRecord, column: string): Cell<string> {
  const value = valueIn(record, column);
  if (value === undefined) return badCell(record, column, `is missing; the row has ${listed(Object.keys(record.values))}`);
  if (value === null) return badCell(record, column, "is null; a text, a number or a boolean was expected: fill it in or remove the row");
  if (Array.isArray(value)) return badCell(record, column, "is a list; a text, a number or a boolean was expected: name another column");
  return { ok: true, value: String(value) };
}

function malformed(what: string): ParsedTemplate {
  return { ok: false, code: "template-malformed", message: `the template ${what}` };
}
