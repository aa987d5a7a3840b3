"""Pictures at their own aspect ratio, as sequences of patches: SigLIP 2's NaFlex preprocessing.

arXiv 2502.14786 §2.4.2: the picture is scaled to the largest grid of whole patches that keeps its aspect ratio, up to
less than one patch a side, and fits the budget. A batch is packed: one picture's patches after the other's, without
padding; a tower that wants padding is not served here. Values agree with transformers' `Siglip2ImageProcessorPil` to
the last bit.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from diptych.core.types import Picture

_MIN_SCALE, _MAX_SCALE, _SCALE_STEP = 1e-6, 100.0, 1e-5
"""Bounds and end of the search for the scale, as in the reference. A 1 × 1 picture thus becomes no more than
7 × 7 patches of 16 pixels."""


@dataclass(frozen=True, kw_only=True)
class NaflexPreprocessing:
    """How a picture becomes patches: at most `max_patches` of `patch_size` × `patch_size` pixels.

    `max_side_patches` also bounds each side of the grid: big_vision's own tower has no positions beyond 64, which only
    a picture of more than 16 : 1 reaches in 256 patches; transformers has no such bound. `mean` and `std` are of RGB in
    [0, 1].
    """

    patch_size: int = 16
    max_patches: int = 256
    max_side_patches: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self):
        if self.patch_size < 1 or self.max_patches < 1:
            raise ValueError(f"patch_size and max_patches are at least 1, got {self.patch_size} and {self.max_patches}")
        if self.max_side_patches is not None and self.max_side_patches < 1:
            raise ValueError(f"max_side_patches is at least 1, or None for no bound, got {self.max_side_patches}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 in every channel, got {self.std}")


class NaflexBatch(NamedTuple):
    """Packed pictures: `patches` [total, p · p · 3] in the order (row, column, channel) inside a patch, the patches of
    a picture row by row, the pictures one after the other; `grids` [n, 2] are the (rows, columns) of each."""

    patches: Float32[np.ndarray, "total pixels"]
    grids: Int64[np.ndarray, "n 2"]


def grid_for(width: int, height: int, preprocessing: NaflexPreprocessing) -> tuple[int, int]:
    """(rows, columns) of patches for a picture of that size in pixels. ValueError if a side is less than 1."""
    if width < 1 or height < 1:
        raise ValueError(f"a picture has at least 1 pixel a side, got {width} × {height}")
    low, high = _MIN_SCALE, _MAX_SCALE
    while high - low >= _SCALE_STEP:
        middle = (low + high) / 2
        if _fits(_grid(width, height, middle, preprocessing.patch_size), preprocessing):
            low = middle
        else:
            high = middle
    return _grid(width, height, low, preprocessing.patch_size)


def patchify(picture: Picture, preprocessing: NaflexPreprocessing) -> Float32[np.ndarray, "patches pixels"]:
    """One upright RGB picture as patches [rows · columns, p · p · 3]: (RGB / 255 − mean) / std."""
    return _patches(picture, grid_for(*picture.size, preprocessing), preprocessing)


def pack(pictures: Sequence[Picture], preprocessing: NaflexPreprocessing) -> NaflexBatch:
    """Pictures as one packed batch; each as if it were alone."""
    grids = [grid_for(*picture.size, preprocessing) for picture in pictures]
    ends = np.cumsum([0, *(rows * columns for rows, columns in grids)])
    patches = np.empty((ends[-1], 3 * preprocessing.patch_size**2), np.float32)
    for picture, grid, start, end in zip(pictures, grids, ends[:-1], ends[1:], strict=True):
        patches[start:end] = _patches(picture, grid, preprocessing)
    return NaflexBatch(patches, np.array(grids, np.int64).reshape(-1, 2))


def _grid(width: int, height: int, scale: float, patch_size: int) -> tuple[int, int]:
    return max(1, math.ceil(height * scale / patch_size)), max(1, math.ceil(width * scale / patch_size))


def _fits(grid: tuple[int, int], preprocessing: NaflexPreprocessing) -> bool:
    side = preprocessing.max_side_patches
    return math.prod(grid) <= preprocessing.max_patches and (side is None or max(grid) <= side)


def _patches(picture: Picture, grid: tuple[int, int],
             preprocessing: NaflexPreprocessing) -> Float32[np.ndarray, "patches pixels"]:
    (rows, columns), p = grid, preprocessing.patch_size
    filter_ = Image.Resampling[preprocessing.interpolation.upper()]
    pixels = np.asarray(picture.resize((columns * p, rows * p), filter_))
    # cut while it is bytes, a quarter of the traffic; there are only 256 values to normalise
    cut = pixels.reshape(rows, p, columns, p, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 3)
    values = np.empty(cut.shape, np.float32)
    for channel, table in enumerate(_tables(preprocessing.mean, preprocessing.std)):
        values[:, channel] = table[cut[:, channel]]
    return values.reshape(rows * columns, p * p * 3)


@functools.lru_cache
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> Float32[np.ndarray, "3 256"]:
    """The normalised value of each byte in each channel, rounded where the reference rounds."""
    unit = (np.arange(256) * (1 / 255)).astype(np.float32)
    offset, scale = (np.array(x, np.float32)[:, None] for x in (mean, std))
    return (unit - offset) / scale
