"""From a cosine to the probability that a found picture matches, and the line below which nothing does.

Platt scaling (Platt 1999): a logistic curve through hits whose truth is known. The cut-off is chosen between two kinds
of query: those whose answer is in the collection, and the same ones after it has been taken out.
"""

import numpy as np
from jaxtyping import Bool, Float

from diptych.core.types import Calibration


def platt(cosine: Float[np.ndarray, " hits"], match: Bool[np.ndarray, " hits"]) -> tuple[float, float]:
    """(scale, bias) of the maximum-likelihood logistic curve, by Newton's method with Platt's smoothed targets.

    ValueError when all hits match or none does: there is no curve through one class.
    """
    positive, negative = int(match.sum()), int((~match).sum())
    if not positive or not negative:
        raise ValueError(f"calibration needs hits of both kinds, got {positive} matches and {negative} others")
    target = np.where(match, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(cosine.mean()), float(cosine.std()) or 1.0
    design = np.stack([(cosine - centre) / spread, np.ones_like(cosine)], axis=1).astype(np.float64)
    weights = np.zeros(2)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (probability - target)
        hessian = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    scale = float(weights[0] / spread)
    return scale, float(weights[1] - scale * centre)


def best_cutoff(present: Float[np.ndarray, " queries"], absent: Float[np.ndarray, " queries"]) -> float:
    """The best-hit score that tells answered from unanswerable queries best: the largest sum of sensitivity and
    specificity (Youden's J), halfway between the neighbouring scores."""
    thresholds = np.unique(np.concatenate([present, absent]))
    sensitivity = (present[None, :] >= thresholds[:, None]).mean(axis=1)
    specificity = (absent[None, :] < thresholds[:, None]).mean(axis=1)
    best = int(np.argmax(sensitivity + specificity))
    below = thresholds[best - 1] if best else thresholds[best]
    return float((thresholds[best] + below) / 2)


def calibrate(
    queries: Float[np.ndarray, "queries dim"], pictures: Float[np.ndarray, "pictures dim"],
    match: Bool[np.ndarray, "queries pictures"], top: int = 10,
) -> Calibration:
    """Fit on each query's `top` hits, once with all pictures and once without its matches."""
    cosine, top = queries @ pictures.T, min(top, len(pictures))
    without = np.where(match, -np.inf, cosine)
    hits, truths = [], []
    for scores in (cosine, without):
        found = np.argpartition(-scores, top - 1, axis=1)[:, :top]
        hits.append(np.take_along_axis(scores, found, axis=1).ravel())
        truths.append(np.take_along_axis(match, found, axis=1).ravel())
    hit, truth = np.concatenate(hits), np.concatenate(truths)
    shown = np.isfinite(hit)  # where matches were taken out, fewer than `top` pictures may be left
    scale, bias = platt(hit[shown], truth[shown])
    cutoff = best_cutoff(cosine.max(axis=1), without.max(axis=1))
    probability = 1 / (1 + np.exp(-(scale * cutoff + bias)))
    return Calibration(scale=scale, bias=bias, cutoff=float(np.clip(probability, 1e-6, 1 - 1e-6)))
