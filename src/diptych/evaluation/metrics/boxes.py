"""How well boxes lie on boxes. A box is (left, top, right, bottom) in any unit that both share."""

import numpy as np
from jaxtyping import Float


def iou(
    found: Float[np.ndarray, "boxes 4"], true: Float[np.ndarray, "boxes 4"]
) -> Float[np.ndarray, " boxes"]:
    """Intersection over union of each box with its own. 0 where a box has no area or a corner that is NaN."""
    size = np.minimum(found[:, 2:], true[:, 2:]) - np.maximum(found[:, :2], true[:, :2])
    both = np.clip(size, 0, None).prod(axis=1)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (found, true)]
    union = areas[0] + areas[1] - both
    return np.divide(both, union, out=np.zeros(len(both)), where=union > 0)  # NaN is not above 0


def hit_at_iou(
    found: Float[np.ndarray, "boxes 4"], true: Float[np.ndarray, "boxes 4"], least: float = 0.5
) -> Float[np.ndarray, " boxes"]:
    """1 where the intersection over union is at least `least`: Acc@IoU, with 0.5 that of RefCOCO."""
    if not 0 < least <= 1:
        raise ValueError(f"an intersection over union is above 0 and at most 1, got {least}")
    return (iou(found, true) >= least).astype(np.float64)
