#!/usr/bin/env python3
"""Makes the tokenizers and vectors of this folder anew, with the reference: `pip install tokenizers==0.23.3 sentencepiece==0.2.3`.

    python3 shared/vectors/tokenizers/generate.py CORPUS

CORPUS is any English text, such as tinyshakespeare.txt; its first 60,000 characters count.

Only for regenerating: the tests read the files and need no Python. Trainers break ties by hash order, so a new run may train other
vocabularies; every file is written together, so they always fit each other. The format is described in ../README.md.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
# Our own sentences, so that the vocabularies hold more than English.
OWN = [
    "Le caf\u00e9 \u00e9tait tr\u00e8s na\u00eff, \u00e0 cause de l'\u00e9l\u00e8ve.",
    "\u00dcber die Stra\u00dfe gehen f\u00fcnf M\u00e4nner.",
    "\u6211\u4eec\u559c\u6b22\u597d\u7535\u5f71\u3002 \u8fd9\u4e2a\u5f88\u597d\u3002",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "It was great. It was terrible. The great 1999 and 2024 films, 3.14% of them!",
    "yes no good bad positive negative",
] * 20

TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "\t \n\r\n ",
    "Hello world",
    "It was great.",
    " leading space",
    "trailing space ",
    "  two  spaces   inside ",
    "line one\nline two\r\n\r\nline four\n",
    "tab\tand\u00a0no-break\u3000ideographic\u2003em\u0085next\ufeffbom",
    "What's this? They'll say we've won; I'm sure he'd DON'T.",
    "3.14 1999 ,,, ... !?!? --- (a)[b]{c} $5 +1 <x> a_b",
    "\u00bd \u00b2 \u0663\u0664 \u2167 \u2460 12345678901234567890",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstro\u0308m \u1e9b\u0323",
    "\ufb01ne \ufb03 \u212b \u2126 \uff21\uff22\uff23 \u2460 \u00bc x\u00b2 \u2026",
    "\u039f\u0394\u039f\u03a3 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u0130stanbul STRASSE Stra\u00dfe \u01c5",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f ok\U0001f44d\U0001f3fd!",
    "\u6211\u4eec\u559c\u6b22\u597d\u7535\u5f71\u3002\U00020000\U0002f800 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "\u0627\u0644\u0633\u064e\u0651\u0644\u0627\u0645 \u0639\u064e\u0644\u064e\u064a\u0643\u0645 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u1100\u1161\u11a8",
    "a\u0000b\u0001c\u001fd\u007fe\u009ff\u200bg\u200dh\ufffdi\u00adj\ue000k",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 5,
    "a" * 150,
    "the" + " " * 40 + "end",
    "<s>Hello</s> <pad> [CLS] a [MASK] b [SEP] <mask>. <unk>[UNK] <|endoftext|>x",
    "  <mask>  [MASK]  <mask>x[MASK]",
    "wordnew new, newnew NEW New-new \u00e9new new",
    "<0x41> <0xE2><0x98> ##ing \u2581the \u0120the ##",
    "http://example.org/a?b=c&d=%20#e user@example.com C:\\dir\\file.txt",
    "'S 'LL 'T \u017f '\u017f x'\u212a he'S",
    "\u2581\u2581lower one eighth block\u2581 ",
    "Tr\u00e8s bien ! \u00ab Oui \u00bb \u2014 \u201cquoted\u201d \u2018single\u2019 a . b , c ' d do not n't",
]

# What decoders are given.
TOKENS = [
    ["\u2581Hello", "\u2581\u2581world", "\u2581"],
    ["\u2581\u2581", "\u2581", "a"],
    ["\u0120the", "\u010a", "\u00c3\u00a9", "\u00e9", "x y", "<mask>"],
    ["\u00c3", "\u00a9", "\u00e2", "!"],
    ["<0xE2>", "<0x98>", "<0x83>", "a", "<0xFF>", "<0xE2>", "<0xg0>", "<0x41>"],
    ["<0xEF>", "<0xBB>", "<0xBF>", "x"],
    ["##a", "##b", "c", "##", "do not", "n't", "'s", ".", " , x", "we", "'re", "'"],
    ["aaa", "ab", "ba", "bab"],
    ["low</w>", "er</w>", "</w>x</w>"],
]

# Texts on which a newer Unicode than the reference's tables gives another answer: (kind, type, text).
NEWER = [
    ("pre_tokenizer", "BertPreTokenizer", "a\u061db"),  # ARABIC END OF TEXT MARK, Unicode 14
    ("pre_tokenizer", "Punctuation", "a\u2e4fb"),  # CORNISH VERSE DIVIDER, Unicode 12
    ("pre_tokenizer", "Punctuation", "a\u166db"),  # CANADIAN SYLLABICS CHI SIGN, a symbol since Unicode 12
    ("pre_tokenizer", "Whitespace", "a\u088fb"),  # ARABIC LETTER NOON WITH RING ABOVE, Unicode 17
    ("normalizer", "NFKC", "\u32ff"),  # SQUARE ERA NAME REIWA, Unicode 12.1
    ("normalizer", "StripAccents", "a\u0d00"),  # MALAYALAM SIGN COMBINING ANUSVARA ABOVE, Unicode 10
]

# Llama 3's expression.
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


# How Llama-like tokenizers join their pieces again.
BYTE_FALLBACK_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


def special(text, **options):
    return AddedToken(text, special=True, normalized=False, **options)


def bpe(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]", "[PAD]"], limit_alphabet=90, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken("new", single_word=True, normalized=True)])
    return tokenizer


def byte_level(corpus, add_prefix_space, split=None):
    tokenizer = Tokenizer(models.BPE())
    byte = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=split is None)
    tokenizer.pre_tokenizer = byte if split is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), byte])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def gpt2(corpus):
    tokenizer = byte_level(corpus, False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def roberta(corpus):
    tokenizer = byte_level(corpus, True)
    tokenizer.add_special_tokens([special("<s>"), special("<pad>"), special("</s>"), special("<mask>", lstrip=True)])
    ids = {token: tokenizer.token_to_id(token) for token in ("<s>", "</s>")}
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return tokenizer


def llama3(corpus):
    tokenizer = byte_level(corpus, False, LLAMA3)
    tokenizer.add_special_tokens([special("<|begin_of_text|>"), special("<|end_of_text|>")])
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def bert(corpus, cased=False):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False if cased else None, lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, limit_alphabet=120, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in specials}
    if cased:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
        )
        tokenizer.add_tokens([AddedToken("new", single_word=True), AddedToken("New-new")])
    tokenizer.decoder = decoders.WordPiece(cleanup=not cased)
    return tokenizer


def unigram(corpus):
    """T5 and XLM-RoBERTa: Metaspace, and rewrite rules compiled by SentencePiece."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap()), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=350, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def unigram_bytes(corpus):
    """Unigram with byte fallback, over the whole text at once."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    content["model"]["byte_fallback"] = True
    content["decoder"] = {
        "type": "Sequence",
        "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}],
    }
    return Tokenizer.from_str(json.dumps(content))


def charsmap():
    """A few rewrite rules as SentencePiece compiles them; the real ones have 300 KB."""
    rules = {
        "\ufb01": "fi",
        "\uff21": "A",
        "\u00a0": " ",
        "\u3000": " ",
        "\n": " ",
        "\t": " ",
        "e\u0301": "\u00e9",
        "\u2126": "\u03a9",
        "\u200b": "",
        "\u2026": "...",
    }
    with tempfile.TemporaryDirectory() as folder:
        hexed = lambda text: " ".join(f"{ord(character):X}" for character in text)
        (Path(folder) / "rules.tsv").write_text("".join(f"{hexed(old)}\t{hexed(new)}\n" for old, new in rules.items()))
        (Path(folder) / "text.txt").write_text("a b c d e f g\n" * 20)
        sentencepiece.SentencePieceTrainer.train(
            input=f"{folder}/text.txt",
            model_prefix=f"{folder}/m",
            vocab_size=12,
            normalization_rule_tsv=f"{folder}/rules.tsv",
            minloglevel=2,
        )
        from sentencepiece import sentencepiece_model_pb2

        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((Path(folder) / "m.model").read_bytes())
        return model.normalizer_spec.precompiled_charsmap


def llama(corpus, split_first=False):
    """Llama 2: BPE over whole texts with byte fallback; the newer form marks the first word by a pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=130, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=60, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    model["byte_fallback"] = True
    for byte in range(256):
        model["vocab"][f"<0x{byte:02X}>"] = len(model["vocab"])
    if split_first:
        content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    else:
        content["pre_tokenizer"] = None
        content["normalizer"] = {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}],
        }
    content["decoder"] = BYTE_FALLBACK_DECODER
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


FAMILIES = {
    "bpe": bpe,
    "bytelevel-gpt2": gpt2,
    "bytelevel-roberta": roberta,
    "bytelevel-llama3": llama3,
    "wordpiece-bert": bert,
    "wordpiece-cased": lambda corpus: bert(corpus, cased=True),
    "unigram-t5": unigram,
    "unigram-bytes": unigram_bytes,
    "bpe-llama": llama,
    "bpe-llama-first": lambda corpus: llama(corpus, split_first=True),
}

# One component at a time, on the texts above: (kind, as a tokenizer.json has it).
META = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
COMPONENTS = [
    *[("normalizer", {"type": name}) for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")],
    ("normalizer", {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}),
    (
        "normalizer",
        {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": True, "strip_accents": True, "lowercase": False},
    ),
    ("normalizer", {"type": "Strip", "strip_left": True, "strip_right": False}),
    ("normalizer", {"type": "Strip", "strip_left": True, "strip_right": True}),
    ("normalizer", {"type": "Prepend", "prepend": "\u2581"}),
    ("normalizer", {"type": "Replace", "pattern": {"String": "."}, "content": "$&"}),
    ("normalizer", {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}),
    ("normalizer", {"type": "Replace", "pattern": {"Regex": "o*"}, "content": "-"}),
    (
        "normalizer",
        {
            "type": "Sequence",
            "normalizers": [{"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": "_"}],
        },
    ),
    *[("pre_tokenizer", {"type": name}) for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")],
    *[
        ("pre_tokenizer", {"type": "Punctuation", "behavior": name})
        for name in ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext")
    ],
    ("pre_tokenizer", {"type": "Digits", "individual_digits": True}),
    ("pre_tokenizer", {"type": "Digits", "individual_digits": False}),
    ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
    ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}),
    ("pre_tokenizer", META),
    ("pre_tokenizer", {**META, "prepend_scheme": "first", "split": False}),
    ("pre_tokenizer", {**META, "prepend_scheme": "never", "replacement": "_"}),
    ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {**META, "prepend_scheme": "first"}]}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "\\w+|[^\\w\\s]+"}, "behavior": "Removed", "invert": True}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(?i:[sdmt]|ll|ve|re)"}, "behavior": "Isolated", "invert": False}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(?=[A-Z\\d])|^.|[^\\S\\n]$"}, "behavior": "Isolated", "invert": False}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"String": "["}, "behavior": "Contiguous", "invert": True}),
    *[("decoder", {"type": name}) for name in ("ByteFallback", "Fuse")],
    ("decoder", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
    ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True}),
    ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": False}),
    ("decoder", META),
    ("decoder", {**META, "prepend_scheme": "never"}),
    ("decoder", {"type": "BPEDecoder", "suffix": "</w>"}),
    ("decoder", {"type": "Strip", "content": "a", "start": 2, "stop": 0}),
    ("decoder", {"type": "Strip", "content": "b", "start": 0, "stop": 1}),
    ("decoder", {"type": "Replace", "pattern": {"String": "\u2581"}, "content": "$&"}),
    ("decoder", BYTE_FALLBACK_DECODER),
]


def run(kind, config, given):
    """One component, read by way of a tokenizer.json that has nothing else."""
    content = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": [], kind: config}
    component = getattr(Tokenizer.from_str(json.dumps(content)), kind)
    if kind == "normalizer":
        return component.normalize_str(given)
    if kind == "pre_tokenizer":
        return [piece for piece, _ in component.pre_tokenize_str(given)]
    return component.decode(given)


def lines(values):
    return "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]"


def main():
    corpus = Path(sys.argv[1]).read_text(encoding="utf-8")[:60_000].split("\n") + OWN
    vectors = []
    for name, make in FAMILIES.items():
        (HERE / f"{name}.json").write_text(make(corpus).to_str() + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(HERE / f"{name}.json"))
        for index, text in enumerate(TEXTS):
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            framed = tokenizer.encode(text).ids
            decoded = [tokenizer.decode(framed, skip_special_tokens=skip) for skip in (True, False)]
            vectors.append([name, index, plain, framed, *decoded])
    components = [
        [kind, config, [run(kind, config, given) for given in (TOKENS if kind == "decoder" else TEXTS)]] for kind, config in COMPONENTS
    ]
    newer = [[kind, name, text, run(kind, {"type": name}, text)] for kind, name, text in NEWER]
    head = f'"reference": "tokenizers {tokenizers.__version__}",\n"texts": {lines(TEXTS)},\n'
    (HERE / "vectors.json").write_text("{\n" + head + f'"cases": {lines(vectors)}\n' + "}\n", encoding="utf-8")
    more = f'"tokens": {lines(TOKENS)},\n"cases": {lines(components)},\n"newer": {lines(newer)}\n'
    (HERE / "components.json").write_text("{\n" + head + more + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
