"""Telling two kinds of samples apart by one score: matches from others, members of a class from the rest, copies from
strangers. A sample is accepted whose score is at least the threshold.

Here a tie is not wrong. A threshold accepts all samples of one score or none, so a scorer that says the same of all has
exactly two working points, and the line between them is chance: an AUROC of 0.5, an average precision of the share of
positives. In a ranking, where a tie could be broken in one's favour, it would be a gift. A score that is NaN is a
failure: the lowest of a positive, the highest of a negative.

Every figure is a function of the samples' weights, for a bootstrap: what is sorted is sorted once. Its interval knows
how few there are of the rarer kind.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.evaluation.metrics.sums import Worth, worth_of_kinds


@dataclass(frozen=True, kw_only=True, eq=False)
class OfKinds:
    """A figure of samples of several kinds, such as positives and negatives, as a function of their weights. `kinds`
    says of which each sample is, and `worth` what so many of each are worth (`metrics/sums.py`)."""

    figure: Callable[[Float[np.ndarray, " samples"]], float]
    kinds: Bool[np.ndarray, "samples kinds"]
    worth: Worth = min

    def __call__(self, weights: Float[np.ndarray, " samples"]) -> float:
        """The figure for these weights."""
        return self.figure(weights)

    def worth_of(self, group: Int[np.ndarray, " samples"]) -> float:
        """Of how many groups it is a mean; −1 is none."""
        rows = np.flatnonzero(group >= 0)
        return worth_of_kinds(self.kinds[rows].astype(np.float64), group[rows], self.worth)


def auroc(score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"]) -> OfKinds:
    """The probability that a positive scores higher than a negative, where a tie counts one half: the area under the
    ROC curve (Hanley and McNeil 1982). NaN unless there are both kinds with weight."""
    place, count = _places(score, positive)

    def area(weights: Float[np.ndarray, " samples"]) -> float:
        right, wrong = _by_score(place, count, positive, weights)
        total = right.sum() * wrong.sum()
        return float(right @ (np.cumsum(wrong) - wrong / 2) / total) if total > 0 else math.nan

    return OfKinds(figure=area, kinds=_kinds(positive))


def average_precision(score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"]) -> OfKinds:
    """The mean of the precision over what each threshold, from the highest down, adds to the recall, as scikit-learn
    has it: no interpolation. NaN unless there are both kinds with weight."""
    place, count = _places(score, positive)

    def precision(weights: Float[np.ndarray, " samples"]) -> float:
        right, wrong = (side[::-1] for side in _by_score(place, count, positive, weights))
        if not right.any() or not wrong.any():
            return math.nan
        # copies with weight 0 above the first with weight would be 0 / 0
        accepted = np.maximum(np.cumsum(right + wrong), np.finfo(float).tiny)
        return float(right @ (np.cumsum(right) / accepted) / right.sum())

    return OfKinds(figure=precision, kinds=_kinds(positive))


def fpr_at_tpr(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"], rate: float = 0.95
) -> OfKinds:
    """The share of the negatives that score at least the highest threshold that accepts `rate` of the positives: FPR95.
    NaN unless there are both kinds with weight. ValueError for a rate that is none."""
    if not 0 < rate <= 1:
        raise ValueError(f"a true-positive rate is above 0 and at most 1, got {rate}")
    place, count = _places(score, positive)

    def accepted(weights: Float[np.ndarray, " samples"]) -> float:
        right, wrong = (side[::-1] for side in _by_score(place, count, positive, weights))
        if not right.any() or not wrong.any():
            return math.nan
        wanted = rate * right.sum() * (1 - 1e-12)  # 0.95 · 20 is a little more than 19
        return float(wrong[: int(np.argmax(np.cumsum(right) >= wanted)) + 1].sum() / wrong.sum())

    return OfKinds(figure=accepted, kinds=_kinds(positive))


def _kinds(positive: Bool[np.ndarray, " samples"]) -> Bool[np.ndarray, "samples 2"]:
    return np.stack([positive, ~positive], axis=1)


def _places(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"]
) -> tuple[Int[np.ndarray, " samples"], int]:
    """The number of each sample's score among the different ones, from the lowest up, and how many there are."""
    failing = np.where(np.isnan(score), np.where(positive, -np.inf, np.inf), score)
    scores, place = np.unique(failing, return_inverse=True)
    return place, len(scores)


def _by_score(
    place: Int[np.ndarray, " samples"], count: int, positive: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"],
) -> tuple[Float[np.ndarray, " scores"], Float[np.ndarray, " scores"]]:
    """The weight of the positives and of the negatives of each score."""
    return np.bincount(place, weights * positive, count), np.bincount(place, weights * ~positive, count)
