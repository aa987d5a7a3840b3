"""Retrieval both ways: which pictures a caption finds, and which captions a picture finds, in every language apart.

The gallery of a language is the pictures that have a caption in it, and its captions: XM3600's protocol (arXiv
2205.12522), of which the headline is the mean over languages. That of a live collection is all its pictures. "hit@k" is
1 where any right answer is among the first k, which the CLIP papers call R@k; "recall@10" is the share of the right
answers that are. Pictures with the same pixels are one answer. A tie with a wrong answer is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from diptych.evaluation.dataset import Caption, Dataset, as_queries
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import calibration, ranking
from diptych.evaluation.metrics.sums import mean_of_means
from diptych.evaluation.outcome import Outcome, Statistic
from diptych.evaluation.slices import slices
from diptych.evaluation.templates import fill

TO_IMAGE, TO_TEXT = "text_to_image", "image_to_text"

SHOWN = 5
UNNAMED = "unnamed"
"""The language of captions that name none, where others do."""
"""Answers that are kept of each query, for the report."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Captions in these `languages` alone; None: all there are. `template` is filled with each caption ("{}": as it
    is)."""

    languages: tuple[str, ...] | None = None
    template: str = "{}"

    def __post_init__(self):
        fill(self.template, "")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Language:
    """One language's captions, the pictures that have one, and which belong together: (caption, picture), both by their
    number here."""

    name: str
    captions: Sequence[Caption]
    pictures: Int[np.ndarray, " pictures"]
    caption: Int[np.ndarray, " pairs"]
    picture: Int[np.ndarray, " pairs"]


def retrieval(embedded: Embedded, config: RetrievalConfig) -> tuple[Outcome, ...]:
    """`text_to_image`, whose samples are captions, and `image_to_text`, whose samples are pictures, each in every
    language that it has. Both have "hit@1", "hit@5", "hit@10", "recall@10", "capped_recall@10", "mrr", "map" and
    "ndcg@10", sliced by language; of several languages "mean_hit@1", the mean over them; and text_to_image the
    calibration error "ece" and the "brier" score of the probability that the first picture found is right. Where
    pictures without a caption are in the way, only `text_to_image`: a gold set says what queries must find, and not all
    that is true of a picture.

    ValueError when there is no caption, or none in a language that is asked for.
    """
    data = embedded.data
    there, back, asked = _Queries(), _Queries(), list[int]()
    for language in _languages(data, config):
        texts = [caption.text for caption in language.captions]
        vectors = embedded.texts([fill(config.template, text) for text in texts])
        images = embedded.images[language.pictures]
        same = None if not data.same else np.array(data.same)[language.pictures]
        to_image, to_text = ranking.relevant_ranks(vectors, images, language.caption, language.picture, same=same)
        found, cosines = ranking.top_k(vectors, images, SHOWN)
        right = ranking.hit_at_k(to_image, 1)
        there.add(
            language.name, to_image, len(images if same is None else set(same)),
            [f"{language.name}|{text}" for text in texts],
            [",".join(str(p) for p in caption.pictures) for caption in language.captions], query=texts,
            expected=[[data.ids[p] for p in caption.pictures] for caption in language.captions],
            found=[[data.ids[language.pictures[p]] for p in row] for row in found], cosines=cosines.tolist(),
            said=[embedded.spec.probability(float(best)) for best in cosines[:, 0]], right=right.tolist())
        asked += language.pictures.tolist()
        ids = [data.ids[picture] for picture in language.pictures]
        back.add(language.name, to_text, len(texts), [f"{language.name}|{id_}" for id_ in ids],
                 [str(picture) for picture in (language.pictures if same is None else same)], picture=ids)
    to_images = there.outcome(TO_IMAGE, {})
    return (to_images,) if data.distractors else (to_images, back.outcome(TO_TEXT, slices(data, asked)))


class _Queries:
    """Ranks of one direction, language by language, until they are an outcome."""

    def __init__(self):
        self.ranks: list[ranking.Ranks] = []
        self.answers: list[int] = []
        self.ids: list[str] = []
        self.groups: list[str] = []
        self.languages: list[str] = []
        self.details: dict[str, list[Any]] = {}

    def add(
        self, language: str, ranks: ranking.Ranks, answers: int, ids: list[str], groups: list[str], **details: list[Any]
    ) -> None:
        """The queries of one more language, in which there are so many different answers."""
        self.ranks.append(ranks)
        self.answers.append(answers)
        self.ids += ids
        self.groups += groups
        self.languages += [language] * len(ids)
        for name, column in details.items():
            self.details.setdefault(name, []).extend(column)

    def outcome(self, task: str, more: Mapping[str, Sequence[str]]) -> Outcome:
        """All languages together."""
        def joined(figure: Callable[[ranking.Ranks], np.ndarray]) -> np.ndarray:
            return np.concatenate([figure(ranks) for ranks in self.ranks])

        values = {f"hit@{k}": joined(lambda ranks, k=k: ranking.hit_at_k(ranks, k)) for k in (1, 5, 10)}
        values |= {"recall@10": joined(lambda ranks: ranking.recall_at_k(ranks, 10)),
                   "capped_recall@10": joined(lambda ranks: ranking.capped_recall_at_k(ranks, 10)),
                   "mrr": joined(ranking.reciprocal_rank), "map": joined(ranking.average_precision),
                   "ndcg@10": joined(lambda ranks: ranking.ndcg_at_k(ranks, 10))}
        spoken = dict.fromkeys(self.languages)
        statistics: dict[str, Statistic] = {}
        if len(spoken) > 1:
            number = np.array([list(spoken).index(language) for language in self.languages])
            statistics["mean_hit@1"] = mean_of_means(values["hit@1"], number, least=2)  # NaN in a slice of one
        if "said" in self.details:
            said, right = (np.array(self.details[name], float) for name in ("said", "right"))
            statistics["ece"] = calibration.ece(said, right)
            values["brier"] = calibration.brier(said, right)
        by_luck = {k: [ranking.hit_by_luck(ranks, answers, k)
                       for ranks, answers in zip(self.ranks, self.answers, strict=True)] for k in (1, 5, 10)}
        return Outcome(
            task=task, ids=self.ids, values=values, statistics=statistics, groups=self.groups,
            slices=({"language": [language or UNNAMED for language in self.languages]} if len(spoken) > 1 else {})
            | dict(more),
            details=self.details | {"language": self.languages, "rank": joined(lambda ranks: ranks.first).tolist()},
            chance={f"hit@{k}": float(np.nanmean(np.concatenate(luck))) for k, luck in by_luck.items()}
            | ({"mean_hit@1": float(np.mean([np.nanmean(luck) for luck in by_luck[1]]))} if len(spoken) > 1 else {}),
            lower=frozenset({"ece", "brier"} & {*values, *statistics}))


def in_languages(data: Dataset, languages: Sequence[str]) -> Dataset:
    """The data with captions and class names in these languages alone, and those in the data's own. ValueError, which
    names those that there are, for a language without captions."""
    if data.captions:
        check_languages(data, languages)
    return replace(data, captions=tuple(caption for caption in data.captions if caption.language in languages),
                   names={code: names for code, names in data.names.items() if not code or code in languages})


def check_languages(data: Dataset, languages: Sequence[str]) -> None:
    """ValueError, which names those that there are, for a language without captions."""
    if unknown := sorted({*languages} - {*data.languages}):
        there = ", ".join(map(repr, filter(None, data.languages)))
        unnamed = sum(not caption.language for caption in data.captions)
        hint = (f", and {unnamed} that name no language: call their column caption_{unknown[0]}, or give a column "
                "'language'" if unnamed else "")
        lacks = f"{data.name} has no captions in {', '.join(map(repr, unknown))}; it has {there}{hint}"
        raise ValueError(lacks if there else
                         f"the captions of {data.name} name no language, so that none can be asked for; give a column "
                         "'language', or call the column of captions caption_de")


def _languages(data: Dataset, config: RetrievalConfig) -> list[_Language]:
    if not data.captions:
        raise ValueError(f"{data.name} has no captions; give a column 'caption', or text files beside the pictures")
    check_languages(data, config.languages or ())
    found = []
    for name in config.languages or data.languages:
        captions = as_queries([caption for caption in data.captions if caption.language == name])
        pictures = data.gallery(captions)
        pairs = [(at, picture) for at, caption in enumerate(captions) for picture in caption.pictures]
        at, picture = np.array(pairs, np.int64).T
        found.append(_Language(name=name, captions=captions, pictures=pictures, caption=at,
                               picture=np.searchsorted(pictures, picture)))
    return found
