/**
 * The jobs that quality is measured on: a language model, label words and adapters on stories260K, whose files lie beside the project, and
 * the demo's classifier. None names a rate.
 */
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeMails } from "../../../deploy/demo/data.ts";
import { jobOf } from "../../../deploy/demo/job.ts";
import { convertModel } from "../../../deploy/demo/model.ts";
import { storiesTokenizer } from "../../e2e/stories.ts";

export const JOBS = ["lm", "demo", "lora", "words"] as const;
/** Forward passes that each is compared by. */
export const FORWARDS: Record<JobName, number> = { lm: 1600, demo: 1024, lora: 1600, words: 1600 };
export type JobName = (typeof JOBS)[number];

const BESIDE = fileURLToPath(new URL("../../../../shared/", import.meta.url));
const beside = (path: string) => join(BESIDE, path);

/** Why a job cannot be tried here; null where it can. */
export function missing(name: JobName): string | null {
  const has = existsSync(beside("models/stories260K")) && existsSync(beside("data"));
  return name === "demo" || has ? null : "the files of stories260K and its texts are not beside the project";
}

/** The job file of a name, over files written to `dir`. */
export async function jobNamed(name: JobName, dir: string): Promise<Record<string, unknown>> {
  if (name === "demo") {
    await convertModel(dir);
    await writeMails(dir);
    const { rate: _rate, epsilonLog2: _epsilon, directionsLog2: _directions, steps: _steps, ...job } = jobOf(dir, 1);
    return job;
  }
  const tokenizer = join(dir, "tokenizer.json");
  await writeFile(tokenizer, JSON.stringify(storiesTokenizer(beside("models/stories260K/tok512.bin"))));
  const stories = { name, model: beside("models/stories260K/stories260K.onnx"), tokenizer, batch: 16, maxTokens: 64 };
  if (name === "words") return { ...stories, ...(await words(dir)) };
  return { ...stories, objective: "causal-lm", packed: true, ...(name === "lm" ? await reviews(dir) : await plays(dir)) };
}

const linesOf = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** Sentences of film reviews: nothing like the stories that the model was trained on. */
async function reviews(dir: string) {
  const [positive, negative] = ["pos", "neg"].map((kind) =>
    readFileSync(beside(`data/mr/rt-polarity.${kind}`), "latin1")
      .trim()
      .split("\n"),
  );
  const rows = (positive ?? []).flatMap((text, i) => [{ text }, { text: negative?.[i] ?? "" }]);
  await writeFile(join(dir, "train.jsonl"), linesOf(rows.slice(0, -600)));
  await writeFile(join(dir, "heldout.jsonl"), linesOf(rows.slice(-200)));
  return { train: join(dir, "train.jsonl"), heldout: join(dir, "heldout.jsonl") };
}

/** Adapters of rank 4 on every weight, for the language of plays. */
async function plays(dir: string) {
  const file = join(dir, "plays.txt");
  await writeFile(file, readFileSync(beside("data/text/tinyshakespeare.txt"), "utf8").slice(0, 200_000));
  return { train: { file, by: "paragraph" }, heldout: { share: 0.05 }, trained: { lora: { rank: 4, alpha: 8, targets: ["*"] } } };
}

/** Which of two words follows a message, from 64 messages of each kind. */
async function words(dir: string) {
  const rows = readFileSync(beside("data/sms_spam/SMSSpamCollection"), "utf8").trim().split("\n");
  const messages = rows.map((row) => row.split("\t")).map(([label, text]) => ({ text, label }));
  const train = join(dir, "sms.jsonl");
  await writeFile(train, linesOf(messages));
  return { train, heldout: { perClass: 64 }, shots: 64, labels: ["ham", "spam"], template: "{text} It was", words: ["a", "the"] };
}
