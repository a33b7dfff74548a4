/**
 * The job file's reference, made from its schema: `reference.md` for people and `job.schema.json` for editors. `npm run reference` writes
 * both; a test compares them with the schema.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { jobFileSchema } from "./jobfile.ts";

interface Schema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
}

/** The JSON Schema of what may be written: keys with defaults may be left out. */
export function jobSchema(): Schema {
  return { ...(z.toJSONSchema(jobFileSchema, { io: "input" }) as Schema), description: "A zoswarm job file" };
}

/** The same for people, a row for every key. */
export function reference(): string {
  const schema = jobSchema();
  const rows = Object.entries(schema.properties ?? {}).flatMap(([key, each]) => rowsOf(key, each, schema.required?.includes(key) ?? false));
  return `# The job file
YAML or JSON; paths are relative to the file. A key that is unknown or out of range is refused, all of them at once, before anything is made.
\`npm run coordinator -- check job.yaml\` tries it and says what it costs. The files beside this page are examples to start from. Editors
complete and check the keys by \`job.schema.json\`. This page is made from the schema in \`coordinator/src/jobfile.ts\`: \`npm run reference\`.

| key | what it says | values | default |
|---|---|---|---|
${rows.join("\n")}
`;
}

function rowsOf(key: string, schema: Schema, isRequired: boolean): string[] {
  const fallback = schema.default === undefined ? (isRequired ? "**needed**" : "") : `\`${JSON.stringify(schema.default)}\``;
  const inner = (schema.anyOf ?? [schema]).flatMap((each) =>
    Object.entries(each.properties ?? {}).flatMap(([name, one]) => rowsOf(`${key}.${name}`, one, each.required?.includes(name) ?? false)),
  );
  return [`| \`${key}\` | ${(schema.description ?? "").replaceAll("|", "\\|")} | ${valuesOf(schema)} | ${fallback} |`, ...inner];
}

function valuesOf(schema: Schema): string {
  if (schema.anyOf) return [...new Set(schema.anyOf.map(valuesOf))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.type === "array") return `list of ${schema.items ? valuesOf(schema.items) : "values"}`;
  if (schema.type === "object") return schema.properties ? `{${Object.keys(schema.properties).join(", ")}}` : "{name: text}";
  const kind = { integer: "whole number", number: "number", string: "text", boolean: "true, false" }[schema.type ?? ""] ?? "";
  const from = schema.minimum ?? (schema.exclusiveMinimum === undefined ? undefined : `above ${schema.exclusiveMinimum}`);
  const to = schema.maximum ?? (schema.exclusiveMaximum === undefined ? undefined : `below ${schema.exclusiveMaximum}`);
  const isRange = schema.type === "integer" || schema.type === "number";
  return isRange && (from !== undefined || to !== undefined) ? `${kind}, ${from ?? ""} to ${to ?? ""}` : kind;
}

export const FILES = {
  "reference.md": reference,
  "job.schema.json": () => `${JSON.stringify(jobSchema(), null, 2)}\n`,
} as const;

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const [name, make] of Object.entries(FILES)) writeFileSync(new URL(`../../deploy/jobs/${name}`, import.meta.url), make());
