"""Whether a model reads a caption's words in their order: a true caption against one that looks like it and is false.

`hard_negatives` is the form of SugarCrepe (arXiv 2306.14610) and ARO (arXiv 2210.01936): one picture, two captions.
`winoground` is that of Winoground (arXiv 2204.03162): two pictures and two captions that are each other's negatives.
A tie is wrong in both; some benchmarks count it as right, and then a model that gives every text the same vector wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diptych.data import dedup
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import choice
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices

_BLOCK = 1 << 14
"""Samples whose vectors are gathered at a time."""


@dataclass(frozen=True, kw_only=True)
class CompositionalConfig:
    """Captions in these `languages` alone; None: all of them. ValueError when a language is not among the captions."""

    languages: tuple[str, ...] | None = None


def hard_negatives(embedded: Embedded, config: CompositionalConfig) -> Outcome:
    """Samples are a picture, a caption that is true of it and one of its negatives. "true_over_negative" is 1 where the
    true caption has the greater cosine. Slices by the "kind" of change and the "language"; samples of one picture, or
    of pictures with the same pixels, are drawn together.

    ValueError when no caption has a negative.
    """
    data = embedded.data
    samples = [(picture, caption, kind, negative) for caption in _captions(data, config)
               for kind, negative in dict.fromkeys(caption.negatives) for picture in caption.pictures]
    if not samples:
        raise ValueError(f"no caption of {data.name} has a hard negative; give a column 'negative', or one "
                         "'negative_<kind>' for each kind of change")
    pictures = np.array([picture for picture, *_ in samples], np.int64)
    true = cosines(embedded, pictures, [caption.text for _, caption, _, _ in samples])
    false = cosines(embedded, pictures, [negative for *_, negative in samples])
    same = data.same or range(len(data))
    return Outcome(
        task="hard_negatives",
        ids=[f"{data.ids[picture]}|{caption.language}|{caption.text}|{kind}|{negative}"
             for picture, caption, kind, negative in samples],
        values={"true_over_negative": choice.true_over_negative(true, false)},
        groups=[str(same[picture]) for picture in pictures],
        slices=slices(data, pictures, more={"kind": [kind for _, _, kind, _ in samples],
                                            "language": [caption.language for _, caption, _, _ in samples]}),
        details={"picture": [data.ids[picture] for picture in pictures],
                 "true": [caption.text for _, caption, _, _ in samples], "negative": [sample[3] for sample in samples],
                 "true_cosine": true.tolist(), "negative_cosine": false.tolist()},
        chance={"true_over_negative": choice.chance(1)})


def winoground(embedded: Embedded, config: CompositionalConfig) -> Outcome:
    """Samples are two captions of one language, each true of one picture and false of the other's. "text" is 1 where
    each picture prefers its caption, "image" where each caption prefers its picture, "group" where both is so. Samples
    that share a picture are drawn together.

    ValueError when no two captions are each other's negatives.
    """
    data = embedded.data
    pairs = _pairs(data, _captions(data, config))
    if not pairs:
        raise ValueError(f"no two captions of {data.name} are each other's negatives with one picture each; "
                         "hard_negatives needs only one side")
    pictures = np.array([[caption.pictures[0] for caption in pair] for pair in pairs], np.int64)
    scores = np.stack([np.stack([
        cosines(embedded, pictures[:, image], [pair[text].text for pair in pairs])
        for image in range(2)], axis=1) for text in range(2)], axis=1)
    together = dedup.groups(len(data), pictures)
    return Outcome(
        task="winoground", ids=[f"{data.ids[a]}|{data.ids[b]}|{one.language}|{one.text}|{other.text}"
                                for (a, b), (one, other) in zip(pictures, pairs, strict=True)],
        values=choice.winoground(scores), groups=[str(together[a]) for a, _ in pictures],
        slices=slices(data, pictures[:, 0], more={"language": [one.language for one, _ in pairs]}),
        details={"texts": [[one.text, other.text] for one, other in pairs],
                 "pictures": [[data.ids[a], data.ids[b]] for a, b in pictures],
                 "cosines": scores.reshape(-1, 4).tolist()},
        chance=choice.WINOGROUND_CHANCE)


def _captions(data: Dataset, config: CompositionalConfig) -> list[Caption]:
    if unknown := sorted({*(config.languages or ())} - {*data.languages}):
        raise ValueError(f"{data.name} has no captions in {', '.join(map(repr, unknown))}; it has "
                         f"{', '.join(map(repr, data.languages)) or 'none'}")
    return [caption for caption in data.captions if config.languages is None or caption.language in config.languages]


def _pairs(data: Dataset, captions: Sequence[Caption]) -> list[tuple[Caption, Caption]]:
    """Captions with one picture each, and different ones, of which each has the other as a negative."""
    same = data.same or range(len(data))
    alone: dict[tuple[str, str], list[Caption]] = {}
    for caption in captions:
        if len({same[picture] for picture in caption.pictures}) == 1:
            alone.setdefault((caption.language, caption.text), []).append(caption)
    return [(caption, other) for one in alone.values() for caption in one
            for negative in dict.fromkeys(text for _, text in caption.negatives) if caption.text < negative
            for other in alone.get((caption.language, negative), ())
            if same[caption.pictures[0]] != same[other.pictures[0]]
            and any(caption.text == text for _, text in other.negatives)]


def cosines(
    embedded: Embedded, pictures: Int[np.ndarray, " samples"], texts: Sequence[str]
) -> Float[np.ndarray, " samples"]:
    """Of each picture with its text. One sample is computed like another, so that equal vectors tie."""
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    vectors, rows = embedded.texts(list(place)), np.array([place[text] for text in texts])
    return np.concatenate([
        (embedded.images[pictures[start : start + _BLOCK]] * vectors[rows[start : start + _BLOCK]]).sum(axis=1)
        for start in range(0, len(texts), _BLOCK)])
