"""What can be said of a picture, in which language: the table of texts, and how captions are drawn from it.

Every distinct text is stored once with the set of concepts that it is true of ("face" is true of many), so that a
batch knows all its positives, not only its diagonal. Drawing is pure: the same generator state, the same captions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

Rng = np.random.Generator

TEMPLATES = (
    "a drawing of {}", "an icon of {}", "a picture of {}", "a photo of {}", "a sticker of {}", "a cartoon of {}",
    "a sketch of {}", "an illustration of {}", "{} symbol", "{} icon", "a photo of a {}", "a drawing of a {}",
    "this is a photo of {}.", "a cut-out of {}", "a cute {}", "clip art of {}",
)


@dataclass(frozen=True, kw_only=True)
class CaptionMix:
    """Shares of the kinds of caption; what is left of 1 is the plain name."""

    keyword: float = 0.2
    name_and_keyword: float = 0.15
    template: float = 0.1
    english: float = 0.35
    other_languages: float = 0.1

    def __post_init__(self):
        if self.keyword + self.name_and_keyword + self.template > 1:
            raise ValueError("keyword + name_and_keyword + template must not exceed 1")
        if self.english + self.other_languages > 1:
            raise ValueError("english + other_languages must not exceed 1")


@dataclass(frozen=True, kw_only=True)
class Named:
    """One concept in one language: its name and keywords."""

    concept: str
    language: str
    name: str
    keywords: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A drawn caption; `text_id` is its row in the table, None when it was composed."""

    text: str
    text_id: int | None


class Captions:
    """The texts of all concepts. `weights` gives each language's share among those a concept has."""

    def __init__(self, named: Iterable[Named], concepts: Sequence[str], weights: Mapping[str, float]):
        self.concepts = tuple(concepts)
        self.languages = tuple(sorted(weights))
        row = {concept: i for i, concept in enumerate(self.concepts)}
        column = {language: i for i, language in enumerate(self.languages)}
        ids: dict[str, int] = {}
        truth: defaultdict[int, set[int]] = defaultdict(set)
        self.name = np.full((len(row), len(column)), -1, dtype=np.int64)
        keywords: dict[tuple[int, int], list[int]] = {}
        for entry in named:
            if entry.concept not in row or entry.language not in column:
                continue
            at = row[entry.concept], column[entry.language]
            said = [ids.setdefault(text, len(ids)) for text in (entry.name, *entry.keywords)]
            self.name[at] = said[0]
            keywords[at] = said[1:]
            for text_id in said:
                truth[text_id].add(at[0])
        self.texts = tuple(ids)
        self.keywords = keywords
        self.truth = [np.array(sorted(truth[i]), dtype=np.int64) for i in range(len(ids))]
        share = np.array([weights[language] for language in self.languages]) * (self.name >= 0)
        self._cumulative = np.cumsum(share, axis=1)

    def draw(self, concepts: Int[np.ndarray, " n"], rng: Rng, mix: CaptionMix) -> list[Caption]:
        """One caption per concept row."""
        total = self._cumulative[concepts, -1]
        at = (rng.random(len(concepts)) * total)[:, None]
        languages = (self._cumulative[concepts] <= at).sum(axis=1)
        kinds, picks = rng.random(len(concepts)), rng.random((len(concepts), 2))
        return [
            self._caption(int(c), int(language), float(kind), pick, mix)
            for c, language, kind, pick in zip(concepts, languages, kinds, picks, strict=True)
        ]

    def _caption(self, concept: int, language: int, kind: float, pick: np.ndarray, mix: CaptionMix) -> Caption:
        name_id = int(self.name[concept, language])
        name, keywords = self.texts[name_id], self.keywords[concept, language]
        if kind < mix.keyword and keywords:
            text_id = keywords[int(pick[0] * len(keywords))]
            return Caption(text=self.texts[text_id], text_id=text_id)
        if kind < mix.keyword + mix.name_and_keyword and keywords:
            parts = [name, self.texts[keywords[int(pick[0] * len(keywords))]]]
            return Caption(text=", ".join(parts if pick[1] < 0.7 else parts[::-1]), text_id=None)
        if kind > 1 - mix.template and self.languages[language] == "en":
            return Caption(text=TEMPLATES[int(pick[0] * len(TEMPLATES))].format(name), text_id=name_id)
        return Caption(text=name, text_id=name_id)

    def positives(
        self, concepts: Int[np.ndarray, " images"], captions: Sequence[Caption], owners: Int[np.ndarray, " texts"]
    ) -> Bool[np.ndarray, "images texts"]:
        """Which caption is true of which picture; a composed caption only of its owner's concept."""
        out = concepts[:, None] == owners[None, :]
        for j, caption in enumerate(captions):
            if caption.text_id is not None and len(self.truth[caption.text_id]) > 1:
                out[:, j] |= np.isin(concepts, self.truth[caption.text_id])
        return out
