/** The pages beside the example jobs say what the schema says, and every example is a valid job file. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readJobFile } from "./config.ts";
import { FILES, jobSchema } from "./reference.ts";

const JOBS = fileURLToPath(new URL("../../deploy/jobs/", import.meta.url));

it.each(Object.entries(FILES))("%s is what the schema gives", (name, make) => {
  expect(readFileSync(join(JOBS, name), "utf8"), "run `npm run reference`").toBe(make());
});

it("every key has a description", () => {
  for (const [key, { description }] of Object.entries(jobSchema().properties ?? {})) expect(description, key).toMatch(/\w/);
});

const EXAMPLES = readdirSync(JOBS).filter((name) => name.endsWith(".yaml"));

it.each(EXAMPLES)("%s is a job file", async (name) => {
  const read = await readJobFile(join(JOBS, name));
  expect(read.ok ? "" : read.message).toBe("");
});

it("there is an example of each kind that the page promises", () => {
  expect(EXAMPLES).toEqual(["causal-lm.yaml", "image-cnn.yaml", "lora-4bit.yaml", "recurrent.yaml", "reward.yaml", "sentiment.yaml"]);
});
