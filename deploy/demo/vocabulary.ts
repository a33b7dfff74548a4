/**
 * The encoder's SentencePiece vocabulary as a Hugging Face tokenizer.json (Unigram), which anything that reads such files can use.
 */
/** [piece, log probability], at the index that is its id. */
export type Vocabulary = readonly (readonly [string, number])[];

/** Ids below are reserved; only 0, the unknown piece, is ever used. Some would match markup such as <s> in a mail. */
const FIRST_PIECE = 6;
const SPACE = "\u2581";

/** The content of a tokenizer.json for the vocabulary: NFKC, runs of white space as one space, Unigram. */
export function tokenizerOf(pieces: Vocabulary): object {
  const lowest = pieces.slice(FIRST_PIECE).reduce((least, [, score]) => Math.min(least, score), 0);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFKC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Strip", strip_left: true, strip_right: true },
      ],
    },
    pre_tokenizer: { type: "Metaspace", replacement: SPACE, prepend_scheme: "always", split: false },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: SPACE, prepend_scheme: "always", split: false },
    model: {
      type: "Unigram",
      unk_id: 0,
      byte_fallback: false,
      vocab: pieces.map((piece, id) => (id < FIRST_PIECE ? [reserved(id), lowest] : piece)),
    },
  };
}

/** A piece that no text contains: NFKC turns these wide brackets into narrow ones before pieces are looked for. */
function reserved(id: number): string {
  return `\uFF1Creserved ${id}\uFF1E`;
}
