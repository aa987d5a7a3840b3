"""Snow, frost, fog, bright light.

Snow, frost and fog are layers of random numbers, drawn for a picture of 224 and brought to the picture's size. For
frost ImageNet-C takes one of five photographs; here it is ferns of ice on a cloudy ground, about as bright, as blue and
as uneven as those photographs.
"""

import math

import numpy as np
from jaxtyping import Float

from diptych.data.corruptions.pixels import Pixels, convolve, fit, gaussian, reference_grid, streak

Rng = np.random.Generator

_TILE = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_ICE = np.array([0.89, 1.02, 1.09], np.float32)


def snow(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Flakes that fall, and a paler picture behind them."""
    mean, spread, flake, threshold, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))[severity - 1]
    rows, columns = reference_grid(pixels)
    flakes = rng.normal(mean, spread, (math.ceil(rows / flake), math.ceil(columns / flake)))
    layer = fit(flakes, rows, columns)
    layer = np.where(layer < threshold, 0, layer.clip(0, 1))
    layer = convolve(layer[..., None], streak(2 * radius, sigma, rng.uniform(-135, -45)), "edge")[..., 0]
    layer = fit(layer, *pixels.shape[:2])[..., None]
    pale = np.maximum(pixels, (pixels @ _LUMA)[..., None] * 1.5 + 0.5)
    return kept * pixels + (1 - kept) * pale + layer + layer[::-1, ::-1]


def frost(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Ice on the lens."""
    kept, added = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    rows, columns = reference_grid(pixels)
    crystals = np.zeros((rows, columns), np.float32)
    for length in (64, 48, 36, 24, 16):
        seeds = np.zeros((rows, columns, 1), np.float32)
        count = math.ceil(0.7 * rows * columns / length**2)
        seeds[rng.integers(rows, size=count), rng.integers(columns, size=count)] = rng.uniform(0.4, 1, (count, 1))
        grown = convolve(seeds, _frond(length, rng.uniform(0, 360)), "wrap")[..., 0]
        crystals = np.maximum(crystals, grown.clip(0, 1))
    crystals = gaussian(crystals[..., None], 0.6, "wrap")[..., 0]
    crystals = (crystals - crystals.mean()) / crystals.std()
    ice = rng.uniform(0.48, 0.8) + 0.09 * crystals + 0.3 * (clouds(rows, columns, 1.8, rng) - 0.5)
    return kept * pixels + added * fit(ice.clip(0, 1), *pixels.shape[:2])[..., None] * _ICE


def fog(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """A bright haze, thicker here and thinner there; the brightest pixel stays as bright as it was."""
    thickness, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    haze = fit(clouds(*reference_grid(pixels), decay, rng), *pixels.shape[:2])[..., None]
    brightest = pixels.max()
    return (pixels + thickness * haze) * brightest / (brightest + thickness)


def brightness(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """More of the value of hue, saturation and value."""
    value = pixels.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 1)
    # with hue and saturation kept, the three channels grow by one factor; black has no hue and becomes grey
    return np.where(value > 0, pixels * (brighter / np.where(value > 0, value, 1)), brighter)


def clouds(rows: int, columns: int, decay: float, rng: Rng) -> Float[np.ndarray, "rows columns"]:
    """A plasma fractal by the diamond-square algorithm, from 0 to 1: the larger `decay`, the smoother.

    Each place is the mean of its four neighbours and a random part, which shrinks by decay² from step to step (the
    published code multiplies by its wibble twice). The map is a torus of squares of 256, cut to size.
    """
    field = np.empty((math.ceil(rows / _TILE) * _TILE, math.ceil(columns / _TILE) * _TILE))
    step, wibble = _TILE, 1.0
    field[::step, ::step] = rng.uniform(-wibble, wibble, field[::step, ::step].shape)
    while step > 1:
        half = step // 2
        corners = field[::step, ::step]
        four = corners + np.roll(corners, -1, 0)
        four = four + np.roll(four, -1, 1)
        middles = field[half::step, half::step] = four / 4 + rng.uniform(-wibble, wibble, four.shape)
        four = corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 0)
        field[::step, half::step] = four / 4 + rng.uniform(-wibble, wibble, four.shape)
        four = corners + np.roll(corners, -1, 0) + middles + np.roll(middles, 1, 1)
        field[half::step, ::step] = four / 4 + rng.uniform(-wibble, wibble, four.shape)
        step, wibble = half, wibble / decay**2
    field -= field.min()
    return (field / field.max())[:rows, :columns]


def _frond(length: int, degrees: float) -> Float[np.ndarray, "size size"]:
    """A crystal of ice as a kernel: a stem from the middle, and barbs at 60° on both sides, shorter towards its end."""
    roots, along = np.arange(4, length, 4)[:, None], np.arange(0, length / 2, 0.5)
    barbs = (roots + along * np.exp(1j * np.pi / 3))[along < (length - roots) / 2]
    places = np.r_[np.arange(0, length, 0.5), barbs, barbs.conj()] * np.exp(1j * math.radians(degrees))
    kernel = np.zeros((2 * length + 1, 2 * length + 1))
    kernel[tuple(np.rint(length + part).astype(int) for part in (places.imag, places.real))] = 1
    return kernel
