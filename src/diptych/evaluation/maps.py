"""Masks and depths as users have them: what lies beside a picture as its numbers, one a pixel.

A mask is 8-bit, a palette or grey, and numbers classes; a depth is 16-bit grey in millimetres, or a numpy array in
metres.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from diptych.evaluation.dataset import IGNORED, Maps

Map = Shaped[np.ndarray, "height width"]


def maps_of(
    kinds: Sequence[Mapping[str, str]], parts: Callable[[int], Mapping[str, bytes]], ids: Sequence[str],
    things: Sequence[str],
) -> Maps:
    """The maps of pictures of which `kinds` says what lies beside each (`data.pictures.MAPS`), and `parts(i)` gives the
    bytes. A picture without a map gets one of a pixel that says nothing. Reading one that is not as above is a
    ValueError."""
    def mask(number: int) -> Map:
        if "mask.png" not in kinds[number]:
            return np.full((1, 1), IGNORED)
        return _decoded(parts(number)["mask.png"], _mask, f"the mask of {ids[number]}")

    def depth(number: int) -> Map:
        kind = next((kind for kind in _DEPTHS if kind in kinds[number]), None)
        if kind is None:
            return np.zeros((1, 1), np.float32)
        return _decoded(parts(number)[kind], _DEPTHS[kind], f"the depth of {ids[number]}")

    there = {kind for one in kinds for kind in one}
    return Maps(things=tuple(things), mask=mask if "mask.png" in there else None,
                depth=depth if there & set(_DEPTHS) else None)


def _decoded(data: bytes, decode: Callable[[io.BytesIO], Shaped[np.ndarray, "*shape"]], what: str) -> Map:
    try:
        found = decode(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} cannot be read: {error}") from error
    if found.ndim != 2:
        raise ValueError(f"{what} is one number a pixel, height × width; got an array of {found.shape}")
    return found


def _mask(stream: io.BytesIO) -> Shaped[np.ndarray, "*shape"]:
    with Image.open(stream) as picture:
        if picture.mode not in ("P", "L", "1"):
            raise ValueError(f"expected a palette or 8-bit grey values that are numbers of classes, got {picture.mode}")
        return np.asarray(picture)


def _millimetres(stream: io.BytesIO) -> Shaped[np.ndarray, "*shape"]:
    with Image.open(stream) as picture:
        if not picture.mode.startswith("I"):
            raise ValueError(f"expected 16-bit grey values that are millimetres, got {picture.mode}")
        return (np.asarray(picture) / 1000).astype(np.float32)


def _metres(stream: io.BytesIO) -> Shaped[np.ndarray, "*shape"]:
    return np.load(stream, allow_pickle=False).astype(np.float32)


_DEPTHS: Mapping[str, Callable[[io.BytesIO], Shaped[np.ndarray, "*shape"]]] = {
    "depth.png": _millimetres, "depth.npy": _metres}
