import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTokenizer } from "@zoswarm/shared/data/tokenizer";
import { trainableOf } from "@zoswarm/shared/model/lift";
import { type Model, readModel, writeModel } from "@zoswarm/shared/model/onnx";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convertModel, encoderWith } from "./model.ts";

const folder = mkdtempSync(join(tmpdir(), "zoswarm-model-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What is used of onnxruntime-node, which is a dependency of the shared package and not of the demo. */
interface Runtime {
  InferenceSession: {
    create(
      bytes: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: object): Promise<Record<string, { data: Float32Array }>>; release(): Promise<void> }>;
  };
  Tensor: new (type: "int64", data: bigint[], shape: number[]) => object;
}
const shared = createRequire(new URL("../../shared/package.json", import.meta.url));

/** Every output of a model for two texts of different lengths, as float32. */
async function run(bytes: Uint8Array): Promise<Record<string, Float32Array>> {
  const { InferenceSession, Tensor } = shared("onnxruntime-node") as Runtime;
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const ids = [104, 9, 3713, 22, 7999, 6, 500, 501, 0, 0, 0, 0].map(BigInt);
  const mask = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0].map(BigInt);
  const feeds = { input_ids: new Tensor("int64", ids, [2, 6]), attention_mask: new Tensor("int64", mask, [2, 6]) };
  const outputs = await session.run(feeds);
  await session.release();
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data]));
}

function parametersOf(model: Model): number {
  const found = trainableOf(model);
  if (!found.ok) throw new Error(found.message);
  return found.tensors.reduce((sum, { values }) => sum + values.length, 0);
}

describe("the encoder", { timeout: 60_000 }, () => {
  const reference = fileURLToPath(new URL("../../../shared/models/use-lite/use-lite-encoder.onnx", import.meta.url));

  it("has 6,975,744 parameters", async () => {
    expect(parametersOf(await encoderWith({ kind: "embedding" }))).toBe(6_975_744);
  });

  it.skipIf(!existsSync(reference))("gives what the reference conversion gives (skipped where ../shared is absent)", async () => {
    const [ours, theirs] = [await run(writeModel(await encoderWith({ kind: "embedding" }))), await run(await readFile(reference))];
    for (const name of ["sentence_embedding", "last_hidden_state"]) {
      expect(ours[name]?.length).toBe(theirs[name]?.length);
      const apart = ours[name]?.map((value, i) => Math.abs(value - (theirs[name]?.[i] ?? Number.NaN)));
      expect(Math.max(...(apart ?? [Number.NaN])), name).toBeLessThan(1e-5);
    }
  });
});

describe("convertModel", { timeout: 60_000 }, () => {
  let files: Awaited<ReturnType<typeof convertModel>>;
  beforeAll(async () => {
    files = await convertModel(join(folder, "new", "place"));
  });

  it("writes a classifier that starts at even odds", async () => {
    const read = readModel(await readFile(files.model));
    if (!read.ok) throw new Error(read.message);
    expect(parametersOf(read.model)).toBe(6_975_744 + 2 * 512 + 2);
    expect((await run(await readFile(files.model))).logits).toEqual(new Float32Array(4));
  });

  it("writes a tokenizer that gives the vocabulary's ids", async () => {
    const tokenizer = await loadTokenizer(files.tokenizer);
    if (!tokenizer.ok) throw new Error(tokenizer.message);
    const pieces: string[] = (
      JSON.parse(await readFile(files.tokenizer, "utf8")) as { model: { vocab: [string, number][] } }
    ).model.vocab.map(([piece]) => piece);
    const spelled = (text: string) => tokenizer.tokenize(text).map((id) => (id === 0 ? "?" : pieces[id]));
    expect(spelled("  Hello\n\n\tworld,   the end. ")).toEqual(["\u2581H", "ello", "\u2581world", ",", "\u2581the", "\u2581end", "."]);
    // Markup that looks like a reserved piece is text; signs that are in no piece become one unknown piece.
    expect(spelled("<s>").join("")).toContain("s");
    expect(spelled("<s>")).not.toEqual(["\u2581", "<s>"]);
    expect(spelled("a \u{1F600}\u{1F601}")).toEqual(["\u2581a", "\u2581", "?"]);
  });
});
