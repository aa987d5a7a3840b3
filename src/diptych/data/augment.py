"""Hard augmentation of cut-out pictures: what a drawing of the same thing could look like elsewhere.

A bundled picture is a drawing on transparency. `augment` puts it somewhere on a random ground, turns and crops it,
changes its colours, or keeps its lines only, so that a tower learns the thing and not one vendor's palette. Pure: the
same generator state gives the same picture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Probabilities of each change, and how far it goes. Angles in degrees, shares of 1."""

    background: float = 0.6
    smallest: float = 0.55
    rotate_degrees: float = 15.0
    crop: float = 0.25
    flip: float = 0.5
    jitter: float = 0.7
    hue: float = 0.15
    grey: float = 0.08
    lines: float = 0.07
    outline: float = 0.12
    invert: float = 0.02
    blur: float = 0.12


def augment(cutout: Image.Image, rng: Rng, size: int, options: Augmentation, flip: bool) -> UInt8[np.ndarray, "s s 3"]:
    """An RGBA cut-out to RGB pixels [size, size, 3]. `flip` says whether mirroring keeps the meaning (no text, no
    left and right)."""
    if flip and rng.random() < options.flip:
        cutout = ImageOps.mirror(cutout)
    cutout = _place(_recolour(cutout, rng, options), rng, size, options)
    made = ground(rng, size) if rng.random() < options.background else Image.new("RGB", (size, size), "white")
    made.paste(cutout, (0, 0), cutout)
    if rng.random() < options.blur:
        made = made.filter(ImageFilter.GaussianBlur(float(rng.uniform(size / 400, size / 110))))
    if rng.random() < options.invert:
        made = ImageOps.invert(made)
    return np.asarray(made)


def _place(cutout: Image.Image, rng: Rng, size: int, options: Augmentation) -> Image.Image:
    angle = rng.uniform(-options.rotate_degrees, options.rotate_degrees) if rng.random() < 0.6 else 0.0
    scale = rng.uniform(1.0, 1.35) if rng.random() < options.crop else rng.uniform(options.smallest, 1.0)
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    width, height = max(8, round(size * scale * stretch)), max(8, round(size * scale / stretch))
    resized = cutout.resize((width, height), Image.Resampling.BICUBIC)
    if angle:
        resized = resized.rotate(angle, Image.Resampling.BILINEAR)
    left, top = (round(rng.uniform(min(0, size - s), max(0, size - s))) for s in (width, height))
    canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    canvas.paste(resized, (left, top))
    return canvas


def _recolour(cutout: Image.Image, rng: Rng, options: Augmentation) -> Image.Image:
    alpha, colours = cutout.getchannel("A"), cutout.convert("RGB")
    kind = rng.random()
    if kind < options.lines:
        return _lines(cutout, rng)
    if kind < options.lines + options.grey:
        colours = colours.convert("L").convert("RGB")
    elif rng.random() < options.jitter:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            colours = enhance(colours).enhance(float(np.exp(rng.uniform(-0.35, 0.35))))
        if rng.random() < options.hue:
            hue, saturation, value = colours.convert("HSV").split()
            shift = int(rng.integers(-12, 13))  # of 256: a red stays a warm colour, so colour words stay true
            hue = hue.point([(level + shift) % 256 for level in range(256)])
            colours = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    if rng.random() < options.outline:
        colours.paste(_ink(rng), (0, 0), _contours(cutout))
    return Image.merge("RGBA", (*colours.split(), alpha))


def _lines(cutout: Image.Image, rng: Rng) -> Image.Image:
    """Contours only: dark lines, on white inside the outline or on nothing."""
    strength, ink = _contours(cutout), _ink(rng)
    if rng.random() < 0.5:
        drawn = Image.new("RGBA", cutout.size, (*ink, 255))
        drawn.putalpha(strength)
        return drawn
    paper = Image.new("RGB", cutout.size, "white")
    paper.paste(ink, (0, 0), strength)
    return Image.merge("RGBA", (*paper.split(), cutout.getchannel("A")))


def _contours(cutout: Image.Image) -> Image.Image:
    """How strong an edge is at each pixel, 0–255, lines two or three pixels wide."""
    flat = Image.new("RGB", cutout.size, "white")
    flat.paste(cutout, (0, 0), cutout)
    edges = flat.convert("L").filter(ImageFilter.FIND_EDGES).filter(ImageFilter.MaxFilter(3))
    return edges.point([min(255, level * 4) for level in range(256)])


def _ink(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in rng.integers(0, 90, 3))
    return red, green, blue


def ground(rng: Rng, size: int) -> Image.Image:
    """A plain colour, a gradient, soft blobs or noise."""
    kind = rng.random()
    if kind < 0.4:
        return Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(0, 256, 3)))
    if kind < 0.9:  # a few colours, smoothly enlarged: gradients and out-of-focus scenes
        cells = int(rng.integers(2, 7))
        colours = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
        return Image.fromarray(colours).resize((size, size), Image.Resampling.BICUBIC)
    base = rng.integers(0, 256, 3)
    noise = rng.normal(0, rng.uniform(8, 40), (size, size, 3)) + base
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))
