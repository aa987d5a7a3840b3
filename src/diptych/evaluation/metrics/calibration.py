"""Whether a probability means what it says: of what is said with 0.8, are 80% right?

Probabilities of single events: that a picture matches, or that the class said to be best is the right one. What is
right is 0 or 1. `evaluation/calibration.py` fits such probabilities; here they are judged.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diptych.evaluation.metrics.sums import OfSums, Sums


class Reliability(NamedTuple):
    """One bin of a reliability curve: the mean probability that was said, the share that was right, and the weight."""

    said: float
    right: float
    weight: float


def bins(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"], *, count: int = 15,
    equal_mass: bool = False, weights: Float[np.ndarray, " samples"] | None = None,
) -> tuple[Reliability, ...]:
    """The bins that have weight, from the lowest probability up.

    `count` bins of equal width, [0, 1/count) and so on, the last with 1; or, with `equal_mass`, of about equal weight,
    in which samples of one probability stay together. ValueError for a probability that is none.
    """
    if len(probability) and not (probability.min() >= 0 and probability.max() <= 1):
        raise ValueError(f"probabilities are between 0 and 1, got {probability.min():g} to {probability.max():g}; "
                         "leave samples without one out")
    if count < 1:
        raise ValueError(f"a curve has at least one bin, got {count}")
    weights = np.ones(len(probability)) if weights is None else weights
    if equal_mass:
        values, place = np.unique(probability, return_inverse=True)
        mass = np.bincount(place, weights, len(values))
        share = ((np.cumsum(mass) - mass / 2) / max(mass.sum(), np.finfo(float).tiny))[place]
    else:
        share = probability.astype(np.float64)
    number = np.minimum((share * count).astype(np.int64), count - 1)
    weight, said, shown = (np.bincount(number, weights * what, count) for what in (1.0, probability, right))
    return tuple(Reliability(float(said[at] / weight[at]), float(shown[at] / weight[at]), float(weight[at]))
                 for at in np.flatnonzero(weight > 0))


def ece(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"], *, count: int = 15,
    equal_mass: bool = False, weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """Expected calibration error: the mean distance, over samples, of their bin's mean probability from its share of
    right ones (Naeini et al. 2015; Guo et al., arXiv 1706.04599 §2). It is biased upwards, the more so the fewer
    samples a bin has; `equal_mass` is less so (Nixon et al., arXiv 1904.01685). NaN without weight."""
    found = bins(probability, right, count=count, equal_mass=equal_mass, weights=weights)
    total = sum(one.weight for one in found)
    return sum(one.weight * abs(one.said - one.right) for one in found) / total if total else math.nan


def weighted_ece(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"], count: int = 15
) -> OfSums:
    """`ece` of bins of equal width as a function of the weights alone, for a bootstrap: a bin's share of the distance
    is |Σ w (probability − right)| / Σ w, and which bin a sample is in does not change."""
    number = np.minimum((probability.astype(np.float64) * count).astype(np.int64), count - 1)
    distance = probability.astype(np.float64) - right

    def figure(sums: Sums) -> Float[np.ndarray, " draws"]:
        total = sums[:, :, 1].sum(axis=1)
        far = np.abs(sums[:, :, 0]).sum(axis=1)
        return np.divide(far, total, out=np.full(len(sums), np.nan), where=total > 0)

    return OfSums(cell=number, columns=np.stack([distance, np.ones(len(number))], axis=1), figure=figure)


def brier(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"]
) -> Float[np.ndarray, " samples"]:
    """The squared distance of each probability from what came; the mean is Brier's score (1950)."""
    return (probability.astype(np.float64) - right) ** 2
