"""Whether a model's heat map points at what a phrase names: accuracy at an overlap of one half, as on RefCOCO.

The box is drawn around the part of the map that is hot and holds its hottest point. No box is learned: it is the frozen
towers that are tested.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diptych.core import telemetry
from diptych.data.regions import Box, Region
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import boxes
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN

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


def grounding(embedded: Embedded, config: GroundingConfig) -> Outcome:
    """Samples are the regions of the test pictures (of all where none is named so): parts with their phrases.
    "acc@iou0.5" and the mean "iou"; `chance` is what the whole picture as a box reaches. Regions of one picture are
    drawn together. A flat map points nowhere and has no overlap.

    ValueError without regions, and for a model without patch features.
    """
    data, heat = embedded.data, embedded.looks.heat
    regions = {picture: tested for picture, tested in sorted(data.regions.items()) if tested}
    parts = data.columns.get(COLUMN, ())
    if "test" in parts:
        regions = {picture: tested for picture, tested in regions.items() if parts[picture] == "test"}
    if not regions:
        raise ValueError(f"{data.name} has no regions to test: phrases with the boxes that they name")
    if heat is None:
        raise ValueError(f"{embedded.spec.name} has no patch features")
    samples: list[tuple[int, Region]] = []
    found: list[Box | None] = []
    with telemetry.progress(f"{embedded.spec.name}: grounding", len(regions), "pictures") as bar:
        for picture, tested in regions.items():
            maps = heat(embedded.decode(picture), [region.text for region in tested])
            samples += [(picture, region) for region in tested]
            found += [heat_box(one, config.threshold) for one in maps]
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
        groups=[data.ids[picture] for picture in pictures], slices=slices(data, pictures, without={COLUMN}),
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
