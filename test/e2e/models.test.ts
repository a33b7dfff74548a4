/**
 * Models of every kind, trained for real: a coordinator and two workers as processes, until the held-out loss has fallen by the margin that
 * each test states. Models and data that lie beside the project are used where they are; what is skipped is said.
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "@zoswarm/shared/model/file";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { quantizeModel } from "@zoswarm/shared/model/quantize";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { tokenizerOf } from "../../deploy/demo/vocabulary.ts";
import { attentionClassifier, charLstm, charTokenizer } from "./netbuilders.ts";
import { coordinatorArgs, createProcesses, joinAddress, workerArgs } from "./processes.ts";
import { storiesTokenizer } from "./stories.ts";

const BESIDE = fileURLToPath(new URL("../../../shared/", import.meta.url));
const beside = (path: string) => join(BESIDE, path);
const has = existsSync(beside("models")) && existsSync(beside("data"));
if (!has) console.log("skipped: training stories260K, Magika and USE-lite, whose files are not beside the project");

const processes = createProcesses();
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-models-"));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.log(processes.tails());
  await processes.killAll();
  await rm(dir, { recursive: true, force: true });
});

interface Trained {
  startLoss: number;
  endLoss: number;
  startScore: number;
  endScore: number;
  metric: string;
  stateHash: string;
}

/** Runs the job that these keys describe; all replicas must end with the same bits. */
async function train(job: Record<string, unknown>, workerMore: string[] = []): Promise<Trained> {
  const file = join(dir, "job.json");
  const defaults = { name: "test", directionsLog2: 4, batch: 16, deadlineSeconds: 60 };
  await writeFile(file, JSON.stringify({ ...defaults, evaluateEvery: Number(job.steps), ...job }));
  const report = join(dir, "report.json");
  const coordinator = processes.start(
    "coordinator",
    coordinatorArgs(file, join(dir, "data"), ["--wait-for-workers", "2", "--report", report]),
  );
  const address = await joinAddress(coordinator);
  const names = ["ada", "alan"];
  const workers = names.map((name) =>
    processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, "--report", join(dir, `${name}.json`), ...workerMore])),
  );
  for (const one of [...workers, coordinator]) expect(await one.ended, one.lines.slice(-20).join("\n")).toEqual({ code: 0, signal: null });
  const trained = JSON.parse(await readFile(report, "utf8")) as Trained;
  for (const name of names)
    expect(JSON.parse(await readFile(join(dir, `${name}.json`), "utf8"))).toMatchObject({ stateHash: trained.stateHash });
  const { startLoss, endLoss, metric, startScore, endScore } = trained;
  console.log(`loss ${startLoss.toFixed(4)} to ${endLoss.toFixed(4)}, ${metric} ${startScore.toFixed(4)} to ${endScore.toFixed(4)}`);
  return trained;
}

const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

describe.skipIf(!has)("stories260K, a decoder", () => {
  const model = beside("models/stories260K/stories260K.onnx");
  const tokenizer = () => join(dir, "tokenizer.json");
  beforeEach(() => writeFile(tokenizer(), JSON.stringify(storiesTokenizer(beside("models/stories260K/tok512.bin")))));

  it("learns to write like another text: perplexity falls by a fifth", async () => {
    const text = readFileSync(beside("data/text/tinyshakespeare.txt"), "utf8").slice(0, 200_000);
    await writeFile(join(dir, "text.txt"), text);
    const trained = await train({
      ...{ model, tokenizer: tokenizer(), train: { file: "text.txt", by: "paragraph" }, heldout: { share: 0.05 } },
      ...{ objective: "causal-lm", packed: true, maxTokens: 64, steps: 20, rate: 3e-4 },
    });
    expect(trained.metric).toBe("perplexity");
    expect(trained.startScore).toBeCloseTo(Math.exp(trained.startLoss), 6);
    expect(trained.endScore).toBeLessThan(0.8 * trained.startScore);
  });

  it("learns which of two words follows a prompt, as MeZO does it, from 64 examples of each", async () => {
    const rows = readFileSync(beside("data/sms_spam/SMSSpamCollection"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split("\t"))
      .map(([label, text]) => ({ text, label }));
    await writeFile(join(dir, "sms.jsonl"), lines(rows));
    const trained = await train({
      ...{ model, tokenizer: tokenizer(), train: "sms.jsonl", heldout: { perClass: 64 }, shots: 64, labels: ["ham", "spam"] },
      ...{ template: "{text} It was", words: ["a", "the"], maxTokens: 64, steps: 25, rate: 3e-4 },
    });
    expect(trained.endLoss).toBeLessThan(0.9 * trained.startLoss);
    expect(trained.endScore).toBeGreaterThan(0.6);
  });

  it("learns by adapters beside a base of 4 bits, which stays as it is", async () => {
    const opened = openModel(model);
    if (!opened.ok) throw new Error(opened.message);
    const quantized = quantizeModel(opened.model, { kind: "4-bit" }, opened.source);
    if (!quantized.ok) throw new Error(quantized.message);
    await writeFile(join(dir, "q4.onnx"), writeModel(quantized.model));
    await writeFile(join(dir, "text.txt"), readFileSync(beside("data/text/tinyshakespeare.txt"), "utf8").slice(0, 100_000));
    const trained = await train({
      ...{ model: "q4.onnx", tokenizer: tokenizer(), train: { file: "text.txt", by: "paragraph" }, heldout: { share: 0.05 } },
      ...{ objective: "causal-lm", packed: true, maxTokens: 64, steps: 20, rate: 2e-3, epsilonLog2: -8 },
      trained: { lora: { rank: 4, alpha: 8, targets: ["*"] } },
    });
    expect(trained.endLoss).toBeLessThan(0.97 * trained.startLoss);
    const exported = processes.start("coordinator", ["export", join(dir, "data"), "--model", join(dir, "merged.onnx")]);
    expect(await exported.ended).toEqual({ code: 1, signal: null });
    expect(exported.errors.join("\n")).toMatch(/is a weight of 4 bits, too coarse .+ export the adapter/);
  });

  it("learns what its launcher's program rewards, where the volunteer allows it, with nothing set", async () => {
    const rows = Array.from({ length: 48 }, (_, i) => ({
      text: `Once upon a time there was a ${["dog", "cat", "girl", "boy"][i % 4]} number ${i}.`,
    }));
    await writeFile(join(dir, "prompts.jsonl"), lines(rows));
    await writeFile(
      join(dir, "reward.js"),
      "function reward({ generated }) { return generated.length === 0 ? 0 : (generated.match(/e/g) ?? []).length / generated.length; }",
    );
    const job = {
      ...{ model, tokenizer: tokenizer(), train: "prompts.jsonl", heldout: { share: 0.25 }, objective: "reward", reward: "reward.js" },
      ...{ generate: { tokens: 12 }, maxTokens: 32, directionsLog2: undefined, evaluateEvery: 4, stop: { forwards: 640 }, batch: 12 },
    };
    const trained = await train(job, ["--allow-rewards"]);
    expect(trained.metric).toBe("reward");
    expect(trained.endScore).toBeGreaterThan(1.1 * trained.startScore);
    expect(trained.endLoss).toBeCloseTo(-trained.endScore, 9);
  });
});

describe.skipIf(!has)("Magika, a convolutional net over bytes", () => {
  it("learns two kinds of text under new labels: the loss falls by a tenth", async () => {
    const words = (file: string) => readFileSync(beside(file), "utf8").split(/\s+/);
    const rows = ["data/text/tinyshakespeare.txt", "data/mr/rt-polarity.pos"].flatMap((file, label) =>
      Array.from({ length: 120 }, (_, i) => {
        const text = Buffer.from(
          words(file)
            .slice(40 * i, 40 * i + 300)
            .join(" "),
        );
        const bytes = Array.from({ length: 2048 }, (_, at) => (at < 1024 ? text[at] : text[text.length - 2048 + at]) ?? 256);
        return { bytes, label };
      }),
    );
    await writeFile(join(dir, "files.jsonl"), lines(rows));
    const trained = await train({
      ...{
        model: beside("models/magika/model.onnx"),
        // The model ends in a softmax that is spelled out; its logits are a value inside it.
        output: "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Dense_1/AddV2:0",
        train: "files.jsonl",
        heldout: { perClass: 20 },
        columns: { inputs: { bytes: "bytes" } },
      },
      ...{ steps: 40, rate: 1e-3, batch: 8, directionsLog2: 3 },
    });
    expect(trained.endLoss).toBeLessThan(0.9 * trained.startLoss);
  });
});

describe.skipIf(!has)("USE-lite, an encoder", () => {
  it("gets a head, and learns spam from ham of short messages", async () => {
    const vocabulary = JSON.parse(readFileSync(beside("models/use-lite/vocab.json"), "utf8"));
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(tokenizerOf(vocabulary)));
    const rows = readFileSync(beside("data/sms_spam/SMSSpamCollection"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split("\t").map((cell) => `"${cell.replaceAll('"', '""')}"`));
    await writeFile(join(dir, "sms.csv"), `label,text\n${rows.map((row) => row.join(",")).join("\n")}\n`);
    const trained = await train({
      ...{
        model: beside("models/use-lite/use-lite-encoder.onnx"),
        tokenizer: "tokenizer.json",
        train: "sms.csv",
        heldout: { perClass: 60 },
      },
      ...{ output: "sentence_embedding", head: { classes: 2 }, gains: [{ pattern: "head.*", gain: 5 }], maxTokens: 24, metric: "f1" },
      ...{ steps: 40, rate: 6e-5, batch: 24 },
    });
    expect(trained.startLoss).toBeCloseTo(Math.LN2, 5);
    expect(trained.endLoss).toBeLessThan(0.92 * trained.startLoss);
    expect(trained.metric).toBe("f1");
  });
});

describe("nets that this test builds", () => {
  it("a recurrent one learns which character follows", async () => {
    await writeFile(join(dir, "model.onnx"), writeModel(charLstm(24)));
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(charTokenizer()));
    const text = Array.from(
      { length: 400 },
      (_, i) => `the cat sat on the mat and the dog ran to the ${["door", "tree", "sea"][i % 3]}`,
    ).join("\n");
    await writeFile(join(dir, "text.txt"), text);
    const trained = await train({
      ...{ model: "model.onnx", tokenizer: "tokenizer.json", train: "text.txt", heldout: { share: 0.34 }, seed: "1" },
      ...{ objective: "causal-lm", packed: true, maxTokens: 32, steps: 60, rate: 1e-2, estimator: "two-sided", directionsLog2: 3 },
    });
    expect(trained.endLoss).toBeLessThan(0.9 * trained.startLoss);
  });

  it("a small attention model learns by LoRA alone, its base frozen", async () => {
    await writeFile(join(dir, "model.onnx"), writeModel(attentionClassifier(24)));
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(charTokenizer()));
    const rows = Array.from({ length: 240 }, (_, i) => ({
      text: `${"abc"[i % 3]}${"defg"[i % 4]} ${i % 2 === 0 ? "xxxx" : "yyyy"}`,
      label: i % 2,
    }));
    await writeFile(join(dir, "rows.jsonl"), lines(rows));
    const trained = await train({
      ...{ model: "model.onnx", tokenizer: "tokenizer.json", train: "rows.jsonl", heldout: { perClass: 3 }, maxTokens: 12 },
      ...{
        trained: { lora: { rank: 2, alpha: 4, targets: ["query.*", "value.*", "hidden.*", "head.*"] } },
        steps: 40,
        rate: 1e-2,
        directionsLog2: 3,
      },
    });
    expect(trained.endLoss).toBeLessThan(0.9 * trained.startLoss);
    // Merged into the weights, and beside them.
    for (const [option, name] of [
      ["--model", "trained.onnx"],
      ["--adapter", "adapter.safetensors"],
    ] as const) {
      const exported = processes.start("coordinator", ["export", join(dir, "data"), option, join(dir, name)]);
      expect(await exported.ended, exported.lines.join("\n")).toEqual({ code: 0, signal: null });
      expect(existsSync(join(dir, name))).toBe(true);
    }
  });
});
