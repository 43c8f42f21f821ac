#!/usr/bin/env python3
"""Makes the golden files of the tokenizer tests with the `tokenizers` package (0.22; t5, xlmr, albert: 0.23).

usage: make_golden.py tests/text/golden [NAME ..]     those tokenizers; by default all

corpus.txt        text made up here, on which the tokenizers are trained
charsmap.txt      read: a table of characters that `sentencepiece` made of some rules (full width, ligatures, spaces, accents), in base64
<name>.json       tokenizer.json files in the manner of well-known models, trained by `tokenizers`
cases.json        texts, and for each tokenizer their words and ids, ids with the template, and decodings
The files are committed; the tests do not need Python.
"""
import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

WORDS = """the of and a to in is it that was for on are with as his they be at one have this from or had by hot but some what there
we can out other were all your when up use word how said an each she which do their time if will way about many then them would write
like so these her long make thing see him two has look more day could go come did my sound no most number who over know water than call
first people may down side been now find any new work part take get place made live where after back little only round man year came
show every good me give our under name very through just form much great think say help low line before turn cause same mean differ
move right boy old too does tell sentence set three want air well also play small end put home read hand port large spell add even land
internationalisation untokenizable parameter gradient optimizer don't it's we'll they're I've you'd Größe naïve café Straße über señor
год время человек дело жизнь день рука раз работа слово место вопрос 的 一 是 不 了 人 我 在 有 他 这 中 大 来 上 国 和 你好 世界 東京 日本語 カタカナ
ひらがな 한국어 안녕하세요 العربية السلام שלום हिन्दी नमस्ते ไทย สวัสดี ελληνικά λόγος 🙂 🚀 👩‍👩‍👧‍👦 🇩🇪 ½ ² Ⅷ ٣ ५""".split()
LINES = ["for (int i = 0; i < n; ++i) {\n    sum += x[i] * y[i];\n}\n", "def f(x):\n\treturn x ** 2  # square\n", "https://example.org/a/b?c=1&d=%20#e\n",
         "Total: $1,234.56 (+7.8 %) on 2024-02-29 at 13:37:00.\r\n", "{\"key\": [1, 2.5e-3, null], \"other\": \"va\\\"lue\"}\n", "        deep indent\n\n\n\n"]


def make_corpus(rng):
    weights = [1 / (i + 3) for i in range(len(WORDS))]
    parts = []
    while sum(map(len, parts)) < 48000:
        if rng.random() < 0.1:
            parts.append(rng.choice(LINES))
        sentence = " ".join(rng.choices(WORDS, weights, k=rng.randint(3, 14)))
        parts.append(sentence[:1].upper() + sentence[1:] + rng.choice([". ", "? ", "!\n", ".\n", ", " + str(rng.randint(0, 99999)) + ". "]))
    return "".join(parts)


def random_character(rng):
    """Of Unicode 3.2: the class of a later one depends on the age of each library's tables."""
    while True:
        c = chr(rng.choice([rng.randint(0, 0xD7FF), rng.randint(0, 0x2FF), rng.randint(0xE000, 0xFFFF), rng.randint(0x10000, 0x2FFFF)]))
        if unicodedata.ucd_3_2_0.category(c) != "Cn" and c != "\u180e":
            return c


def make_texts(rng, corpus):
    texts = ["", " ", "  ", "\n", "\n\n\n", " \n ", "\t\t x", "a", "é", "e\u0301", "\u0000", "\u0001\u0002\u007f\u0080\u009f", "\ufeffBOM", "\ufffd", "\u00a0nbsp\u00a0",
             "\u2003em\u2003space", "\u3000全角\u3000", "line\u2028sep\u2029par", "\u0085next", "soft\u00adhyphen", "zero\u200bwidth\u200d\u200c", "I'm you're HE'S 'tis rock'n'roll ''s", "it’s ‘quoted’",
             "don't DON'T Don'T", "x" * 300, "ab" * 200, " " * 257, "\n" * 100, "0123456789" * 5, "1 22 333 4444 55555", "3.14159e-10", "½²Ⅷ٣५𝟘𝟙", "a1b2c3", "1st 2nd", "٣٤٥ ५६७",
             "👩‍👩‍👧‍👦👍🏽🇩🇪", "𝓗𝓮𝓵𝓵𝓸 𝕎", "𠜎𠜱𠝹", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "한국어 한글", "가나다 각", "Å Å Å", "ﬁ ﬂ ①", "مرحبا بالعالم", "שָׁלוֹם", "नमस्ते दुनिया", "สวัสดีชาวโลก",
             "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|endoftext|", "<|endoftext|>\n", "  <|endoftext|>  ", "x <mask> y", "x   <mask>   y", "x\u3000<mask>\u2003y", "<mask><mask>",
             "<|a|><|ab|>", "<|ab|>c", "<|abc", "end<|im_end|>\n<|im_start|>user\nhi", "Ⱥnorm é e\u0301tok étok", "e\u0301tok", "camelCaseHTTPServer2Go", "snake_case_name", "a.b.c(d)[e]{f};", "!!!???...", "----====++++",
             "\r\n\r\n", "a\r\nb\rc\nd", " a  b   c    d", "tab\tsep\tval", "trailing   ", "   leading", "a\u1680b", "ſ 'ſ x'ſ K's", "İstanbul ıI", "ǅ ǈ", "ᾳ ΐ ΰ",
             "mixed中文English한국어日本語", "«guillemets» — dash – … ‰", "\U0010ffff\U0001f9ff\ue000", "Ġ Ċ ĉ âĢ", "▁sentence▁piece", "\\n \\u0041 \\x41", "\u0345\u0315x", "x\u0301\u0327"]
    alphabet = " \n\t'aAzZ09éßж中🙂\u0301\u200d\u00a0.-_<|>/\\\"" + "".join(map(chr, range(1, 32)))
    for _ in range(120):
        texts.append("".join(rng.choices(alphabet, k=rng.randint(1, 24))))
    for _ in range(60):
        texts.append("".join(random_character(rng) for _ in range(rng.randint(1, 12))))
    for _ in range(80):
        at = rng.randrange(len(corpus))
        texts.append(corpus[at:at + rng.randint(5, 90)])
    texts.append(corpus[:3000])
    return texts


def train(tokenizer, corpus, vocab_size, special=()):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=2, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([corpus], trainer)
    return tokenizer


def gpt2(corpus):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder, t.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=True)
    return train(t, corpus, 700, ["<|endoftext|>"])


def smollm(corpus):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder, t.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=True)
    return train(t, corpus, 600, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def llama3(corpus):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, corpus, 650)
    # A word that is a token although no merges make it: only ignore_merges finds it.
    spec = json.loads(t.to_str())
    spec["model"]["vocab"]["untokenizable"] = t.get_vocab_size()
    t = Tokenizer.from_str(json.dumps(spec))
    t.add_special_tokens(["<|endoftext|>", "<|begin|>", "<|a|>", "<|ab|>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin|> $A <|endoftext|>", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", t.token_to_id("<|begin|>")), ("<|endoftext|>", t.token_to_id("<|endoftext|>"))])])
    return t


def qwen2(corpus):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder, t.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    train(t, corpus, 620)
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("étok", normalized=True), AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True)])
    return t


def roberta(corpus):
    """A space in front, an unknown token, and words kept by an inverted Removed split."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\S+|\s+"), "removed", invert=True), pre_tokenizers.Split("-", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t.decoder = decoders.ByteLevel()
    train(t, corpus, 450, ["<unk>"])
    spec = json.loads(t.to_str())
    lost = {pre_tokenizers.ByteLevel().pre_tokenize_str(c)[0][0][-1] for c in "\x01\x02"}
    model = spec["model"]
    model["merges"] = [m for m in model["merges"] if not lost & set("".join(m))]
    model["vocab"] = {k: i for i, k in enumerate(k for k, _ in sorted(model["vocab"].items(), key=lambda e: e[1]) if not lost & set(k))}
    return Tokenizer.from_str(json.dumps(spec))


def bert(corpus):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator([corpus], trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def train_unigram(t, corpus, vocab_size, special, unk="<unk>"):
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, special_tokens=special, unk_token=unk, show_progress=False)
    t.train_from_iterator(corpus.splitlines(), trainer)
    return t


def charsmap():
    return {"type": "Precompiled", "precompiled_charsmap": (FOLDER / "charsmap.txt").read_text()}


def with_normalizer(t, steps):
    """Precompiled has no constructor that takes what the file holds."""
    spec = json.loads(t.to_str())
    spec["normalizer"] = steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps}
    return Tokenizer.from_str(json.dumps(spec))


def t5(corpus):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.decoder = decoders.Metaspace()
    train_unigram(t, corpus, 600, ["<pad>", "</s>", "<unk>", "<extra_id_0>"])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return with_normalizer(t, [charsmap()])


def xlmr(corpus):
    """Spaces in a row are one, the space only in front of the text, bytes of what no token covers."""
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace(prepend_scheme="first")
    train_unigram(t, corpus, 500, ["<s>", "<pad>", "</s>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256)])
    spec = json.loads(t.to_str())
    spec["model"]["byte_fallback"] = True
    spec["added_tokens"] = spec["added_tokens"][:4]
    t = Tokenizer.from_str(json.dumps(spec))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return with_normalizer(t, [charsmap(), {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}])


def albert(corpus):
    """Lower case without accents, words that do not end at spaces, a space of their own."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
                                         normalizers.Lowercase(), normalizers.Strip(), normalizers.Prepend("x")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Metaspace(replacement="_", prepend_scheme="never", split=False)])
    t.decoder = decoders.Metaspace(replacement="_", prepend_scheme="never")
    return train_unigram(t, corpus, 400, ["<unk>", "[MASK]"])


def train_characters(t, corpus, vocab_size):
    """As SentencePiece does: the rarest characters are left to the bytes."""
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, limit_alphabet=80, show_progress=False)
    t.train_from_iterator(corpus.splitlines(), trainer)
    spec = json.loads(t.to_str())
    spec["model"]["byte_fallback"] = True
    spec["added_tokens"] = spec["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(spec))


def llama2(corpus):
    """No pre-tokenizer: the normalizer makes spaces signs, and a text is one word."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t = train_characters(t, corpus, 700)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def mistral(corpus):
    """A Metaspace that does not cut, with a space in front of the text alone."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True, ignore_merges=False))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t = train_characters(t, corpus, 600)
    t.add_special_tokens(["[INST]", "[/INST]"])
    return t


def word_bytes(tokenizer, text):
    """The bytes of each word, where normalisation leaves the text alone: a small vocabulary would hide a wrong border."""
    if tokenizer.normalizer and tokenizer.normalizer.normalize_str(text) != text:
        return None
    if tokenizer.pre_tokenizer is None:
        return [len(text.encode())] if text else []
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    plain = tokenizer.decoder.__class__.__name__ != "ByteLevel"  # else a character stands for a byte
    return [len(word.encode() if plain else word) for word in words]


def main(folder, only):
    rng = random.Random(20241121)
    corpus = make_corpus(rng)
    (folder / "corpus.txt").write_bytes(corpus.encode())
    texts = make_texts(rng, corpus)
    cases = json.loads((folder / "cases.json").read_text()) if only else {"texts": texts, "tokenizers": {}}
    assert cases["texts"] == texts
    for make in (gpt2, smollm, llama3, qwen2, roberta, bert, t5, xlmr, albert, llama2, mistral):
        if only and make.__name__ not in only:
            continue
        tokenizer = make(corpus)
        (folder / f"{make.__name__}.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
        size = tokenizer.get_vocab_size()
        # The package puts even an added token through the byte-level alphabet, so "étok" would not decode to itself.
        # Of a run of bytes that is no UTF-8 it makes a U+FFFD each, of whole characters in it, too.
        bytes_decode = getattr(tokenizer.model, "byte_fallback", False) and isinstance(tokenizer.model, models.BPE)
        ids = [i for i in range(size) if i != tokenizer.token_to_id("étok") and not (bytes_decode and tokenizer.id_to_token(i).startswith("<0x"))]
        slices = [[rng.choice(ids) for _ in range(rng.randint(1, 12))] for _ in range(60)]
        if bytes_decode:
            slices += [tokenizer.encode(t).ids for t in texts[20:60]]
        cases["tokenizers"][make.__name__] = {
            "word_bytes": [word_bytes(tokenizer, t) for t in texts],
            "ids": [tokenizer.encode(t, add_special_tokens=False).ids for t in texts],
            "template_ids": [tokenizer.encode(t).ids for t in texts[:20]],
            "decode": [{"ids": s, "text": tokenizer.decode(s, skip_special_tokens=False), "plain": tokenizer.decode(s, skip_special_tokens=True)} for s in slices],
        }
    (folder / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")), encoding="utf-8")


FOLDER = pathlib.Path(sys.argv[1])
main(FOLDER, sys.argv[2:])
