"""Whether a model's heat map points at what a phrase names: accuracy at an overlap of one half, as on RefCOCO.

The box is drawn around the part of the map that is hot and holds its hottest point. No box is learned: it is the frozen
towers that are tested. A map comes from a callable (`models.explain` makes them), so that no tower is needed here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diptych.core import telemetry
from diptych.data.regions import Box, Region
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.metrics import boxes
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices

Heat = Callable[[int, str], Float[np.ndarray, "height width"]]
"""A picture's number and a phrase → how well each place of the whole picture fits it, at any resolution."""


_FLAT = 1e-6
"""Cosines of equal vectors differ by less."""


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """A place is hot from `threshold` on, as a share of the way from the map's least to its greatest value. A box is
    right whose overlap (intersection over union) with the true one is at least `overlap`."""

    threshold: float = 0.5
    overlap: float = 0.5

    def __post_init__(self):
        for name, share in (("threshold", self.threshold), ("overlap", self.overlap)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} is above 0 and at most 1, got {share}")


def grounding(
    data: Dataset, regions: Mapping[int, Sequence[Region]], heat: Heat, config: GroundingConfig
) -> Outcome:
    """Samples are the regions: parts of pictures (by number) with their phrases. "acc@iou0.5" and the mean "iou";
    `chance` is what the whole picture as a box reaches. Regions of one picture are drawn together. A flat map points
    nowhere and has no overlap.

    ValueError without regions, and for a picture that the data do not have.
    """
    samples = [(picture, region) for picture in sorted(regions) for region in regions[picture]]
    if not samples:
        raise ValueError("grounding needs regions: phrases with the boxes that they name")
    if unknown := [picture for picture in regions if not 0 <= picture < len(data)]:
        raise ValueError(f"there are regions of picture {unknown[0]}, and {data.name} has 0 to {len(data) - 1}")
    found: list[Box | None] = []
    with telemetry.progress("grounding", len(samples), "phrases") as bar:
        for picture, region in samples:
            found.append(heat_box(heat(picture, region.text), config.threshold))
            bar.advance()
    true = np.array([region.box for _, region in samples])
    nowhere = (0.0, 0.0, 0.0, 0.0)
    drawn = np.array([box or nowhere for box in found])
    whole = np.tile([0.0, 0.0, 1.0, 1.0], (len(samples), 1))
    name, pictures = f"acc@iou{config.overlap:g}", [picture for picture, _ in samples]
    return Outcome(
        task="grounding",
        ids=[f"{data.ids[picture]}|{number}|{region.text}" for number, (picture, region) in enumerate(samples)],
        values={name: boxes.hit_at_iou(drawn, true, config.overlap), "iou": boxes.iou(drawn, true)},
        groups=[data.ids[picture] for picture in pictures], slices=slices(data, pictures),
        details={"phrase": [region.text for _, region in samples], "box": [list(box or ()) for box in found],
                 "true_box": true.tolist()},
        chance={name: float(boxes.hit_at_iou(whole, true, config.overlap).mean()),
                "iou": float(boxes.iou(whole, true).mean())})


def heat_box(heat: Float[np.ndarray, "height width"], threshold: float = 0.5) -> Box | None:
    """The box around the hot part that holds the greatest value; of several such parts, around the largest. None where
    the map is flat or not finite."""
    from scipy import ndimage

    low, high = float(heat.min()), float(heat.max())
    if not high - low > _FLAT:
        return None
    parts = np.zeros(heat.shape, np.int32)
    ndimage.label(heat >= min(low + threshold * (high - low), high), output=parts)
    sizes = np.bincount(parts.ravel())
    part = max(np.unique(parts[heat == high]), key=lambda part: sizes[part])
    rows, columns = np.nonzero(parts == part)
    height, width = heat.shape
    return (float(columns.min() / width), float(rows.min() / height),
            float((columns.max() + 1) / width), float((rows.max() + 1) / height))
