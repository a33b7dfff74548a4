/**
 * The encoder's SentencePiece vocabulary as a Hugging Face tokenizer.json (Unigram), which anything that reads such files can use.
 */
/** [piece, log probability], at the index that is its id. Pieces with a colon have null: the package's own tokenizer adds it as 0. */
export type Vocabulary = readonly (readonly [string, number | null])[];

/** Ids below are reserved; only 0, the unknown piece, is ever used. Some would match markup such as <s> in a mail. */
const FIRST_PIECE = 6;
const SPACE = "\u2581";

/** The content of a tokenizer.json for the vocabulary: NFKC, runs of white space as one space, Unigram. */
export function tokenizerOf(pieces: Vocabulary): object {
  const lowest = pieces.slice(FIRST_PIECE).reduce((least, [, score]) => Math.min(least, score ?? 0), 0);
  // Of a piece that is there twice the last counts, as in the package's own tokenizer.
  const ids = new Map(pieces.map(([piece], id) => [piece, id]));
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
      vocab: pieces.map(([piece, score], id) => (id < FIRST_PIECE || ids.get(piece) !== id ? [reserved(id), lowest] : [piece, score ?? 0])),
    },
  };
}

/** A piece that no text contains: NFKC turns these wide brackets into narrow ones before pieces are looked for. */
function reserved(id: number): string {
  return `\uFF1Creserved ${id}\uFF1E`;
}
