"""Noise of few photons, of a hot sensor, of broken pixels.

A grain is one pixel of a picture of 224, and as large in proportion in a larger one, so that making the picture smaller
does not average it away. In a smaller picture it is one pixel.
"""

import numpy as np
from jaxtyping import Int

from diptych.data.corruptions.pixels import Pixels, scale

Rng = np.random.Generator


def gaussian_noise(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Of a sensor in low light: the same everywhere."""
    sigma = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    rows, columns = _grains(pixels)
    noise = rng.standard_normal((rows[-1] + 1, columns[-1] + 1, 3), dtype=np.float32) * sigma
    return pixels + noise[rows][:, columns]


def shot_noise(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Of counting photons, so many where a picture is white."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    rows, columns = _grains(pixels)
    mean = _block_mean(_block_mean(pixels, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    noise = (rng.poisson(mean * photons) / photons - mean).astype(np.float32)
    return pixels + noise[rows][:, columns]


def impulse_noise(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Salt and pepper, in each channel on its own."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    rows, columns = _grains(pixels)
    chance = rng.random((rows[-1] + 1, columns[-1] + 1, 3), dtype=np.float32)[rows][:, columns]
    return np.where(chance < share, np.float32(chance < share / 2), pixels)


def _grains(pixels: Pixels) -> tuple[Int[np.ndarray, " height"], Int[np.ndarray, " width"]]:
    """The grain of each row and each column."""
    size = max(1.0, scale(pixels))
    height, width = pixels.shape[:2]
    return (np.arange(height) / size).astype(int), (np.arange(width) / size).astype(int)


def _block_mean(pixels: np.ndarray, blocks: Int[np.ndarray, " rows"]) -> np.ndarray:
    """The mean of the rows of each block."""
    count = np.bincount(blocks)
    return np.add.reduceat(pixels, np.cumsum(count) - count, axis=0) / count[:, None, None].astype(np.float32)
