"""Tokenizer: no script is unknown, padding on the right, the end token survives truncation, no batch-mates matter.

The published families against their references: open_clip's own tokenizers and transformers', on the files that they
read themselves. The vocabularies are small ones that are trained here, but for CLIP's, which comes with open_clip.
"""

import dataclasses
import gzip
import io
import random
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from diptych.core.errors import CheckpointError
from diptych.inputs.text import clean
from diptych.inputs.tokenizer import TOKENIZER_FILES, Tokenizer, TokenizerPolicy, train_bpe
from diptych.models.checkpoints.published.text import CLIPA_TOKENS, MT5_TOKENS, NLLB_TOKENS, XLM_ROBERTA_TOKENS

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from reference import open_clip

TEXTS = ["red apple", "green apple", "manzana roja", "赤いりんご", "красное яблоко", "تفاحة حمراء"] * 20

WIDE = [
    "", " ", " \n\t ", "a photo of a cat", "  A  PHOTO,\tof\n(two) Cats! ", "it's I'LL we'd don't 've the dogs'",
    "1234567890 3.14 4½ ² Ⅷ ٣ 12:30", "naïve café Ångström cafe\u0301 straße İstanbul ΣΑΣ Ǆ",
    "赤い果物と東京タワー 日本語のテキスト", "красное яблоко на столе", "تفاحة حمراء على الطاولة", "चाय का एक प्याला",
    "고양이 두 마리", "ภาพถ่ายของแมว", "🐱 👨‍👩‍👧 🇩🇪 ☃ ❤️ a🎉b",
    "&lt;b&gt; &amp;amp; &ldquo;hi&rdquo; &EACUTE; &#x41;&#55; &notit; a&b", "<b>&ldquo;x&rdquo;</b>",
    "“curly” ‘single’ ﬁne ＬＯＵＤ　Ｕﾀｰﾝ", "snake_case __init__ e-mail@example.org https://a.b/c?d=e&f=g",
    "...!!!??? --- *** ((()))", "'s's's 're'll", "word" * 40, "x" * 10_000, "many words " * 2000,
    "a\u00a0b\u3000c\u2003d\u200be", "\u2028 a\u2029b", "\x1b[36mred\x1b[0m", "a\x00b", "\ufeffbom",
    "▁a ▁", "\U0010ffff\ue000",
]
"""Every sort of text that a policy meets; none spells out a special token."""


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_bpe(TEXTS, vocab_size=400, alphabet=60), TokenizerPolicy(length=12))


@settings(deadline=None, max_examples=80)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_ids_end_with_eos_then_padding_and_do_not_depend_on_batch_mates(tokenizer, texts):
    assume("<" not in "".join(texts))  # "<unk>" spelled out is that token
    ids = tokenizer.encode(texts)
    assert ids.shape == (len(texts), 12) and (ids != 2).all()  # 2 is <unk>: bytes stand in for every character
    for row, text in zip(ids, texts, strict=True):
        end = int((row == 1).argmax())
        assert row[end] == 1 and (row[end + 1 :] == 0).all() and (row[:end] > 1).all()
        assert (row == tokenizer.encode([text])[0]).all()


@settings(deadline=None, max_examples=50)
@given(text=st.text(alphabet="abc è赤яت ", max_size=8))
def test_short_texts_round_trip(tokenizer, text):
    wide = Tokenizer(tokenizer.backend, TokenizerPolicy(length=64))
    ids = [int(i) for i in wide.encode([text])[0] if i > 1]
    assert wide.backend.decode(ids, skip_special_tokens=False).strip() == clean(text, "nfkc_lower")


@settings(deadline=None, max_examples=80)
@given(texts=st.lists(st.text(max_size=12), max_size=4))
def test_decoding_gives_the_cleaned_texts_back(tokenizer, texts):
    assume(not {"<", "▁"} & set("".join(clean(text, "nfkc_lower") for text in texts)))  # marks of the file itself
    wide = Tokenizer(tokenizer.backend, TokenizerPolicy(length=64))
    assert wide.decode(wide.encode(texts)) == [clean(text, "nfkc_lower").encode("utf-8", "replace").decode()
                                               for text in texts]


def test_what_stands_after_the_end_is_not_said(tokenizer):
    ids = tokenizer.encode(["red apple", "赤い"])
    assert tokenizer.decode(np.concatenate([ids, ids[::-1]], axis=1)) == ["red apple", "赤い"]
    assert tokenizer.decode(np.zeros((1, 5), np.int64)) == [""]


def test_training_is_deterministic():
    one, two = (train_bpe(TEXTS, 400, 60).to_str() for _ in range(2))
    assert one == two


def test_a_length_without_room_is_refused():
    with pytest.raises(ValueError, match="room"):
        TokenizerPolicy(length=2)


def test_a_lone_surrogate_is_a_question_mark(tokenizer):
    assert (tokenizer.encode(["a\ud83d"]) == tokenizer.encode(["a?"])).all()


def test_no_texts(tokenizer):
    assert tokenizer.encode([]).shape == (0, 12)
    assert np.issubdtype(tokenizer.encode(["x"]).dtype, np.int64)


# OpenAI's vocabulary file, as it ships with open_clip

CLIP = TokenizerPolicy(length=77, cleaning="clip", pad_id=0, eos_id=49_407, bos_id=49_406)


@pytest.fixture(scope="module")
def simple():
    """open_clip's tokenizer."""
    return open_clip().tokenizer.SimpleTokenizer()


@pytest.fixture(scope="module")
def clip():
    return Tokenizer.from_file(open_clip().tokenizer.default_bpe(), CLIP)


def test_clips_vocabulary_has_its_published_ids(clip):
    assert clip.vocab_size == 49_408
    assert clip.encode(["a diagram"])[0, :4].tolist() == [49406, 320, 22697, 49407]  # openai/CLIP, tests and README
    assert clip.backend.token_to_id("<|startoftext|>") == 49_406 and clip.backend.token_to_id("<|endoftext|>") == 49_407


@pytest.mark.parametrize("length", [77, 76, 72, 32])  # CLIP, CoCa, PE-Core bigG, PE-Core
def test_clips_tokens_are_open_clips(clip, simple, length):
    ours, texts = Tokenizer(clip.vocabulary, dataclasses.replace(CLIP, length=length)), [*WIDE, "\x85 \x93q\x94"]
    assert np.array_equal(ours.encode(texts), simple(texts, context_length=length).numpy())


def test_every_character_has_open_clips_tokens(clip, simple):
    """Of those that Python's Unicode has assigned: which of the newer ones are letters, libraries do not agree on."""
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    chosen = [c for c in assigned if ord(c) < 0x3000] + random.Random(0).sample(assigned, 3000)
    texts = [f"a{c}b'{c} {c}{c}" for c in chosen]
    texts = [text for text in texts if simple.clean_fn(text) == clean(text, "clip")]
    assert len(texts) > len(chosen) - 50  # ftfy takes a few of them for mojibake
    wrong = [text for text, row in zip(texts, clip.encode(texts), strict=True)
             if not np.array_equal(row, simple(text)[0].numpy())]
    assert not wrong


@settings(deadline=None, max_examples=300)
@given(st.text(st.one_of(st.sampled_from("'strevmld ab1!<&;\"é字🐱"), st.characters(exclude_categories=["Cs", "Cn"])),
               max_size=60))
def test_any_text_has_open_clips_tokens_unless_it_looks_like_mojibake(clip, simple, text):
    assume("<|" not in text)  # the special tokens that OpenAI's tokenizer finds in a text are not open_clip's
    if simple.clean_fn(text) == clean(text, "clip"):
        assert np.array_equal(clip.encode([text])[0], simple(text)[0].numpy())


def test_clips_ids_are_words_again(clip):
    texts = ["a diagram", "naïve café by the 東京 タワー", "it's a cat", "", "🐱 🇩🇪"]
    assert clip.decode(clip.encode(texts)) == ["a diagram", "naïve café by the 東京 タワー", "it 's a cat", "", "🐱 🇩🇪"]


def test_both_files_of_a_clip_give_the_same_ids(clip, tmp_path):
    """transformers' tokenizer.json of the same vocabulary; it also has the special tokens that a text spells out."""
    from transformers import CLIPTokenizer

    backend = clip.backend
    merges = gzip.decompress(Path(open_clip().tokenizer.default_bpe()).read_bytes()).decode().split("\n")
    pairs = [tuple(merge.split()) for merge in merges[1:48895]]
    CLIPTokenizer(vocab=backend.get_vocab(), merges=pairs).save_pretrained(tmp_path)
    other = Tokenizer.from_file(tmp_path / "tokenizer.json", CLIP)
    texts = [*WIDE, "a<|endoftext|>b", "<|startoftext|>"]
    texts = [text for text in texts if "\u0345" not in text and "Σ" not in text]  # see test_the_sigma_...
    assert np.array_equal(clip.encode(texts), other.encode(texts))
    assert clip.decode(clip.encode(texts)) == other.decode(clip.encode(texts))
    assert clip.encode(["a<|endoftext|>b"])[0, 2] == 49_407


# SentencePiece models, trained here

CORPUS = ("a photo of the red boat at dusk cat dog café naïve straße 東京 赤い果物 красное яблоко تفاحة حمراء "
          "apple pie with cream and sugar it's 123 4567 one two three & , . ! ? \" ( ) - / é ü")


def trained(**options) -> bytes:
    import sentencepiece

    rng, out = random.Random(0), io.BytesIO()
    lines = (" ".join(rng.choices(CORPUS.split(), k=rng.randint(1, 9))) for _ in range(2000))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=out, minloglevel=2, num_threads=1, hard_vocab_limit=False, **options)
    return out.getvalue()


FAIRSEQ = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "normalization_rule_name": "nmt_nfkc"}
PIECES = {  # the options that the published files were trained with
    "T5Tokenizer": ("spiece.model", {
        "vocab_size": 200, "model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1,
        "normalization_rule_name": "nmt_nfkc"}),
    "GemmaTokenizer": ("tokenizer.model", {
        "vocab_size": 600, "model_type": "bpe", "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
        "pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>",
        "byte_fallback": True, "normalization_rule_name": "identity", "add_dummy_prefix": False,
        "remove_extra_whitespaces": False, "split_digits": True, "user_defined_symbols": ["<mask>"]}),
    "XLMRobertaTokenizer": ("sentencepiece.bpe.model", {"vocab_size": 200, "model_type": "unigram", **FAIRSEQ}),
    "NllbTokenizer": ("sentencepiece.bpe.model", {"vocab_size": 300, "model_type": "bpe", **FAIRSEQ}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each kind a folder with the SentencePiece model and transformers' conversion of it to a tokenizer.json."""
    import transformers

    found = {}
    for kind, (name, options) in PIECES.items():
        found[kind] = folder = tmp_path_factory.mktemp(kind)
        (folder / name).write_bytes(trained(**options))
        getattr(transformers, kind).from_pretrained(folder).save_pretrained(folder)
        assert (folder / "tokenizer.json").is_file()
    return found


def assert_same_ids(folder: Path, kind: str, texts: list[str]) -> None:
    """From the SentencePiece model and from transformers' conversion of it."""
    policy = TokenizerPolicy(length=300, cleaning="none", pad_id=-1, eos_id=-2)
    one, two = (Tokenizer.from_file(folder / name, policy) for name in (PIECES[kind][0], "tokenizer.json"))
    if kind == "NllbTokenizer":  # the conversion keeps a space at the end, which SentencePiece drops
        texts = [f"{text}." for text in texts]
    assert np.array_equal(one.encode(texts), two.encode(texts))
    assert one.vocab_size <= two.vocab_size


@pytest.mark.parametrize("kind", PIECES)
def test_a_sentencepiece_model_gives_the_ids_of_its_tokenizer_json(folders, kind):
    rng = random.Random(0)
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    assert_same_ids(folders[kind], kind, [*WIDE, *(f"a{c}b {c}" for c in rng.sample(assigned, 3000) if c != "\x85")])
    ids = Tokenizer.from_file(folders[kind] / PIECES[kind][0], TokenizerPolicy(length=99, cleaning="none")).encode(WIDE)
    assert len(np.unique(ids)) > 50


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([*PIECES]), st.text(st.one_of(
    st.sampled_from(sorted(set(CORPUS))), st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Mc", "Me"])),
    max_size=40))
def test_any_text_without_combining_marks_has_the_same_ids_from_both_files(folders, kind, text):
    assume("<" not in text)  # a special token that is spelled out is one in a tokenizer.json only
    assert_same_ids(folders[kind], kind, [text])


# The policies of the families that use them

SIGLIP = TokenizerPolicy(length=64, cleaning="siglip", pad_id=1, eos_id=1)
SIGLIP2 = TokenizerPolicy(length=64, cleaning="lower", pad_id=0, eos_id=1)
META_CLIP2 = TokenizerPolicy(length=77, cleaning="none", pad_id=1, eos_id=2, bos_id=0)


@pytest.mark.parametrize("length", [64, 16])
@pytest.mark.parametrize("file", ["spiece.model", "tokenizer.json"])
def test_siglips_texts_are_transformers(folders, length, file):
    from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

    folder = folders["T5Tokenizer"]
    theirs = SiglipTokenizer(str(folder / "spiece.model"))
    want = theirs(WIDE, padding="max_length", truncation=True, max_length=length)["input_ids"]
    ours = Tokenizer.from_file(folder / file, dataclasses.replace(SIGLIP, length=length))
    assert np.array_equal(ours.encode(WIDE), np.array(want))


@pytest.mark.parametrize("file", ["tokenizer.model", "tokenizer.json"])
def test_siglip_2s_texts_are_transformers(folders, file):
    from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

    folder = folders["GemmaTokenizer"]
    theirs = Siglip2Tokenizer.from_pretrained(folder)
    texts = [text for text in WIDE if "Σ" not in text]
    want = [(ids[:63] + [1] + [0] * 64)[:64] for ids in theirs(texts, add_special_tokens=False)["input_ids"]]
    assert np.array_equal(Tokenizer.from_file(folder / file, SIGLIP2).encode(texts), np.array(want))


def test_the_sigma_at_the_end_of_a_word_is_the_greek_one(folders):
    """transformers lower-cases SigLIP 2's texts letter by letter, open_clip as Python does, which is how Greek is
    written. It is the only letter whose lower case depends on its place."""
    from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

    theirs = Siglip2Tokenizer.from_pretrained(folders["GemmaTokenizer"])
    ours = Tokenizer.from_file(folders["GemmaTokenizer"], SIGLIP2)
    assert np.array_equal(ours.encode(["ΣΑΣ"]), ours.encode(["σας"]))
    assert theirs("ΣΑΣ")["input_ids"] == theirs("σασ")["input_ids"] != theirs("σας")["input_ids"]


def test_metaclip_2s_texts_are_transformers(folders):
    from transformers import XLMRobertaTokenizer

    folder = folders["XLMRobertaTokenizer"]
    theirs = XLMRobertaTokenizer.from_pretrained(folder)
    want = theirs(WIDE, padding="max_length", truncation=True, max_length=77)["input_ids"]
    for file in ("sentencepiece.bpe.model", "tokenizer.json"):
        assert np.array_equal(Tokenizer.from_file(folder / file, META_CLIP2).encode(WIDE), np.array(want))


def assert_open_clips(folder: Path, policy: TokenizerPolicy, files: tuple[str, ...] = ("tokenizer.json",), **options):
    """The ids of open_clip's wrapper around transformers' tokenizer of that folder, which cleans with ftfy."""
    theirs = open_clip().tokenizer.HFTokenizer(str(folder), context_length=policy.length, **options)
    want = theirs(WIDE).numpy()
    for file in files:
        assert np.array_equal(Tokenizer.from_file(folder / file, policy).encode(WIDE), want), file


def test_xlm_rs_texts_are_open_clips(folders):
    assert_open_clips(folders["XLMRobertaTokenizer"], XLM_ROBERTA_TOKENS, ("sentencepiece.bpe.model", "tokenizer.json"))


def test_mt5s_texts_are_open_clips(folders):
    assert_open_clips(folders["T5Tokenizer"], MT5_TOKENS, ("spiece.model", "tokenizer.json"))


def test_nllbs_texts_are_open_clips(folders, tmp_path):
    """The language's token is first, English whatever the text is in."""
    from transformers import NllbTokenizer
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert 256_001 + FAIRSEQ_LANGUAGE_CODES.index("eng_Latn") == NLLB_TOKENS.bos_id  # the languages follow the pieces
    theirs = NllbTokenizer.from_pretrained(folders["NllbTokenizer"])
    theirs.add_tokens(["deu_Latn", "eng_Latn"], special_tokens=True)
    theirs.save_pretrained(tmp_path)
    english = Backend.from_file(str(tmp_path / "tokenizer.json")).token_to_id("eng_Latn")
    assert_open_clips(tmp_path, dataclasses.replace(NLLB_TOKENS, bos_id=english))


def test_robertas_texts_are_open_clips(tmp_path):
    from transformers import RobertaTokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([CORPUS] * 3, vocab_size=400, show_progress=False,
                            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    bpe.save_model(str(tmp_path))
    RobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert_open_clips(tmp_path, XLM_ROBERTA_TOKENS)


def test_clipas_texts_are_open_clips(tmp_path):
    """[CLS] at the beginning, padding in the place of [SEP]."""
    from transformers import BertTokenizer

    letters = [chr(c) for c in range(33, 127) if not 65 <= c <= 90]
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters,
             *(f"##{c}" for c in letters), "photo", "cat", "##s", "赤", "京"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert_open_clips(tmp_path, CLIPA_TOKENS, strip_sep_token=True)
    ids = Tokenizer.from_file(tmp_path, CLIPA_TOKENS).encode(["a photo of cats", "cat " * 50])
    assert ids[0, 0] == 101 and (ids[0] != 0).sum() == 7 and ids[1, 30] != 0 and ids[1, 31] == 0


# Files that are not there, or not what they should be

def test_a_damaged_file_is_named(tmp_path, folders):
    policy = TokenizerPolicy(length=5)
    half = Path(open_clip().tokenizer.default_bpe()).read_bytes()
    few = gzip.compress(b"\n".join([b"#version", b"a b"] * 40))
    piece = (folders["T5Tokenizer"] / "spiece.model").read_bytes()
    for name, data in (("tokenizer.json", b"{"), ("bpe_simple_vocab_16e6.txt.gz", half[:-9]),
                       ("bpe_simple_vocab_16e6.txt.gz", few), ("spiece.model", b"no model"),
                       ("spiece.model", piece[:100]), ("spiece.model", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=f"{name} is not a tokenizer file"):
            Tokenizer.from_file(tmp_path / name, policy)


def test_a_missing_file_says_which_are_looked_for(tmp_path):
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(CheckpointError, match=r"no tokenizer file; tokenizer\.json, bpe_simple.* are looked for"):
            Tokenizer.from_file(path, TokenizerPolicy(length=5))


def test_every_name_that_is_looked_for_is_read(tmp_path, folders):
    sources = {".json": folders["T5Tokenizer"] / "tokenizer.json", ".model": folders["T5Tokenizer"] / "spiece.model",
               ".gz": Path(open_clip().tokenizer.default_bpe())}
    for i, name in enumerate(reversed(TOKENIZER_FILES)):  # each is found before those that are already there
        shutil.copy(sources[Path(name).suffix], tmp_path / name)
        found = Tokenizer.from_file(tmp_path, TokenizerPolicy(length=5, cleaning="none"))
        named = Tokenizer.from_file(tmp_path / name, TokenizerPolicy(length=5, cleaning="none"))
        assert np.array_equal(found.encode(WIDE), named.encode(WIDE)), (i, name)


def test_without_sentencepiece_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"`pip install 'diptych\[sentencepiece\]'`, or put the model's"):
        Tokenizer.from_file(tmp_path, TokenizerPolicy(length=5))


def test_a_sentencepiece_model_is_not_written_as_tokenizer_json(folders):
    tokenizer = Tokenizer.from_file(folders["T5Tokenizer"] / "spiece.model", SIGLIP)
    with pytest.raises(ValueError, match="cannot be written as tokenizer"):
        _ = tokenizer.backend
    with pytest.raises(ValueError, match="cannot be written as tokenizer"):
        tokenizer.decode(tokenizer.encode(["a cat"]))


def test_the_files_own_padding_and_truncation_are_ignored(tmp_path):
    backend = Backend(models.WordLevel({"<pad>": 0, "a": 3, "b": 4}, unk_token="a"))
    backend.pre_tokenizer, backend.normalizer = pre_tokenizers.Whitespace(), normalizers.Lowercase()
    backend.decoder = decoders.WordPiece()
    backend.enable_padding(direction="left", length=9)
    backend.enable_truncation(2)
    backend.save(str(tmp_path / "tokenizer.json"))
    ids = Tokenizer.from_file(tmp_path, TokenizerPolicy(length=6, cleaning="none")).encode(["b b b", "b b b b b b b"])
    assert ids.tolist() == [[4, 4, 4, 1, 0, 0], [4, 4, 4, 4, 4, 1]]
