"""Pixels as the corruptions see them: floats between 0 and 1, the scale of things among them, and filters."""

import functools
import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from diptych.core.types import Picture

REFERENCE_SIDE = 224
"""The side of ImageNet-C's pictures, which its constants are for."""

Pixels = Float32[np.ndarray, "height width 3"]
Border = Literal["edge", "symmetric", "wrap"]


def from_picture(picture: Picture) -> Pixels:
    """[height, width, 3], 0 is black and 1 is white."""
    return np.asarray(picture, dtype=np.float32) / 255


def to_picture(pixels: Pixels) -> Picture:
    """Clipped and rounded to 8 bits."""
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))


def scale(pixels: Pixels) -> float:
    """How many pixels here are one pixel at 224: the shorter side decides, as it does when ImageNet is resized."""
    return min(pixels.shape[:2]) / REFERENCE_SIDE


def reference_grid(pixels: Pixels) -> tuple[int, int]:
    """Rows and columns of the same picture with a shorter side of 224."""
    height, width = pixels.shape[:2]
    return round(height / scale(pixels)), round(width / scale(pixels))


def fit(layer: Float[np.ndarray, "rows columns"], height: int, width: int) -> Float32[np.ndarray, "height width"]:
    """A layer in another size: bilinear, averaging where it shrinks."""
    if layer.shape == (height, width):
        return layer.astype(np.float32)
    return np.asarray(Image.fromarray(layer.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))


def convolve(
    pixels: Float[np.ndarray, "height width channels"], kernel: Float[np.ndarray, "size size"], border: Border
) -> Float32[np.ndarray, "height width channels"]:
    """Every channel with one kernel of odd size, by Fourier transform: a large kernel costs what a small one does."""
    height, width, _ = pixels.shape
    reach = len(kernel) // 2
    planes = np.pad(pixels.transpose(2, 0, 1).astype(np.float32), ((0, 0), (reach, reach), (reach, reach)), border)
    size = _fast_length(height + 2 * reach), _fast_length(width + 2 * reach)
    blurred = np.fft.irfft2(np.fft.rfft2(planes, size) * np.fft.rfft2(kernel.astype(np.float32), size), size)
    # what the transform wraps around falls on the first 2 · reach rows and columns
    return blurred[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width].transpose(1, 2, 0)


def gaussian(
    pixels: Float[np.ndarray, "height width channels"], sigma: float, border: Border, truncate: float = 4.0
) -> Float32[np.ndarray, "height width channels"]:
    """A Gaussian blur; the kernel ends at `truncate` · sigma."""
    reach = int(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    for _ in range(2):  # along rows, then along columns
        padded = np.pad(planes, ((0, 0), (0, 0), (reach, reach)), border)
        length = _fast_length(padded.shape[-1])
        blurred = np.fft.irfft(np.fft.rfft(padded, length) * np.fft.rfft(kernel, length), length)
        planes = blurred[..., 2 * reach : 2 * reach + planes.shape[-1]].swapaxes(1, 2)
    return planes.transpose(1, 2, 0)


def streak(length: float, sigma: float, degrees: float) -> Float[np.ndarray, "size size"]:
    """The kernel of a straight motion of `length` pixels that fades as a Gaussian of `sigma`: it begins in the middle.
    """
    steps = np.linspace(0, length, math.ceil(max(length, 8)) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    reach = math.ceil(length) + 1
    rows, columns = (reach + steps * f(math.radians(degrees)) for f in (math.sin, math.cos))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    for row, column, share in ((0, 0, (1 - down) * (1 - right)), (0, 1, (1 - down) * right),
                               (1, 0, down * (1 - right)), (1, 1, down * right)):
        np.add.at(kernel, (top + row, left + column), weights * share)
    return kernel / kernel.sum()


def sample(
    pixels: Float[np.ndarray, "height width channels"],
    rows: Float[np.ndarray, "out_height out_width"], columns: Float[np.ndarray, "out_height out_width"],
) -> Float32[np.ndarray, "out_height out_width channels"]:
    """The colours at those places, bilinear; beyond the border the picture is mirrored."""
    height, width, channels = pixels.shape
    (top, below, down), (left, beside, right) = _between(rows, height), _between(columns, width)
    flat = pixels.reshape(-1, channels).astype(np.float32, copy=False)  # taking rows is faster than two indices
    upper = _mix(flat.take(top * width + left, axis=0), flat.take(top * width + beside, axis=0), right)
    lower = _mix(flat.take(below * width + left, axis=0), flat.take(below * width + beside, axis=0), right)
    return _mix(upper, lower, down)


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The first with that share of the second, in the second's memory."""
    second -= first
    second *= share
    second += first
    return second


@functools.cache
def _fast_length(least: int) -> int:
    """The next length without prime factors above 5, which a Fourier transform takes quickly."""
    powers = (2**a * 3**b * 5**c for a in range(16) for b in range(10) for c in range(7))
    return min(length for length in powers if length >= least)


def _between(at: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels next to each place along one axis, and how near the second is."""
    last = count - 1
    folded = last - np.abs(np.mod(at, max(2 * last, 1)) - last)
    first = np.clip(folded.astype(int), 0, last)
    return first, np.minimum(first + 1, last), (folded - first).astype(np.float32)[..., None]
