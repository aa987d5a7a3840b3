"""Telling two kinds of samples apart by one score: matches from others, members of a class from the rest, copies from
strangers. A sample is accepted whose score is at least the threshold.

Here a tie is not wrong. A threshold accepts all samples of one score or none, so a scorer that says the same of all has
exactly two working points, and the line between them is chance: an AUROC of 0.5, an average precision of the share of
positives. In a ranking, where a tie could be broken in one's favour, it would be a gift. A score that is NaN is a
failure: the lowest of a positive, the highest of a negative.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

Z = NormalDist().inv_cdf(0.975)


class Share(NamedTuple):
    """A share of `count` samples and its 95% interval (Wilson 1927). NaN of no samples."""

    value: float
    low: float
    high: float
    count: int


def auroc(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """The probability that a positive scores higher than a negative, where a tie counts one half: the area under the
    ROC curve (Hanley and McNeil 1982). NaN unless there are both kinds with weight."""
    right, wrong = _by_score(score, positive, weights)
    total = right.sum() * wrong.sum()
    return float(right @ (np.cumsum(wrong) - wrong / 2) / total) if total > 0 else math.nan


def average_precision(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """The mean of the precision over what each threshold, from the highest down, adds to the recall, as scikit-learn
    has it: no interpolation. NaN unless there are both kinds with weight."""
    right, wrong = (side[::-1] for side in _by_score(score, positive, weights))
    if not right.any() or not wrong.any():
        return math.nan
    # copies with weight 0 above the first with weight would be 0 / 0
    accepted = np.maximum(np.cumsum(right + wrong), np.finfo(float).tiny)
    return float(right @ (np.cumsum(right) / accepted) / right.sum())


def true_positive_rate(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"], threshold: float
) -> Share:
    """Share of the positives that score at least `threshold`."""
    return _share(_failing(score, positive)[positive] >= threshold)


def false_positive_rate(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"], threshold: float
) -> Share:
    """Share of the negatives that score at least `threshold`."""
    return _share(_failing(score, positive)[~positive] >= threshold)


def threshold_at(score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"], rate: float) -> float:
    """The highest threshold that accepts at least that share of the positives. ValueError without positives."""
    if not 0 < rate <= 1:
        raise ValueError(f"a true-positive rate is above 0 and at most 1, got {rate}")
    if not positive.any():
        raise ValueError("no sample is positive, so that no threshold accepts a share of them")
    found = np.sort(_failing(score, positive)[positive])[::-1]
    return float(found[math.ceil(round(rate * len(found), 9)) - 1])  # 0.95 · 20 is a little more than 19


def fpr_at_tpr(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"], rate: float = 0.95
) -> Share:
    """The false-positive rate at the highest threshold that accepts that share of the positives ("FPR95"). The interval
    takes the threshold as given; draw positives and negatives anew (a bootstrap) where theirs are few."""
    return false_positive_rate(score, positive, threshold_at(score, positive, rate))


def wilson(share: float, count: float, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` samples, z standard errors wide to either side: never empty, never
    outside 0 and 1, which the normal one is where all or nothing is right."""
    scale = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _share(accepted: Bool[np.ndarray, " some"]) -> Share:
    if not len(accepted):
        return Share(math.nan, math.nan, math.nan, 0)
    value = float(accepted.mean())
    return Share(value, *wilson(value, len(accepted)), len(accepted))


def _failing(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"]
) -> Float[np.ndarray, " samples"]:
    return np.where(np.isnan(score), np.where(positive, -np.inf, np.inf), score)


def _by_score(
    score: Float[np.ndarray, " samples"], positive: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None,
) -> tuple[Float[np.ndarray, " scores"], Float[np.ndarray, " scores"]]:
    """The weight of the positives and of the negatives of each score, from the lowest up."""
    weights = np.ones(len(score)) if weights is None else weights
    scores, place = np.unique(_failing(score, positive), return_inverse=True)
    return (np.bincount(place, weights * positive, len(scores)), np.bincount(place, weights * ~positive, len(scores)))
