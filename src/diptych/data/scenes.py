"""Rooms with cut-out drawings standing in them, of which every pixel is known: what it shows and how far away it is.

A camera looks at a floor and a wall. Every drawing is a card on the floor, one metre at its longer side; nearer ones
are larger, stand lower in the picture and hide those behind them. So what dense tasks need costs nothing and is exact.
A scene is a function of its drawings and the generator. It does not stand for photographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from PIL import Image

from diptych.core.types import Picture
from diptych.data.augment import ground
from diptych.data.regions import Box

SIDE = 224
"""Pixels of a scene's side."""
FOCAL = 200.0
"""Pixels that a metre takes at a distance of one metre."""
CAMERA_M = 0.9
"""How high the camera is above the floor."""
NEAREST_M, FARTHEST_M = 1.4, 6.0
WALL_M = 10.0

_LEAST_SEEN = 0.4
_TRIES = 50
_OPAQUE = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """`shown` is the number of the drawing that each pixel shows, −1 for floor and wall; `depth` in metres; `boxes`
    are around what is to be seen of each drawing."""

    picture: Picture
    shown: Int[np.ndarray, "height width"]
    depth: Float32[np.ndarray, "height width"]
    boxes: tuple[Box, ...]


def compose(drawings: Sequence[Picture], rng: np.random.Generator) -> Scene:
    """RGBA cut-outs in a room, each seen to at least 40%. ValueError when so many never are."""
    horizon = float(rng.uniform(0.2, 0.4)) * SIDE
    for _ in range(_TRIES):
        made = _placed(drawings, horizon, rng)
        if made is not None:
            return made
    raise ValueError(f"{len(drawings)} drawings hide each other in a scene of {SIDE} pixels; take fewer, and none that "
                     "is transparent")


def _placed(drawings: Sequence[Picture], horizon: float, rng: np.random.Generator) -> Scene | None:
    edge = round(horizon + FOCAL * CAMERA_M / WALL_M)
    picture = ground(rng, SIDE)
    picture.paste(ground(rng, SIDE).crop((0, edge, SIDE, SIDE)), (0, edge))
    below = np.maximum(np.arange(SIDE) + 0.5 - horizon, 1e-6)
    depth = np.repeat(np.minimum(FOCAL * CAMERA_M / below, WALL_M).astype(np.float32)[:, None], SIDE, axis=1)
    shown, whole = np.full((SIDE, SIDE), -1), np.zeros(len(drawings), int)
    away = np.exp(rng.uniform(np.log(NEAREST_M), np.log(FARTHEST_M), len(drawings))).tolist()
    middle = (rng.permutation(len(drawings)) + rng.uniform(size=len(drawings))) / len(drawings) * SIDE
    for number in sorted(range(len(drawings)), key=lambda number: -away[number]):
        drawing = drawings[number].crop(drawings[number].getchannel("A").getbbox())
        scale = FOCAL / away[number] / max(drawing.size)
        wide, tall = (max(1, round(length * scale)) for length in drawing.size)
        left = min(max(0, round(middle[number] - wide / 2)), SIDE - wide)
        top = round(horizon + FOCAL * CAMERA_M / away[number]) - tall
        card = Image.new("RGBA", (SIDE, SIDE))
        card.paste(drawing.resize((wide, tall), Image.Resampling.BILINEAR), (left, top))
        picture.paste(card, (0, 0), card)
        seen = np.asarray(card.getchannel("A")) >= _OPAQUE
        shown[seen], depth[seen], whole[number] = number, away[number], seen.sum()
    visible = [np.nonzero(shown == number) for number in range(len(drawings))]
    if any(len(rows) < max(1, _LEAST_SEEN * all_) for (rows, _), all_ in zip(visible, whole, strict=True)):
        return None
    boxes = tuple((float(columns.min() / SIDE), float(rows.min() / SIDE), float((columns.max() + 1) / SIDE),
                   float((rows.max() + 1) / SIDE)) for rows, columns in visible)
    return Scene(picture=picture, shown=shown, depth=depth, boxes=boxes)
