/** The jobs that the quality benchmark trains: a language model, the demo's classifier, adapters, and label words. */
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { jobOf } from "../../../deploy/demo/job.ts";
import { storiesTokenizer } from "../../e2e/stories.ts";

const BESIDE = fileURLToPath(new URL("../../../../shared/", import.meta.url));
const beside = (path: string) => join(BESIDE, path);

const rowsOf = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

export async function jobNamed(name: string, dir: string): Promise<Record<string, unknown>> {
  const tokenizer = join(dir, "tokenizer.json");
  await writeFile(tokenizer, JSON.stringify(storiesTokenizer(beside("models/stories260K/tok512.bin"))));
  const stories = { name, model: beside("models/stories260K/stories260K.onnx"), tokenizer, steps: 1000, rate: 1, batch: 16, maxTokens: 64 };
  if (name === "lm") {
    const read = (file: string) =>
      readFileSync(beside(`data/mr/${file}`), "latin1")
        .trim()
        .split("\n");
    const texts = [read("rt-polarity.pos"), read("rt-polarity.neg")];
    const rows = texts[0]?.flatMap((text, i) => [{ text }, { text: texts[1]?.[i] }]) ?? [];
    await writeFile(join(dir, "mr.jsonl"), rowsOf(rows.slice(0, -600)));
    await writeFile(join(dir, "mr-heldout.jsonl"), rowsOf(rows.slice(-200)));
    return { ...stories, train: join(dir, "mr.jsonl"), heldout: join(dir, "mr-heldout.jsonl"), objective: "causal-lm", packed: true };
  }
  if (name === "words") {
    const rows = readFileSync(beside("data/sms_spam/SMSSpamCollection"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split("\t"))
      .map(([label, text]) => ({ text, label }));
    await writeFile(join(dir, "sms.jsonl"), rowsOf(rows));
    return {
      ...stories,
      train: join(dir, "sms.jsonl"),
      heldout: { perClass: 64 },
      shots: 64,
      labels: ["ham", "spam"],
      template: "{text} It was",
      words: ["a", "the"],
    };
  }
  if (name === "lora") {
    await writeFile(join(dir, "text.txt"), readFileSync(beside("data/text/tinyshakespeare.txt"), "utf8").slice(0, 200_000));
    return {
      ...stories,
      train: { file: join(dir, "text.txt"), by: "paragraph" },
      heldout: { share: 0.05 },
      objective: "causal-lm",
      packed: true,
      trained: { lora: { rank: 4, alpha: 8, targets: ["*"] } },
    };
  }
  if (name === "demo") {
    const input = fileURLToPath(new URL("../../../.zoswarm/demo/input", import.meta.url));
    if (!existsSync(input)) throw new Error("run the demo first");
    return { ...jobOf(input, 64), steps: 1000 };
  }
  throw new Error(`no job ${name}`);
}
