"""Whether a text is true of a picture, one pair at a time: can one line be drawn between true captions and others?

Retrieval asks who is first. Here all pairs stand in one order, as for a filter or an alarm: a picture with a caption of
its own against the same picture with somebody else's. The match probability rises with the cosine, so that its order is
the cosine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.data import draws
from diptych.evaluation.compositional import cosines
from diptych.evaluation.dataset import Caption, Dataset, as_queries
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import detection
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices

TASK = "matching"


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """`captions` are drawn, as many of each language; the `seed` draws them and their false ones."""

    captions: int = 2000
    seed: int = 0

    def __post_init__(self):
        if self.captions < 2:
            raise ValueError(f"captions is at least 2, got {self.captions}")


def matching(embedded: Embedded, config: MatchingConfig) -> Outcome:
    """Samples are pairs of a picture and a text: each caption with a picture that it is true of, and that picture with
    a caption of the same language that is true of neither it nor one with the same pixels. "auroc" is how often a true
    pair scores higher than a false one; "fpr@95tpr" the share of false pairs that are accepted with 95% of the true.

    ValueError when no language has two captions of different pictures, and for a gold set, which does not say all that
    is true of a picture.
    """
    data = embedded.data
    if data.distractors:
        raise ValueError(f"{data.name} does not say of every query whether it is true of a picture")
    pairs = [pair for language in data.languages for pair in _pairs(data, language, config)]
    if not pairs:
        raise ValueError(f"{data.name} has no two captions in one language that are true of different pictures; "
                         "matching tells such captions apart")
    pictures = np.array([picture for picture, *_ in pairs], np.int64)
    true = np.array([true for *_, true in pairs])
    cosine = cosines(embedded, pictures, [caption.text for _, caption, _ in pairs])
    same = data.same or range(len(data))
    return Outcome(
        task=TASK, ids=[f"{data.ids[picture]}|{caption.language}|{caption.text}|{true}"
                        for picture, caption, true in pairs],
        statistics={"auroc": detection.auroc(cosine, true), "fpr@95tpr": detection.fpr_at_tpr(cosine, true)},
        groups=[str(same[picture]) for picture in pictures],
        slices=slices(data, [], more={"language": [caption.language for _, caption, _ in pairs]}),
        details={"picture": [data.ids[picture] for picture in pictures],
                 "text": [caption.text for _, caption, _ in pairs], "true": true.tolist(), "cosine": cosine.tolist()},
        chance={"auroc": 0.5, "fpr@95tpr": 0.95}, lower=frozenset({"fpr@95tpr"}))


def _pairs(data: Dataset, language: str, config: MatchingConfig) -> Sequence[tuple[int, Caption, bool]]:
    """Of each caption drawn in a language, a true pair and a false one, where there is a false one."""
    captions = as_queries([caption for caption in data.captions if caption.language == language])
    same = data.same or range(len(data))
    shown = [frozenset(same[picture] for picture in caption.pictures) for caption in captions]
    rng = draws.generator(config.seed, "matching", language)
    found: dict[tuple[int, str, bool], tuple[int, Caption, bool]] = {}
    for at in rng.permutation(len(captions))[: -(-config.captions // len(data.languages))]:
        picture = captions[at].pictures[int(rng.integers(len(captions[at].pictures)))]
        for other in rng.integers(len(captions), size=_TRIES):
            if same[picture] not in shown[other]:
                for caption, true in ((captions[at], True), (captions[other], False)):
                    found[picture, caption.text, true] = picture, caption, true
                break
    return list(found.values())


_TRIES = 50
"""Draws of a false caption; where most are true of the picture there may be none."""
