"""Maps of labels and of depths against true ones. What comes picture by picture can be drawn anew and sliced."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from diptych.evaluation.metrics.sums import OfSums, Sums, each_alike


def overlaps(
    predicted: Shaped[np.ndarray, "*shape"], truth: Shaped[np.ndarray, "*shape"], classes: int,
    ignore: int | None = None,
) -> tuple[Int[np.ndarray, " classes"], Int[np.ndarray, " classes"]]:
    """Of each class, how many pixels both maps have and how many either has. Labels are 0 to classes − 1 (or truths);
    pixels whose true label is `ignore` count nowhere. ValueError for another label."""
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    said, true = predicted[counted].astype(np.int64), truth[counted].astype(np.int64)
    for what, labels in (("predicted", said), ("true", true)):
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"{what} labels are 0 to {classes - 1}, got {labels.min()} to {labels.max()}; give a true "
                             "label that means nothing as `ignore`")
    both = np.bincount(true[said == true], minlength=classes)
    return both, np.bincount(said, minlength=classes) + np.bincount(true, minlength=classes) - both


def mean_iou(both: Int[np.ndarray, "*pictures classes"], either: Int[np.ndarray, "*pictures classes"]) -> OfSums:
    """Mean over classes of intersection over union, of all pictures' pixels together (Everingham et al. 2010), from
    what `overlaps` gives for each or for all. A class that is in neither map of any picture is left out. NaN without
    pixels."""
    both, either = (counts.reshape(-1, counts.shape[-1]) for counts in (both, either))

    def figure(sums: Sums) -> Float[np.ndarray, " draws"]:
        shared, total = np.split(sums[:, 0], 2, axis=1)
        there = total > 0
        shares = np.divide(shared, total, out=np.zeros(total.shape), where=there).sum(axis=1)
        return np.divide(shares, there.sum(axis=1), out=np.full(len(sums), np.nan), where=there.any(axis=1))

    return OfSums(cell=np.zeros(len(both), np.int64), columns=np.concatenate([both, either], axis=1).astype(np.float64),
                  figure=figure, worth=each_alike, mass=either.astype(np.float64))


def rmse(
    predicted: Float[np.ndarray, "pictures *shape"], truth: Float[np.ndarray, "pictures *shape"]
) -> Float[np.ndarray, " pictures"]:
    """Root of the mean squared error of each picture's depths, in their unit, where the true one is known: above 0 and
    finite. NaN where none is, and for a prediction that has NaN there (Eigen et al., arXiv 1406.2283)."""
    return np.sqrt(_mean_where_known((predicted.astype(np.float64) - truth) ** 2, truth))


def delta_1(
    predicted: Float[np.ndarray, "pictures *shape"], truth: Float[np.ndarray, "pictures *shape"], ratio: float = 1.25
) -> Float[np.ndarray, " pictures"]:
    """Share of each picture's depths that are within a factor of 1.25 of the true one, where that is known. `ratio`
    1.25² and 1.25³ give δ₂ and δ₃. NaN where no depth is known; a prediction that is NaN or not above 0 is wrong."""
    near = (predicted < truth * ratio) & (predicted * ratio > truth)
    return _mean_where_known(near.astype(np.float64), truth)


def _mean_where_known(
    values: Float[np.ndarray, "pictures *shape"], truth: Float[np.ndarray, "pictures *shape"]
) -> Float[np.ndarray, " pictures"]:
    known = (truth > 0) & np.isfinite(truth)
    axes = tuple(range(1, truth.ndim))
    count = known.sum(axis=axes)
    total = np.where(known, values, 0.0).sum(axis=axes)
    return np.divide(total, count, out=np.full(len(truth), np.nan), where=count > 0)
