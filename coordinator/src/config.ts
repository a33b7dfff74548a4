/**
 * The job file: what a launcher writes to describe a job. YAML or JSON; every unknown or out-of-range key is reported at once,
 * with its path. Paths in it are relative to the file.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parse as parseYaml } from "yaml";
import type * as z from "zod";
import { type DataFile, type JobFile, jobFileSchema, misfitsOf } from "./jobfile.ts";

export type ReadJobFile =
  | { ok: true; job: JobFile }
  | { ok: false; code: "job-unreadable" | "job-malformed" | "job-invalid"; message: string };

/** Reads a job file; the paths in the answer are absolute. */
export async function readJobFile(file: string): Promise<ReadJobFile> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    return { ok: false, code: "job-unreadable", message: `job file ${file}: cannot be read (${(error as Error).message}); check the path` };
  }
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    return { ok: false, code: "job-malformed", message: `job file ${file}: is neither YAML nor JSON (${(error as Error).message.trim()})` };
  }
  const parsed = jobFileSchema.safeParse(value);
  const faults = [...(parsed.error?.issues ?? []).flatMap((issue) => faultsOf(issue, value)), ...misfitsOf(value)];
  if (!parsed.success || faults.length > 0) {
    const message = `job file ${file}: ${faults.length === 1 ? "a fault" : `${faults.length} faults`}\n${faults.join("\n")}`;
    return { ok: false, code: "job-invalid", message };
  }
  const job = parsed.data;
  const absolute = (path: string) => resolve(dirname(file), path);
  const located = <T extends JobFile["train"] | JobFile["heldout"]>(data: T): T =>
    typeof data === "string"
      ? (absolute(data) as T)
      : "file" in (data as object)
        ? ({ ...(data as object), file: absolute((data as DataFile).file) } as T)
        : data;
  job.model = absolute(job.model);
  job.train = located(job.train);
  job.heldout = located(job.heldout);
  if (job.tokenizer !== undefined) job.tokenizer = absolute(job.tokenizer);
  if (job.reward !== undefined) job.reward = absolute(job.reward);
  return { ok: true, job };
}

/** One line for every fault: the path, what stands there, what may. */
function faultsOf(issue: z.core.$ZodIssue, root: unknown): string[] {
  if (issue.code === "unrecognized_keys") {
    const known = issue.path.length === 0 ? `; known keys: ${Object.keys(jobFileSchema.shape).join(", ")}` : "";
    return issue.keys.map((key, i) => `  ${[...issue.path, key].join(".")}: unknown key${i === 0 ? known : ""}`);
  }
  let value = root;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const path = issue.path.join(".");
  if (path === "") return [`  it must be a list of keys and values, like "steps: 100" (it is ${JSON.stringify(value)?.slice(0, 80)})`];
  if (value === undefined) return [`  ${path}: is missing (${issue.code === "invalid_type" ? `a ${issue.expected}` : issue.message})`];
  return [`  ${path}: ${issue.message} (it is ${JSON.stringify(value)?.slice(0, 80)})`];
}
