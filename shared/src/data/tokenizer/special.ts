/** Which ids have a special meaning. A tokenizer.json does not say so outright: names and places that everybody uses do. */
import type { Parts } from "./file.ts";

/** Null where a tokenizer has no such token. */
export interface SpecialIds {
  pad: number | null;
  mask: number | null;
  bos: number | null;
  eos: number | null;
  unk: number | null;
}

/** The first that is an added token counts. */
const NAMES = {
  pad: ["<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>", "<|endofpad|>"],
  mask: ["<mask>", "[MASK]", "<|mask|>"],
  bos: ["<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<|bos|>"],
  eos: ["</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>", "<|eos|>"],
} as const;

/**
 * The special ids of a tokenizer. `pad` is the file's padding id, else by name. `bos` and `eos` are by name, else the first id that the
 * post-processor puts before and the last that it puts after every text: [CLS] and [SEP] for BERT. `unk` is the model's.
 */
export function specialIdsOf({ added, frame, model, padId }: Parts): SpecialIds {
  const ids = new Map(added.map(({ content, id }) => [content, id]));
  const named = (names: readonly string[]) => names.map((name) => ids.get(name)).find((id) => id !== undefined) ?? null;
  return {
    pad: padId ?? named(NAMES.pad),
    mask: named(NAMES.mask),
    bos: named(NAMES.bos) ?? frame.before[0] ?? null,
    eos: named(NAMES.eos) ?? frame.after.at(-1) ?? null,
    unk: model.unk,
  };
}
