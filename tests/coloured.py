"""Small real collections of coloured pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.core.types import Pair
from diptych.index import jobs, store
from fakes import COLOURS, ColourEmbedder

SHAPES = ("square", "wide", "tall", "gradient", "noisy")


def encoded(picture: Image.Image, format_: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_)
    return stream.getvalue()


def drawn(colour: tuple[int, int, int], shape: str) -> Image.Image:
    size = {"wide": (300, 100), "tall": (100, 300)}.get(shape, (160, 160))
    pixels = np.zeros((size[1], size[0], 3)) + colour
    if shape == "gradient":
        pixels *= np.linspace(0.7, 1.0, size[0])[None, :, None]
    if shape == "noisy":
        pixels += np.random.default_rng(0).normal(0, 30, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pictures(folder: Path) -> list[Pair]:
    """40 files: 8 colours × 5 shapes, with captions and metadata of every type."""
    folder.mkdir(parents=True)
    pairs = []
    for colour, rgb in COLOURS.items():
        for shape in SHAPES:
            path = folder / f"{colour}-{shape}.png"
            drawn(rgb, shape).save(path)
            metadata = {"colour": colour, "shape": shape, "bright": sum(rgb) > 300, "size": len(shape),
                        "group": "it's cold" if rgb[2] else "it's warm", "weight": len(colour) / 2}
            pairs.append(Pair(uri=str(path), captions=(f"{colour} {shape}",), metadata=metadata))
    return pairs


def classes(folder: Path, each: int = 5) -> Path:
    """`each` pictures in a folder of each colour, no two alike."""
    for colour, rgb in COLOURS.items():
        for number in range(each):
            path = folder / colour / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).normal(0, 20, (12, 12, 3))
            Image.fromarray((noise + rgb).clip(0, 255).astype(np.uint8)).save(path)
    return folder


def index(pairs: list[Pair], name: str = "colours") -> None:
    """Index them under DIPTYCH_HOME with the ColourEmbedder."""
    embedder = ColourEmbedder()
    report = jobs.index_pairs({"": pairs}, store.open_or_create(name, embedder.spec), embedder, total=len(pairs))
    assert (report.added, report.skipped) == (len(pairs), ())
