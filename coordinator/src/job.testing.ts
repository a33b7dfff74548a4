/** What the tests of making a job share: a job file's settings, a tokenizer of whole words, and a folder that is gone after them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadedTokenizer, loadTokenizer } from "@zoswarm/shared/data/tokenizer";
import type { Objective } from "@zoswarm/shared/protocol/manifest";
import { afterAll } from "vitest";
import { type JobFile, jobFileSchema } from "./jobfile.ts";

/** A folder of the test file's own. */
export function testFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "zoswarm-job-"));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A job of these keys, the others at their defaults. */
export function jobOf(over: Record<string, unknown> = {}): JobFile {
  const files = { model: "model.onnx", tokenizer: "tokenizer.json", train: "train.jsonl", heldout: "heldout.jsonl" };
  return jobFileSchema.parse({ name: "test", ...files, steps: 1, rate: 0.01, ...over });
}

export function objectiveOf(over: Partial<Objective> = {}): Objective {
  return { kind: "classes", measure: "loss", metric: "accuracy", classes: 2, generate: 0, stop: null, reward: null, ...over };
}

const SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const WORDS = [..."abcdefghij", "it", "was", "good", "bad", "plain", "##ish", ":"];

/** The words' ids, and of the special tokens: 0 to 4. */
export const ID = Object.fromEntries([...SPECIAL, ...WORDS].map((word, id) => [word, id])) as Record<string, number>;

/** A tokenizer.json of WORDS, with [CLS] before and [SEP] behind a text where it is framed. */
export async function wordTokenizer(dir: string, { framed }: { framed: boolean }): Promise<LoadedTokenizer> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const special = (token: string) => ({ SpecialToken: { id: token, type_id: 0 } });
  const text = { Sequence: { id: "A", type_id: 0 } };
  const frame = {
    type: "TemplateProcessing",
    single: [special("[CLS]"), text, special("[SEP]")],
    pair: [special("[CLS]"), text, special("[SEP]"), { Sequence: { id: "B", type_id: 1 } }, special("[SEP]")],
    special_tokens: Object.fromEntries(["[CLS]", "[SEP]"].map((token) => [token, { id: token, ids: [ID[token]], tokens: [token] }])),
  };
  const json = {
    version: "1.0",
    added_tokens: SPECIAL.map((content, id) => ({ id, content, ...flags })),
    normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: framed ? frame : null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab: ID },
  };
  const file = join(dir, `${framed ? "framed" : "plain"}.json`);
  writeFileSync(file, JSON.stringify(json));
  const loaded = await loadTokenizer(file);
  if (!loaded.ok) throw new Error(loaded.message);
  return loaded;
}
