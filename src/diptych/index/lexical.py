"""BM25 over captions (Robertson and Zaragoza, 2009), in memory, for any script.

A picture matches only if its captions contain every word of the query, so that fusing this list with the semantic
one lifts what is literally named and leaves every other query alone. Words are runs of letters, digits and marks,
folded for case, width and diacritics; scripts written without spaces become character bigrams. No stemming: that is
what the embedding is for.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_K1, _B = 1.2, 0.75
_LATIN_MARKS = re.compile("[\u0300-\u036f]+")
_UNSPACED = ("\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
             "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff")
"""Thai, Lao, Tibetan; Myanmar; Khmer; kana; Han."""


@dataclass(frozen=True, kw_only=True)
class LexicalIndex:
    """Postings of each token: which documents hold it and how often, in one array each."""

    vocabulary: dict[str, int]
    starts: Int[np.ndarray, " tokens_plus_1"]
    documents: Int[np.ndarray, " postings"]
    counts: Int[np.ndarray, " postings"]
    lengths: Int[np.ndarray, " n"]

    def matches(self, words: Sequence[str]) -> Bool[np.ndarray, " n"]:
        """Which documents contain every token of these words; none if there is no token."""
        found = np.zeros(len(self.lengths), dtype=bool)
        ids = self._ids(words)
        if ids:
            rarest, *others = sorted(ids, key=lambda i: self.starts[i + 1] - self.starts[i])
            rows = self._posting(rarest)[0]
            for other in others:
                rows = np.intersect1d(rows, self._posting(other)[0], assume_unique=True)
            found[rows] = True
        return found

    def scores(self, words: Sequence[str]) -> Float[np.ndarray, " n"]:
        """BM25 of each document for the tokens of these words."""
        scores = np.zeros(len(self.lengths))
        mean = self.lengths.mean() if len(self.lengths) else 1.0
        for i in self._ids(words) or ():
            rows, counts = self._posting(i)
            idf = np.log1p((len(self.lengths) - len(rows) + 0.5) / (len(rows) + 0.5))
            norm = _K1 * (1 - _B + _B * self.lengths[rows] / mean)
            scores[rows] += idf * counts * (_K1 + 1) / (counts + norm)
        return scores

    def _ids(self, words: Sequence[str]) -> list[int] | None:
        """Distinct token ids, or None if a token is in no document (then nothing contains them all)."""
        tokens = dict.fromkeys(token for text in words for token in query_tokens(text))
        ids = [self.vocabulary.get(token) for token in tokens]
        known = [i for i in ids if i is not None]
        return known if len(known) == len(ids) else None

    def _posting(self, i: int) -> tuple[Int[np.ndarray, " df"], Int[np.ndarray, " df"]]:
        part = slice(self.starts[i], self.starts[i + 1])
        return self.documents[part], self.counts[part]


def build(captions: Sequence[Sequence[str]]) -> LexicalIndex:
    """The index of n documents, each the captions of one picture."""
    vocabulary: dict[str, int] = {}
    tokens: list[int] = []
    lengths = np.zeros(len(captions), dtype=np.int64)
    for document, texts in enumerate(captions):
        before = len(tokens)
        tokens += [vocabulary.setdefault(token, len(vocabulary)) for text in texts for token in document_tokens(text)]
        lengths[document] = len(tokens) - before
    n = max(1, len(captions))
    pairs, counts = np.unique(np.array(tokens, dtype=np.int64) * n + np.repeat(np.arange(len(captions)), lengths),
                              return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(vocabulary) + 1) * n)
    return LexicalIndex(vocabulary=vocabulary, starts=starts, documents=pairs % n, counts=counts, lengths=lengths)


def document_tokens(text: str) -> list[str]:
    """Tokens to index: words, and of unspaced scripts every character and every pair of neighbours."""
    return [token for run in runs(fold(text))
            for token in ((*run, *_bigrams(run)) if is_unspaced(run) and len(run) > 1 else (run,))]


def query_tokens(text: str) -> list[str]:
    """Tokens to look for: words, and of unspaced scripts the pairs of neighbours, or a character that stands alone."""
    return [token for run in runs(fold(text))
            for token in (_bigrams(run) if is_unspaced(run) and len(run) > 1 else (run,))]


def fold(text: str) -> str:
    """Case, width and Latin, Greek and Cyrillic diacritics folded: "ＣＡＦÉ" is "cafe"; kana keep their marks."""
    stripped = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFKC", stripped).casefold()


def runs(text: str) -> list[str]:
    """Words, and runs of scripts without spaces, as they are in the text; no punctuation."""
    return _word_pattern().findall(text)


def _bigrams(run: str) -> list[str]:
    return [run[i:i + 2] for i in range(len(run) - 1)]


def is_unspaced(run: str) -> bool:
    """Whether a run is of a script without spaces."""
    return _unspaced_pattern().match(run) is not None


@functools.cache
def _unspaced_pattern() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """Runs of unspaced scripts, or of other letters, digits and marks (which `\\w` leaves out: लाल would be two)."""
    marks = "".join(re.escape(chr(c)) for c in range(0x10000) if unicodedata.category(chr(c)).startswith("M"))
    letter = f"(?:[^\\W_]|[{marks}])"
    return re.compile(f"[{_UNSPACED}]+|(?:(?![{_UNSPACED}]){letter})+")
