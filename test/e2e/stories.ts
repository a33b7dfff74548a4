/** llama2.c's tokenizer file as a tokenizer.json: a byte-pair encoding whose merges are ordered by the pieces' scores, with byte fallback. */
import { readFileSync } from "node:fs";

/** Reads `tok512.bin`: a u32, then for each piece its float score, its u32 length and its bytes. */
export function storiesTokenizer(file: string): object {
  const bytes = readFileSync(file);
  const pieces: { text: string; score: number }[] = [];
  for (let at = 4; at < bytes.byteLength; ) {
    const [score, length] = [bytes.readFloatLE(at), bytes.readUInt32LE(at + 4)];
    pieces.push({ text: bytes.toString("utf8", at + 8, at + 8 + length), score });
    at += 8 + length;
  }
  const names = pieces.map(({ text }, id) => (id < 3 ? (["<unk>", "<s>", "</s>"][id] as string) : text.replaceAll(" ", "▁")));
  const ids = new Map(names.map((name, id) => [name, id]));
  // A piece may come of any two others; which is tried first follows from its score.
  const merges = names
    .map((name, id) => ({ name, id }))
    .slice(259)
    .sort((one, other) => (pieces[other.id]?.score ?? 0) - (pieces[one.id]?.score ?? 0))
    .flatMap(({ name }) => {
      const letters = [...name];
      return letters
        .slice(1)
        .map((_, i) => [letters.slice(0, i + 1).join(""), letters.slice(i + 1).join("")] as const)
        .filter(([left, right]) => ids.has(left) && ids.has(right));
    });
  const special = ["<unk>", "<s>", "</s>"].map((content, id) => ({
    ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  }));
  const bos = { SpecialToken: { id: "<s>", type_id: 0 } };
  return {
    version: "1.0",
    added_tokens: special,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [bos, { Sequence: { id: "A", type_id: 0 } }],
      pair: [bos, { Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: { type: "BPE", unk_token: "<unk>", byte_fallback: true, fuse_unk: true, vocab: Object.fromEntries(ids), merges },
  };
}
