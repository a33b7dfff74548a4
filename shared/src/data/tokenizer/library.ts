/**
 * The parts of `@huggingface/tokenizers` 0.2.0 that give what the reference gives, with types of our own: the library's do not resolve in
 * ES modules. Its normalizers, pre-tokenizers, post-processors, decoders and added tokens differ (shared/vectors/README.md); ours are used.
 */
import * as library from "@huggingface/tokenizers";

interface LibraryModel {
  encode(pieces: string[]): string[];
  /** `encode`, and unknown tokens in a row made one if the model says so. */
  _call(pieces: string[]): string[];
}

const { BPE, SplitPreTokenizer, Unigram, WordPiece } = library as unknown as {
  BPE: new (config: object) => LibraryModel;
  WordPiece: new (config: object) => LibraryModel;
  Unigram: new (config: object) => { trie: { common_prefix_search(characters: string[], start: number): Iterable<string> } };
  SplitPreTokenizer: new (config: object) => { pattern: RegExp };
};

export interface BpeConfig {
  vocab: Readonly<Record<string, number>>;
  merges: readonly (readonly [string, string])[];
  unk_token: string | null;
  end_of_word_suffix: string | null;
  fuse_unk: boolean;
  byte_fallback: boolean;
}

/** The tokens of one piece of text. One piece a call: between pieces the library would fuse unknown tokens too. */
export function bpeOf(config: BpeConfig): (piece: string) => string[] {
  const model = new BPE({ type: "BPE", ...config });
  return (piece) => model._call([piece]);
}

export interface WordPieceConfig {
  vocab: Readonly<Record<string, number>>;
  unk_token: string;
  continuing_subword_prefix: string;
  max_input_chars_per_word: number;
}

export function wordPieceOf(config: WordPieceConfig): (piece: string) => string[] {
  const model = new WordPiece({ type: "WordPiece", ...config });
  return (piece) => model.encode([piece]);
}

/** All tokens that begin at a place of a text, shortest first. */
export function prefixesOf(tokens: Iterable<string>): (characters: string[], start: number) => Iterable<string> {
  const { trie } = new Unigram({ type: "Unigram", vocab: Array.from(tokens, (token) => [token, 0]), unk_id: 0 });
  return (characters, start) => trie.common_prefix_search(characters, start);
}

/** An Oniguruma expression as JavaScript's. Throws a SyntaxError where it cannot be one. */
export function regexOf(oniguruma: string): RegExp {
  return new SplitPreTokenizer({ type: "Split", pattern: { Regex: oniguruma }, behavior: "isolated", invert: false }).pattern;
}
