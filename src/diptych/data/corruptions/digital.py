"""Less contrast, a rubber sheet, large pixels, JPEG."""

import io

import numpy as np
from PIL import Image

from diptych.data.corruptions.pixels import (
    Pixels,
    fit,
    from_picture,
    gaussian,
    reference_grid,
    sample,
    scale,
    to_picture,
)

Rng = np.random.Generator


def contrast(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """Every channel nearer to its mean."""
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = pixels.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return (pixels - mean) * kept + mean


def elastic_transform(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """A random affine map, and every place moved a little, neighbours alike.

    As published, severities 1 and 2 are mostly the affine map and 3 to 5 mostly ripples: 2 moves a pixel the furthest.
    """
    # times 244, as published, where 224 was meant
    strength, sigma, corner = np.array(
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))[severity - 1]) * 244
    height, width = pixels.shape[:2]
    size = scale(pixels)
    middle, third = np.array([height, width]) // 2, min(height, width) // 3
    corners = middle + np.array([[third, third], [-third, third], [-third, -third]])
    moved = corners + rng.uniform(-corner, corner, (3, 2)) * size
    back = np.linalg.solve(np.c_[moved, np.ones(3)], corners)  # place in the result, 1 → place in the picture
    ripples = rng.uniform(-1, 1, (*reference_grid(pixels), 2))
    ripples = gaussian(ripples, sigma, "symmetric", truncate=3) * strength * size
    rows, columns = (at + fit(ripples[..., axis], height, width) for axis, at in
                     enumerate((np.arange(height)[:, None], np.arange(width))))
    return sample(pixels, *(rows * back[0, axis] + columns * back[1, axis] + back[2, axis] for axis in (0, 1)))


def pixelate(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """Made smaller and larger again, in squares."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    picture = to_picture(pixels)
    small = picture.resize((int(picture.width * share) or 1, int(picture.height * share) or 1), Image.Resampling.BOX)
    return from_picture(small.resize(picture.size, Image.Resampling.BOX))


def jpeg_compression(pixels: Pixels, severity: int, _rng: Rng) -> Pixels:
    """Stored as a JPEG of low quality. Its blocks are 8 pixels wide in pictures of every size."""
    file = io.BytesIO()
    to_picture(pixels).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    with Image.open(file) as picture:
        return from_picture(picture)
