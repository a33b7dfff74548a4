/**
 * Labelled text from a JSONL file, one `{"text": string, "label": integer}` a line.
 * A row that is not exactly that is never skipped or guessed at: the file is refused, with its lines.
 */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import * as z from "zod";
import { CLASSES_MAX, EXAMPLES_COUNT_MAX } from "./examples.ts";

export interface Row {
  text: string;
  label: number;
}

export const TEXT_CHARACTERS_MAX = 1_000_000;
/** So many faults are worth reading at once; the rest are most likely the same fault again. */
const FAULTS_SHOWN_MAX = 5;

const rowSchema = z.strictObject({
  text: z
    .string()
    .max(TEXT_CHARACTERS_MAX, `at most ${TEXT_CHARACTERS_MAX} characters`)
    .refine((text) => text.trim() !== "", "must not be empty"),
  label: z
    .int()
    .min(0)
    .max(CLASSES_MAX - 1),
});

export type Dataset =
  | { ok: true; rows: Row[] /** Largest label + 1. */; classes: number }
  | { ok: false; code: "dataset-unreadable" | "dataset-malformed" | "dataset-empty"; message: string };

/**
 * Reads a data set. With `classes` given, a label outside 0..classes-1 is a fault.
 * Blank lines are allowed; faults are reported together, each with `file:line`.
 */
export async function readDataset(file: string, options: { classes?: number } = {}): Promise<Dataset> {
  const rows: Row[] = [];
  const faults: string[] = [];
  let line = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      if (text.trim() === "") continue;
      const row = parseRow(line === 1 ? text.replace(/^\uFEFF/, "") : text, options.classes);
      if (typeof row === "string") faults.push(`${file}:${line}: ${row}`);
      else rows.push(row);
      if (faults.length > FAULTS_SHOWN_MAX || rows.length > EXAMPLES_COUNT_MAX) break;
    }
  } catch (cause) {
    return { ok: false, code: "dataset-unreadable", message: `${file}: cannot be read (${(cause as Error).message}); check the path` };
  }
  if (faults.length > 0) return { ok: false, code: "dataset-malformed", message: messageOf(faults) };
  if (rows.length === 0)
    return { ok: false, code: "dataset-empty", message: `${file}: has no rows; it needs lines of {"text": "...", "label": 0}` };
  if (rows.length > EXAMPLES_COUNT_MAX)
    return { ok: false, code: "dataset-malformed", message: `${file}: has more than ${EXAMPLES_COUNT_MAX} rows; split it` };
  return { ok: true, rows, classes: rows.reduce((most, { label }) => Math.max(most, label + 1), 0) };
}

/** A row, or what is wrong with it. */
function parseRow(text: string, classes: number | undefined): Row | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return `is not JSON; each line needs {"text": "...", "label": 0}`;
  }
  const parsed = rowSchema.safeParse(value);
  if (!parsed.success)
    return parsed.error.issues.map(({ path, message }) => (path.length > 0 ? `${path.join(".")}: ${message}` : message)).join("; ");
  if (classes !== undefined && parsed.data.label >= classes)
    return `label: ${parsed.data.label} is not 0 to ${classes - 1}, the model's ${classes} classes`;
  return parsed.data;
}

function messageOf(faults: readonly string[]): string {
  const shown = faults.slice(0, FAULTS_SHOWN_MAX);
  return [...shown, ...(faults.length > shown.length ? ["... and more"] : [])].join("\n");
}
