"""Large pictures in parts ("pan and scan"): the whole, and square tiles of it at one or more scales.

A model sees a few hundred pixels a side; what is small in a large picture is gone by then. At scale s the shorter side
is covered by s tiles and the longer one by as many of the same size as it takes, all of them overlapping. Tiles smaller
than the model's own picture are not made: they would only be enlarged.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from diptych.core.types import Picture

OVERLAP = 0.2
"""Share of a tile's side that it has in common with its neighbour, at least."""


class Box(NamedTuple):
    """A part of a picture in its own pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def tile_boxes(width: int, height: int, scales: Sequence[int], min_side: int) -> list[Box]:
    """The whole picture, then the tiles of each scale from 2 on, row by row.

    A scale of 1 is the whole, which is always there. ValueError for a scale below 1.
    """
    if any(scale < 1 for scale in scales):
        raise ValueError(f"scales are whole numbers of at least 1, got {list(scales)}")
    boxes = [Box(0, 0, width, height)]
    for scale in sorted(set(scales) - {1}):
        # scale tiles and their overlaps cover the shorter side: side · (scale − (scale − 1) · overlap)
        side = math.ceil(min(width, height) / (scale - (scale - 1) * OVERLAP))
        if side >= min_side:
            boxes += [Box(x, y, x + side, y + side) for y in _starts(height, side) for x in _starts(width, side)]
    return boxes


def crop(picture: Picture, box: Box) -> Picture:
    """That part of a picture."""
    return picture.crop((box.left, box.top, box.right, box.bottom))


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin along a side: evenly spaced, the first at its beginning and the last at its end."""
    count = max(1, math.ceil((length - side * OVERLAP) / (side * (1 - OVERLAP)) - 1e-9))
    return [round(i * (length - side) / (count - 1)) for i in range(count)] if count > 1 else [0]
