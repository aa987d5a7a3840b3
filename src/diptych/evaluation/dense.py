"""What single patches know: a linear probe on frozen patch features that tells a picture's thing from its ground.

The protocol of DINOv2 and TIPS (arXiv 2304.07193 §7.4, 2410.16512 §4): features standardised per channel, one linear
layer, its logits enlarged bilinearly to the picture, mean intersection over union. The masks are the alpha channels of
cut-out drawings, so that they cost nothing and are exact. Two classes; parts and depth are not here. Arrays in, numbers
out: whoever has a tower gives its features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diptych.evaluation.metrics import dense as metrics

STEPS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """Standardisation and a line: `weight` belongs to features less `mean`, divided by `spread`."""

    mean: Float[np.ndarray, " dim"]
    spread: Float[np.ndarray, " dim"]
    weight: Float[np.ndarray, " dim"]
    bias: float

    def logits(self, features: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch"]:
        """Above 0: more foreground than not."""
        return ((features - self.mean) / self.spread) @ self.weight + self.bias


def fit_probe(features: Float[np.ndarray, "n dim"], share: Float[np.ndarray, " n"], decay: float = 1e-3) -> Probe:
    """The logistic regression of `share`, how much of a patch is foreground, in [0, 1], by Newton's method.

    `decay` · |weight|² / 2 is added to the mean loss. ValueError when the patches are all of one kind.
    """
    if not 0 <= share.min() <= share.max() <= 1:
        raise ValueError(f"a share is between 0 and 1, got {share.min():g} to {share.max():g}")
    if decay <= 0:
        raise ValueError(f"decay must be positive, or a line through separable patches has no end; got {decay}")
    if share.max() < 0.5 or share.min() >= 0.5:
        raise ValueError("the patches are all foreground or all background: there is nothing to tell apart")
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    spread[spread < 1e-8] = 1.0  # a channel that never changes
    design = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], axis=1)
    penalty = np.r_[np.full(features.shape[1], decay), 0.0]
    weights = np.zeros(design.shape[1])
    objective = _objective(design, share, weights, penalty)
    for _ in range(STEPS):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - share) / len(share) + penalty * weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design / len(share) + np.diag(penalty)
        # the bias has no penalty: where every patch is certain its curvature vanishes
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(weights)), gradient)
        length = 1.0
        while (new := _objective(design, share, weights - length * step, penalty)) > objective and length > 1e-6:
            length /= 2
        weights, before, objective = weights - length * step, objective, min(new, objective)
        if before - objective < 1e-12:
            break
    return Probe(mean=mean, spread=spread, weight=weights[:-1], bias=float(weights[-1]))


def patch_shares(
    mask: Bool[np.ndarray, "pictures height width"], rows: int, columns: int
) -> Float[np.ndarray, "pictures rows columns"]:
    """How much of each patch of a rows × columns grid is foreground. ValueError when the grid does not divide the mask.
    """
    pictures, height, width = mask.shape
    if height % rows or width % columns:
        raise ValueError(f"a grid of {rows} × {columns} does not divide masks of {height} × {width}; resize them first")
    cells = mask.reshape(pictures, rows, height // rows, columns, width // columns)
    return cells.mean(axis=(2, 4), dtype=np.float64)


def enlarge(
    values: Float[np.ndarray, "pictures rows columns"], height: int, width: int
) -> Float[np.ndarray, "pictures height width"]:
    """Bilinear, with the centres of patches where they are in the picture (align_corners=False)."""
    down, across = between(values.shape[1], height), between(values.shape[2], width)
    return np.einsum("hr,prc,wc->phw", down, values, across, optimize=True)


def mean_iou(predicted: Bool[np.ndarray, "*shape"], truth: Bool[np.ndarray, "*shape"]) -> float:
    """Intersection over union of foreground and of background over all pixels together, and their mean."""
    return metrics.mean_iou(*metrics.overlaps(predicted, truth, 2))()


def foreground_miou(
    train: Float[np.ndarray, "train rows columns dim"], train_mask: Bool[np.ndarray, "train height width"],
    test: Float[np.ndarray, "test rows columns dim"], test_mask: Bool[np.ndarray, "test height width"],
    decay: float = 1e-3,
) -> float:
    """mIoU on the test pictures' pixels of a probe of the training pictures' patches. Pictures that are all foreground
    have nothing to tell: leave them out (`pictograms.MAX_FOREGROUND`)."""
    rows, columns = train.shape[1:3]
    probe = fit_probe(train.reshape(-1, train.shape[-1]), patch_shares(train_mask, rows, columns).ravel(), decay)
    height, width = test_mask.shape[1:]
    return mean_iou(enlarge(probe.logits(test), height, width) > 0, test_mask)


def _objective(design: np.ndarray, share: np.ndarray, weights: np.ndarray, penalty: np.ndarray) -> float:
    logits = design @ weights
    return float((np.logaddexp(0, logits) - share * logits).mean() + 0.5 * (penalty * weights**2).sum())


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))  # exp overflows where this does not


def between(cells: int, length: int) -> Float[np.ndarray, "length cells"]:
    """What `enlarge` does along one side: weights of the two nearest cells for each pixel; at the border the outermost
    cell alone."""
    at = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    below = np.minimum(at.astype(int), cells - 1)
    above, part = np.minimum(below + 1, cells - 1), at - below
    out = np.zeros((length, cells))
    out[np.arange(length), below] = 1 - part
    out[np.arange(length), above] += part
    return out
