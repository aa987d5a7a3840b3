"""Whether a probability means what it says: of what is said with 0.8, are 80% right?

Probabilities of single events: that a picture matches, or that the class said to be best is the right one. What is
right is 0 or 1. `evaluation/calibration.py` fits such probabilities; here they are judged.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diptych.evaluation.metrics.sums import OfSums, Sums


class Reliability(NamedTuple):
    """One bin of a reliability curve: the mean probability that was said, the share that was right, of how many."""

    said: float
    right: float
    count: int


def bins(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"], count: int = 15
) -> tuple[Reliability, ...]:
    """Of `count` bins of equal width, [0, 1/count) and so on, the last with 1, those that have samples, from the lowest
    up. ValueError for a probability that is none."""
    number = _bin(probability, count)
    samples, said, shown = (np.bincount(number, what, count) for what in (np.ones(len(number)), probability, right))
    return tuple(Reliability(float(said[at] / samples[at]), float(shown[at] / samples[at]), int(samples[at]))
                 for at in np.flatnonzero(samples))


def ece(
    probability: Float[np.ndarray, " samples"], right: Float[np.ndarray, " samples"], count: int = 15
) -> OfSums:
    """Expected calibration error: the mean distance, over samples, of the mean probability of their bin (see `bins`)
    from its share of right ones (Naeini et al. 2015; Guo et al., arXiv 1706.04599 §2). A bin's part of it is
    |Σ w (probability − right)| / Σ w. It is biased upwards, the more so the fewer samples a bin has (Nixon et al.,
    arXiv 1904.01685). NaN without weight, ValueError for a probability that is none."""
    number = _bin(probability, count)
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


def _bin(probability: Float[np.ndarray, " samples"], count: int) -> Int[np.ndarray, " samples"]:
    if len(probability) and not (probability.min() >= 0 and probability.max() <= 1):
        raise ValueError(f"probabilities are between 0 and 1, got {probability.min():g} to {probability.max():g}; "
                         "leave samples without one out")
    if count < 1:
        raise ValueError(f"a curve has at least one bin, got {count}")
    return np.minimum((probability.astype(np.float64) * count).astype(np.int64), count - 1)
