"""How often the right class is the best: accuracy, mean recall of the classes, and for pictures that have several
labels the mean average precision. Scores are cosines, logits or probabilities; more is better.

A class that ties with the right one stands before it, so that a model that gives every class one score is never right
(CLIP_benchmark 1.6.2 takes the first of argmax and topk, which is right whenever the first class is). Everything else
agrees with scikit-learn and with CLIP_benchmark, which calls it.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.evaluation.metrics import detection
from diptych.evaluation.metrics.ranking import TIE
from diptych.evaluation.metrics.sums import OfSums, each_alike, mean_of_means


def accuracy_at_k(
    scores: Float[np.ndarray, "samples classes"], target: Int[np.ndarray, " samples"], k: int = 1
) -> Float[np.ndarray, " samples"]:
    """1 where fewer than k other classes score as high as the right one, 0 elsewhere, as where its score is NaN.

    ValueError for a class that is not there, and when k leaves no class out, with which everything would be right.
    """
    classes = scores.shape[1]
    if not 1 <= k < classes:
        raise ValueError(f"of {classes} classes k is between 1 and {classes - 1}, got {k}")
    _check(target, classes)
    right = np.take_along_axis(scores, target[:, None], axis=1)
    # NaN is not lower, nor is anything lower than it; the right class itself is counted and taken off
    before = (~(scores < right - TIE)).sum(axis=1) - 1
    return (before < k).astype(np.float64)


def mean_per_class_recall(right: Float[np.ndarray, " samples"], target: Int[np.ndarray, " samples"]) -> OfSums:
    """The mean, over the classes that samples with weight have, of the share that is right: balanced accuracy, another
    name for the same. `right` is what `accuracy_at_k` gives. NaN without weight."""
    return mean_of_means(right, target)


def mean_average_precision(
    scores: Float[np.ndarray, "samples classes"], relevant: Bool[np.ndarray, "samples classes"]
) -> detection.OfKinds:
    """The mean over classes of `detection.average_precision`, which ranks the samples by each class's score, as a
    function of the samples' weights. A class that no sample with weight has, or that all have, is left out (in
    CLIP_benchmark the first counts as 0 and the second as 1). NaN when none is left."""
    precisions = [detection.average_precision(scores[:, one], relevant[:, one]) for one in range(scores.shape[1])]

    def mean(weights: Float[np.ndarray, " samples"]) -> float:
        known = [value for precision in precisions if not np.isnan(value := precision(weights))]
        return float(np.mean(known)) if known else float("nan")

    mixed = relevant[:, relevant.any(axis=0) & ~relevant.all(axis=0)]
    return detection.OfKinds(figure=mean, kinds=mixed, worth=_worth)


def _worth(positives: list[float]) -> float:
    """One negative more before n positives takes (1/2 + 1/3 + … + 1/(n + 1)) / n from an average precision of 1."""
    fewest = min(positives)
    return each_alike(positives) / float((1 / np.arange(2, max(fewest, 1) + 2)).sum())


def _check(target: Int[np.ndarray, " samples"], classes: int) -> None:
    if len(target) and not 0 <= target.min() <= target.max() < classes:
        raise ValueError(f"classes are numbered 0 to {classes - 1}, got {target.min()} to {target.max()}")
