"""Out of focus, through frosted glass, moved, zoomed while the shutter was open."""

import math

import numpy as np
from jaxtyping import Int
from PIL import Image

from diptych.data.corruptions.pixels import (
    Pixels,
    convolve,
    from_picture,
    gaussian,
    sample,
    scale,
    streak,
    to_picture,
)

Rng = np.random.Generator


def defocus_blur(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """A point becomes a disc."""
    radius = (3, 4, 6, 8, 10)[severity - 1] * scale(pixels)
    reach = math.ceil(radius)
    along = np.arange(-reach, reach + 1)
    # pixels on the rim count by how much of them is inside; the published kernel blurs a jagged disc instead
    disc = np.clip(radius + 0.5 - np.hypot(along, along[:, None]), 0, 1)
    return convolve(pixels, disc / disc.sum(), "symmetric")


def glass_blur(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Every pixel takes the colour of one nearby, between two Gaussian blurs.

    As published, severity 3 takes more turns than 2 and 4, and changes pixels a little more than 4.
    """
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    size = scale(pixels)
    height, width = pixels.shape[:2]
    # a facet of the glass is a pixel of 224; below that it is a pixel and moves by less than one
    rows, columns = (np.arange(length) / max(1.0, size) for length in (height, width))
    rows, columns = rows.astype(int), columns.astype(int)
    facets = int(rows[-1]) + 1, int(columns[-1]) + 1
    source = np.arange(facets[0] * facets[1])
    for _ in range(rounds):
        source = source[shuffle(rng.integers(-reach, reach, (2, *facets)), reach)]
    down, right = np.divmod(source.reshape(facets), facets[1])
    down, right = down - np.arange(facets[0])[:, None], right - np.arange(facets[1])
    blurred = gaussian(pixels, sigma * size, "edge")
    moved = sample(blurred, np.arange(height)[:, None] + size * down[rows][:, columns],
                   np.arange(width) + size * right[rows][:, columns])
    return gaussian(moved, sigma * size, "edge")


def motion_blur(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """A straight motion, at most 45° from level, that fades."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    size = scale(pixels)
    return convolve(pixels, streak(2 * radius * size, sigma * size, rng.uniform(-45, 45)), "edge")


def zoom_blur(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """The mean of the picture and of its middle, enlarged step by step."""
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    picture = to_picture(pixels)
    width, height = picture.size
    zooms = np.arange(1, end, step)
    total = pixels.copy()
    for zoom in zooms:
        left, top = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
        box = (left, top, width - left, height - top)
        total += from_picture(picture.resize(picture.size, Image.Resampling.BILINEAR, box))
    return total / (len(zooms) + 1)


def shuffle(offsets: Int[np.ndarray, "2 rows columns"], reach: int) -> Int[np.ndarray, " places"]:
    """Which place each place's colour comes from when, from the last place to the first, each copies the one that its
    offset points to (down, right), among them places that have copied already. The rim keeps its own.

    The published loop means to swap, but swaps two views of one array, which copies; this is what made ImageNet-C. A
    chain of copies ends where it points to a place that comes before and so is still as it was: it is followed for all
    places at once.
    """
    _, rows, columns = offsets.shape
    place = np.arange(rows * columns)
    points = place.reshape(rows, columns).copy()
    inner = np.s_[reach + 1 : rows - reach + 1, reach + 1 : columns - reach + 1]
    points[inner] += (offsets[0] * columns + offsets[1])[inner]
    points = points.ravel()
    source = points.copy()
    copied = np.flatnonzero(points > place)
    while copied.size:
        here = source[copied]
        source[copied] = points[here]
        copied = copied[points[here] > here]
    return source
