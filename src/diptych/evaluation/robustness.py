"""How much is left when inputs are damaged: ImageNet-C's corruptions (arXiv 1903.12261) on the data's own pictures,
misspelled queries, and queries said in another way.

Retention is what is right with the damage over what is right without it, for the same pictures and queries. Of a model
that finds no more without damage than chance would once in forty data sets there is nothing to retain. Beside it,
because they need no labels: the cosine between a picture and its damaged self, and how many of its nearest pictures
stay.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from diptych.core import telemetry
from diptych.core.types import Picture
from diptych.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from diptych.data.draws import generator
from diptych.data.typos import misspell, paraphrases
from diptych.evaluation.dataset import as_queries
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import classification, ranking
from diptych.evaluation.metrics.sums import ratio
from diptych.evaluation.outcome import Outcome, Statistic
from diptych.evaluation.zero_shot import ZeroShotConfig, class_vectors, prompts

_MAKERS = 2


@dataclass(frozen=True, kw_only=True)
class CorruptionsConfig:
    """`pictures` of the data, drawn by `seed`, with every corruption at every severity. Their longer side is brought
    down to `side` pixels before, damaged or not: the published constants are for 224. `zero_shot` says how they are
    classified where there are classes; where there are only captions, a picture is right when it finds its own."""

    pictures: int = 100
    side: int = 320
    corruptions: tuple[str, ...] = CORRUPTIONS
    severities: tuple[int, ...] = (1, 3, 5)
    neighbours: int = 10
    seed: int = 0
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)

    def __post_init__(self):
        if unknown := set(self.corruptions) - set(CORRUPTIONS):
            raise ValueError(f"no corruption {min(unknown)!r}; there are {', '.join(CORRUPTIONS)}")
        if not self.corruptions or not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"severities go from 1 to 5, and a corruption is needed; got {self.severities} and "
                             f"{self.corruptions}")
        if self.pictures < 2 or self.neighbours < 1 or self.side < 32:
            raise ValueError("pictures are at least 2, neighbours at least 1 and side at least 32; got "
                             f"{self.pictures}, {self.neighbours} and {self.side}")


@dataclass(frozen=True, kw_only=True)
class QueriesConfig:
    """`queries` captions of `language` (None: English, else the data's first), drawn by `seed`, with so many `edits` in
    each."""

    queries: int = 1000
    language: str | None = None
    edits: int = 1
    seed: int = 0

    def __post_init__(self):
        if self.queries < 1 or self.edits < 1:
            raise ValueError(f"queries and edits are at least 1; got {self.queries} and {self.edits}")


def corruptions(embedded: Embedded, config: CorruptionsConfig) -> Outcome:
    """Samples are a picture with one corruption at one severity, and those of one picture are drawn together. "cosine"
    is that with the clean picture, "overlap@10" the share of its nearest pictures that stay; "right" (with damage),
    "clean_right" and "retention", the one over the other, need classes, of which pictures with one are taken, or
    captions. Slices by "corruption" and "severity".

    ValueError when the data have fewer than three pictures.
    """
    data = embedded.data
    if len(data) < 3:
        raise ValueError(f"{data.name} has {len(data)} pictures; damaged ones are told from at least two others")
    able = np.arange(len(data), dtype=np.int64)
    if len(data.classes) > 1 and any(data.labels):
        able = np.flatnonzero(data.labels)
    drawn = generator(config.seed, "corruptions").permutation(len(able))[: config.pictures]
    chosen = np.sort(able[drawn])
    truth = _Truth.of(embedded, chosen, config.zero_shot)
    pictures = [_bounded(embedded.decode(int(number)), config.side) for number in chosen]
    whole = embedded.pictures(pictures)
    near = _neighbours(whole, embedded.images, chosen, config.neighbours)
    clean = truth.right(whole) if truth else None
    kinds = [(name, severity) for name in config.corruptions for severity in config.severities]
    cosine, overlap, right = [], [], []
    with ThreadPoolExecutor(_MAKERS) as pool, telemetry.progress(
            f"{embedded.spec.name}: corruptions", len(kinds) * len(chosen), "pictures") as bar:
        for name, severity in kinds:
            def damaged(at: int, name: str = name, severity: int = severity) -> Picture:
                return corrupt(pictures[at], name, severity,
                               generator(config.seed, name, str(severity), data.ids[int(chosen[at])]))

            vectors = embedded.pictures(list(pool.map(damaged, range(len(chosen)))))
            cosine.append((vectors * whole).sum(axis=1).astype(np.float64))
            now = _neighbours(vectors, embedded.images, chosen, config.neighbours)
            overlap.append(np.array([len(set(a) & set(b)) / len(a) for a, b in zip(near, now, strict=True)]))
            if truth:
                right.append(truth.right(vectors))
            bar.advance(len(chosen))
    values = {"cosine": np.concatenate(cosine), f"overlap@{config.neighbours}": np.concatenate(overlap)}
    statistics: dict[str, Statistic] = {}
    if truth and clean is not None:
        values |= {"right": np.concatenate(right), "clean_right": np.tile(clean, len(kinds))}
        if _beats(truth.chance, clean):
            statistics["retention"] = ratio(values["right"], values["clean_right"])
    ids = [data.ids[int(number)] for number in chosen]
    return Outcome(
        task="corruptions", ids=[f"{name}-{severity}|{id_}" for name, severity in kinds for id_ in ids], values=values,
        statistics=statistics, groups=ids * len(kinds),
        slices={"corruption": [name for name, _ in kinds for _ in ids],
                "severity": [str(severity) for _, severity in kinds for _ in ids]},
        chance={"right": truth.chance, "clean_right": truth.chance} if truth else {}, amounts=frozenset({"cosine"}))


def queries(embedded: Embedded, config: QueriesConfig) -> Outcome:
    """Samples are captions; "clean_hit@1", "typo_hit@1" and, in English, "paraphrase_hit@1" are 1 where the caption, as
    it is, misspelled, and said in another way, finds one of its pictures first; a caption that has no other way has no
    part in the last. "typo_retention" and "paraphrase_retention" are these over the first. ValueError when there is no
    caption in that language."""
    data = embedded.data
    language = data.language if config.language is None else config.language
    captions = as_queries([caption for caption in data.captions if caption.language == language])
    if not captions:
        raise ValueError(f"{data.name} has no captions in {language!r}; it has "
                         f"{', '.join(map(repr, data.languages)) or 'none'}")
    some = np.sort(generator(config.seed, "queries").permutation(len(captions))[: config.queries])
    asked = [captions[int(at)] for at in some]
    said = {"clean": [caption.text for caption in asked],
            "typo": [misspell(c.text, generator(config.seed, "typo", c.text), config.edits) for c in asked]}
    if language.partition("-")[0] == "en":
        said["paraphrase"] = [next(iter(paraphrases(c.text, generator(config.seed, "say", c.text))), c.text)
                              for c in asked]
    gallery = data.gallery(captions)
    pairs = np.array([(at, picture) for at, caption in enumerate(asked) for picture in caption.pictures], np.int64)
    query, item = pairs[:, 0], np.searchsorted(gallery, pairs[:, 1])
    same = np.array(data.same)[gallery] if data.same else None
    answers = len(gallery if same is None else set(same.tolist()))
    values: dict[str, np.ndarray] = {}
    statistics: dict[str, Statistic] = {}
    chance: dict[str, float] = {}
    for kind, texts in said.items():
        ranks, _ = ranking.relevant_ranks(embedded.texts(texts), embedded.images[gallery], query, item, same=same)
        changed = np.array([kind == "clean" or text != own for text, own in zip(texts, said["clean"], strict=True)])
        values[f"{kind}_hit@1"] = np.where(changed, ranking.hit_at_k(ranks, 1), np.nan)
        chance[f"{kind}_hit@1"] = float(ranking.hit_by_luck(ranks, answers, 1).mean())
        if kind != "clean" and _beats(chance["clean_hit@1"], values["clean_hit@1"]):
            statistics[f"{kind}_retention"] = ratio(values[f"{kind}_hit@1"], values["clean_hit@1"])
    return Outcome(
        task="queries", ids=said["clean"], values=values, statistics=statistics,
        groups=[",".join(map(str, caption.pictures)) for caption in asked],
        details={kind: texts for kind, texts in said.items() if kind != "clean"}, chance=chance)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Truth:
    """Texts, and which of them are right for each chosen picture."""

    texts: Float[np.ndarray, "texts dim"]
    first: Int[np.ndarray, " pictures"] | None
    true: Sequence[frozenset[int]]
    chance: float

    @classmethod
    def of(cls, embedded: Embedded, chosen: Int[np.ndarray, " pictures"], config: ZeroShotConfig) -> "_Truth | None":
        """Of classes where every chosen picture has one, else of captions; None without either."""
        data = embedded.data
        labels = [data.labels[int(number)] for number in chosen]
        if len(data.classes) > 1 and all(labels):
            number = {name: at for at, name in enumerate(data.classes)}
            return cls(texts=class_vectors(embedded, prompts(data, config)), chance=1 / len(data.classes),
                       first=np.array([number[label] for label in labels]), true=())
        said: dict[int, set[int]] = {int(picture): set() for picture in chosen}
        captions = as_queries(data.captions)
        for at, caption in enumerate(captions):
            for picture in caption.pictures:
                if picture in said:
                    said[picture].add(at)
        if not all(said.values()):
            return None
        true = [frozenset(said[int(picture)]) for picture in chosen]
        return cls(texts=embedded.texts([caption.text for caption in captions]), first=None, true=true,
                   chance=float(np.mean([len(one) for one in true])) / len(captions))

    def right(self, vectors: Float[np.ndarray, "pictures dim"]) -> Float[np.ndarray, " pictures"]:
        """1 where the nearest text is right; a tie is wrong."""
        if self.first is not None:
            return classification.accuracy_at_k(vectors @ self.texts.T, self.first, 1).astype(np.float64)
        pairs = np.array([(at, text) for at, texts in enumerate(self.true) for text in sorted(texts)], np.int64)
        ranks, _ = ranking.relevant_ranks(vectors, self.texts, pairs[:, 0], pairs[:, 1])
        return ranking.hit_at_k(ranks, 1)


def _beats(chance: float, right: Float[np.ndarray, " samples"]) -> bool:
    """Whether so many right ones come by chance in less than one data set in forty."""
    from scipy.special import bdtrc

    return bool(right.any() and bdtrc(int(right.sum()) - 1, len(right), chance) < 0.025)


def _bounded(picture: Picture, side: int) -> Picture:
    if max(picture.size) <= side:
        return picture
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def _neighbours(
    vectors: Float[np.ndarray, "some dim"], images: Float[np.ndarray, "pictures dim"],
    themselves: Int[np.ndarray, " some"], count: int,
) -> list[list[int]]:
    """The nearest pictures of each, without itself."""
    found, _ = ranking.top_k(vectors, images, min(count + 1, len(images)))
    return [[int(i) for i in row if i != own][:count] for row, own in zip(found, themselves, strict=True)]
