"""Masks and depths as users have them: what lies beside a picture as its numbers, one a pixel.

A mask is 8-bit, a palette or grey, and numbers classes; a depth is 16-bit grey in millimetres, or a numpy array in
metres.
"""

import io
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from diptych.core.errors import PictureError
from diptych.evaluation.dataset import IGNORED, Maps

Map = Shaped[np.ndarray, "height width"]


def maps_of(
    kinds: Sequence[Collection[str]], read: Callable[[int, str], bytes | None], ids: Sequence[str],
    things: Sequence[str],
) -> Maps:
    """The maps of pictures of which `kinds` says what lies beside each (`data.pictures.MAPS`), and `read(i, kind)`
    gives the bytes. A picture without a map gets one of a pixel that says nothing. Reading one that is not as above is
    a ValueError that names the picture."""
    def mask(number: int) -> Map:
        return decoded(number, "mask.png") if "mask.png" in kinds[number] else np.full((1, 1), IGNORED)

    def depth(number: int) -> Map:
        kind = next((kind for kind in _DEPTHS if kind in kinds[number]), None)
        return np.zeros((1, 1), np.float32) if kind is None else decoded(number, kind)

    def decoded(number: int, kind: str) -> Map:
        try:
            return decode_map(read(number, kind) or b"", kind)
        except (PictureError, ValueError) as error:
            raise ValueError(f"{kind} of {ids[number]} cannot be read: {error}") from error

    there = {kind for one in kinds for kind in one}
    return Maps(things=tuple(things), mask=mask if "mask.png" in there else None,
                depth=depth if there & set(_DEPTHS) else None)


def decode_map(data: bytes, kind: str) -> Map:
    """The map in the bytes of one of `data.pictures.MAPS`. ValueError says what was expected."""
    try:
        found = _KINDS[kind](io.BytesIO(data))
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
    if found.ndim != 2:
        raise ValueError(f"expected one number a pixel, height × width; got an array of {found.shape}")
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
    found = np.lib.format.read_array(stream, allow_pickle=False)  # np.load takes an archive as well
    if found.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers that are metres, got {found.dtype}")
    return found.astype(np.float32)


_DEPTHS: Mapping[str, Callable[[io.BytesIO], Shaped[np.ndarray, "*shape"]]] = {
    "depth.png": _millimetres, "depth.npy": _metres}
_KINDS = {"mask.png": _mask, **_DEPTHS}
