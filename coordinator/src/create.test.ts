import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeIndex, decodeShard } from "@zoswarm/shared/data/examples";
import { createGraph } from "@zoswarm/shared/model/graph";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readJobFile } from "./config.ts";
import { createJob } from "./create.ts";
import { filesOf, type JobSpec, readFolder, readFolderKey, refuseOther, specOf } from "./folder.ts";
import { refuseFull } from "./room.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-create-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Two words, two classes, no more than is needed. */
function model(): Uint8Array {
  const graph = createGraph("test");
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  graph.input("attention_mask", "int64", ["batch", "sequence"]);
  const embedded = graph.node("Gather", [graph.parameter("embeddings", [3, 2], Float32Array.of(0, 0, 1, 0, 0, 1)), ids]);
  const mean = graph.node("ReduceMean", [embedded], { axes: [1], keepdims: 0 });
  graph.node("MatMul", [mean, graph.parameter("classifier", [2, 2], new Float32Array(4))], {}, "logits");
  graph.output("logits", "float32", ["batch", 2]);
  return writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" }));
}

async function specWith(over: Record<string, unknown> = {}): Promise<JobSpec> {
  const input = join(dir, "input");
  mkdirSync(input, { recursive: true });
  const at = (name: string) => join(input, name);
  const vocab = { "[UNK]": 0, good: 1, bad: 2 };
  const tokenizer = { added_tokens: [], pre_tokenizer: { type: "Whitespace" }, model: { type: "WordPiece", unk_token: "[UNK]", vocab } };
  writeFileSync(at("model.onnx"), model());
  writeFileSync(at("tokenizer.json"), JSON.stringify({ ...tokenizer, normalizer: null, post_processor: null, decoder: null }));
  writeFileSync(at("train.jsonl"), '{"text": "good good good", "label": 0}\n{"text": "bad", "label": 1}\n');
  writeFileSync(at("heldout.jsonl"), '{"text": "bad bad", "label": 1}\n');
  const files = { model: "model.onnx", tokenizer: "tokenizer.json", train: "train.jsonl", heldout: "heldout.jsonl" };
  writeFileSync(at("job.json"), JSON.stringify({ name: "Test", ...files, steps: 3, rate: 0.01, maxTokens: 2, ...over }));
  const read = await readJobFile(at("job.json"));
  if (!read.ok) throw new Error(read.message);
  const hashed = await specOf(read.job);
  if (!hashed.ok) throw new Error(hashed.message);
  return hashed.spec;
}

describe("createJob", () => {
  it("makes a folder that is whole: settings, data, weights, and a key for its owner alone", async () => {
    const spec = await specWith({ deadlineSeconds: 2.5 });
    const data = join(dir, "deep", "data");
    expect(await createJob(spec, data)).toEqual({
      ok: true,
      frozen: [],
      switchedOff: [],
      doubts: [],
      truncated: 1,
      trainRows: 2,
      heldoutRows: 1,
    });
    expect(readdirSync(join(dir, "deep"))).toEqual(["data"]);
    const folder = readFolder(data);
    if (!folder.ok) throw new Error(folder.message);
    expect(folder.manifest).toMatchObject({
      name: "Test",
      objective: { kind: "classes", classes: 2 },
      job: { steps: 3, rate: 0.01, deadlineMs: 2500, deadlineFloorMs: 2000 },
    });
    expect(folder.manifest.tensors.map(({ name, shape }) => ({ name, shape }))).toEqual([
      { name: "embeddings", shape: [3, 2] },
      { name: "classifier", shape: [2, 2] },
    ]);
    expect(refuseOther(folder, spec)).toBeNull();
    expect(readFolderKey(folder).asymmetricKeyType).toBe("ed25519");
    const files = filesOf(data);
    expect(statSync(files.commitKey).mode & 0o777).toBe(0o600);
    const blobs = await openBlobFiles(files.blobs);
    for (const { id } of [folder.manifest.model, folder.manifest.initial, folder.manifest.examples])
      expect(await blobs.verify(id)).toBe(true);
    expect(decodeShard(readFileSync(files.heldout))).toMatchObject([{ tokens: Uint32Array.of(2, 2), label: 1 }]);
    const index = decodeIndex(readFileSync(blobs.path(folder.manifest.examples.id)));
    expect(index).toMatchObject({ count: 2, labels: Int32Array.of(0, 1) });
    // What volunteers can fetch: graph, weights, index and shards, and not what is held out.
    expect(readdirSync(files.blobs).filter((name) => name.endsWith(".blob"))).toHaveLength(3 + index.shards.length);
    const train = index.shards.flatMap(({ id }) => decodeShard(readFileSync(blobs.path(id))));
    expect(train).toMatchObject([
      { tokens: Uint32Array.of(1, 1), label: 0 },
      { tokens: Uint32Array.of(2), label: 1 },
    ]);
  });

  it("doubts a model that reads padding, for its answers depend on what an example is batched with", async () => {
    const spec = await specWith({ maxTokens: 4 });
    const graph = createGraph("test");
    const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
    const embedded = graph.node("Gather", [graph.parameter("embeddings", [3, 2], Float32Array.of(0, 0, 2, 0, 0, 2)), ids]);
    graph.node("ReduceMean", [embedded], { axes: [1], keepdims: 0 }, "logits");
    graph.output("logits", "float32", ["batch", 2]);
    writeFileSync(spec.model, writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" })));
    expect(await createJob(spec, join(dir, "data"))).toMatchObject({
      doubts: [expect.stringMatching(/^the loss of the same examples differs by 0\.\d+ when they are batched/)],
    });
  });

  it("doubts a language model that sees the tokens it shall predict", async () => {
    const plain = await specWith({ maxTokens: 4, objective: "causal-lm", packed: true });
    const doubtsOf = async (sees: boolean, data: string) => {
      const graph = createGraph("test");
      const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
      const rows = graph.node("Gather", [graph.parameter("embeddings", [3, 3], Float32Array.of(0, 1, 2, 3, 0, 0, 0, 4, 1)), ids]);
      const mean = graph.node("ReduceMean", [rows], { axes: [1], keepdims: 1 });
      graph.node("Add", [rows, sees ? mean : rows], {}, "logits");
      graph.output("logits", "float32", ["batch", "sequence", 3]);
      writeFileSync(plain.model, writeModel(graph.model({ irVersion: 8, opset: 17, producer: "test" })));
      const made = await createJob(plain, join(dir, data));
      return made.ok ? made.doubts : made.message;
    };
    expect(await doubtsOf(false, "decoder")).toEqual([]);
    expect(await doubtsOf(true, "encoder")).toContainEqual(expect.stringMatching(/it sees what it shall predict/));
  });

  it("gives every job a key of its own", async () => {
    const spec = await specWith();
    const [one, other] = [join(dir, "one"), join(dir, "other")];
    for (const each of [one, other]) expect(await createJob(spec, each)).toMatchObject({ ok: true });
    const [first, second] = [readFolder(one), readFolder(other)];
    if (!first.ok || !second.ok) throw new Error("one of them was not made");
    expect(first.jobId).not.toBe(second.jobId);
    expect(first.manifest.key).not.toEqual(second.manifest.key);
    expect(first.manifest.stateHash).toBe(second.manifest.stateHash);
  });

  it("leaves nothing of a job that it refuses, and what was there before alone", async () => {
    const kept = join(dir, "kept");
    mkdirSync(kept);
    const faulty = await specWith({ labels: ["a", "b", "c"] });
    expect(await createJob(faulty, join(kept, "new", "data"))).toMatchObject({ ok: false, code: "labels-misfit" });
    expect(await createJob(faulty, join(dir, "data"))).toMatchObject({ ok: false });
    expect(readdirSync(kept)).toEqual([]);
    expect(existsSync(join(dir, "data"))).toBe(false);
  });

  it("says so where the folder cannot be made, and overwrites nothing", async () => {
    const spec = await specWith();
    writeFileSync(join(dir, "file"), "precious");
    expect(await createJob(spec, join(dir, "file", "data"))).toMatchObject({ ok: false, code: "folder-unwritable" });
    const refused = await createJob(spec, join(dir, "input"));
    expect(refused).toMatchObject({ code: "folder-unwritable", message: expect.stringContaining(`data folder ${join(dir, "input")}: `) });
    expect(readdirSync(dir).sort()).toEqual(["file", "input"]);
    expect(readFileSync(join(dir, "file"), "utf8")).toBe("precious");
  });
});

describe("refuseFull", () => {
  it("compares with what the disk has free", async () => {
    expect(await refuseFull(dir, 1)).toBeNull();
    expect(await refuseFull(dir, 1e18)).toMatchObject({
      ok: false,
      code: "disk-full",
      message: expect.stringMatching(/^the disk that holds .+ has [\d.]+ MB free and 1000000000000\.0 MB are needed: .+ --data$/),
    });
  });
});
