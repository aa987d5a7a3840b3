"""How alike a caption is to those that people wrote of the same picture: ROUGE-L and CIDEr-D, of words.

Lin, ACL 2004 (ROUGE-L) and arXiv 1411.5726 (CIDEr), as the COCO captioning evaluation computes them (pycocoevalcap
1.2). How a text becomes words is the caller's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Words: TypeAlias = Sequence[str]

N = 4
"""The longest n-grams of CIDEr."""
SIGMA = 6.0
"""A caption so many words longer or shorter than a reference has 61% of its CIDEr."""


@dataclass(frozen=True, kw_only=True)
class Frequencies:
    """Of so many `pictures`, how many have an n-gram in a reference."""

    pictures: int
    having: Mapping[tuple[str, ...], int]


def frequencies(references: Iterable[Sequence[Words]]) -> Frequencies:
    """Of the references of each picture. An n-gram that is in all pictures' references says nothing of any."""
    having: Counter[tuple[str, ...]] = Counter()
    pictures = 0
    for own in references:
        having.update({gram for reference in own for gram in _grams(reference)})
        pictures += 1
    return Frequencies(pictures=pictures, having=having)


def rouge_l(said: Words, references: Sequence[Words], beta: float = 1.2) -> float:
    """The F of the longest common subsequence, 0 to 1: the best recall and the best precision of any reference, recall
    counting `beta` times as much. ValueError without a reference, and for one without words."""
    _check(references)
    common = [_common(said, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(said)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def cider(said: Words, references: Sequence[Words], known: Frequencies) -> float:
    """CIDEr-D, 0 to 10: the mean over references, and over n-grams of one to four words, of the cosine between their
    counts weighted by how rare they are, clipped to the reference's; less for another length. Papers write 100 times as
    much. A text of n words has nothing to compare beyond n-grams, so that a name of one word reaches 2.5. ValueError
    as `rouge_l`."""
    _check(references)
    own, length = _weighted(said, known)
    total = 0.0
    for reference in references:
        other, other_length = _weighted(reference, known)
        near = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
        total += near * sum(_clipped_cosine(mine, its) for mine, its in zip(own, other, strict=True))
    return 10 * total / N / len(references)


def _check(references: Sequence[Words]) -> None:
    if not references or not all(references):
        raise ValueError("a caption is compared with at least one reference, and every reference has words")


def _common(a: Words, b: Words) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = row
        row = [0]
        for at, other in enumerate(b):
            row.append(before[at] + 1 if word == other else max(row[at], before[at + 1]))
    return row[-1]


def _grams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for n in range(1, N + 1) for at in range(len(words) - n + 1))


def _weighted(words: Words, known: Frequencies) -> tuple[list[dict[tuple[str, ...], float]], int]:
    """The weights of its n-grams, by n, and its length in pairs of words, as the COCO evaluation counts it."""
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(N)]
    for gram, count in _grams(words).items():
        weights[len(gram) - 1][gram] = count * (math.log(known.pictures) - math.log(max(1, known.having.get(gram, 0))))
    return weights, max(0, len(words) - 1)


def _clipped_cosine(own: Mapping[tuple[str, ...], float], other: Mapping[tuple[str, ...], float]) -> float:
    product = sum(min(weight, other[gram]) * other[gram] for gram, weight in own.items() if gram in other)
    norms = math.sqrt(sum(w * w for w in own.values()) * sum(w * w for w in other.values()))
    return product / norms if norms else 0.0
