"""Drawings as small WebP cut-outs: SVG rendered by resvg, rasters scaled down, both encoded the same way every time.

Each picture is stored as the smaller of lossless and quality-85 WebP: flat drawings are smaller without loss, shaded
ones with it. Processes share the work; the result does not depend on how many there are.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from PIL import Image

from diptych.core.errors import CorpusError
from diptych.core.files import sha256_bytes

QUALITY = 85
ALPHA_QUALITY = 70
METHOD = 4
_CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """`picture` is WebP with alpha. `pixel_hash` names its decoded pixels, so that equal drawings can be grouped.
    `foreground` is the share of pixels more opaque than not; `lightness` their mean luma in [0, 255]."""

    picture: bytes
    pixel_hash: str
    foreground: float
    lightness: float


def svg_of(icon: Mapping[str, Any], defaults: Mapping[str, Any], colour: str = "#000") -> str:
    """A whole SVG document from one entry of an iconify set; `defaults` holds the set's width and height."""
    left, top = icon.get("left", defaults.get("left", 0)), icon.get("top", defaults.get("top", 0))
    width, height = (icon.get(side, defaults.get(side, 16)) for side in ("width", "height"))
    return ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}" color="{colour}">'
            f'{icon["body"]}</svg>')


def draw(source: bytes, size: int) -> Drawing:
    """An SVG document or a raster picture as a `size` × `size` WebP, centred, aspect kept."""
    picture = _render(source, size) if b"<svg" in source[:1024] else _shrink(source, size)
    return measure(_encode(picture))


def draw_all(sources: Sequence[bytes], size: int, workers: int, done: Callable[[int], None]) -> list[Drawing]:
    """`draw` each source, in order, in `workers` processes; `done(n)` is told of every n finished ones."""
    drawings: list[Drawing] = []
    for chunk in _chunks(sources, size, workers):
        drawings += chunk
        done(len(chunk))
    return drawings


def measure(encoded: bytes) -> Drawing:
    """What can be said of an encoded picture by decoding it."""
    with Image.open(io.BytesIO(encoded)) as picture:
        pixels = np.array(picture.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0  # the colour under full transparency cannot be seen
    alpha = pixels[..., 3].astype(np.float64) / 255
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    return Drawing(
        picture=encoded, pixel_hash=sha256_bytes(pixels.tobytes())[:32], foreground=float((alpha > 0.5).mean()),
        lightness=float((luma * alpha).sum() / max(alpha.sum(), 1e-9)))


def _chunks(sources: Sequence[bytes], size: int, workers: int) -> Iterator[list[Drawing]]:
    chunks = [sources[i : i + _CHUNK] for i in range(0, len(sources), _CHUNK)]
    if workers == 1:
        yield from map(partial(_draw_chunk, size), chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_draw_chunk, size), chunks)


def _draw_chunk(size: int, sources: Sequence[bytes]) -> list[Drawing]:
    return [draw(source, size) for source in sources]


def _render(svg: bytes, size: int) -> Image.Image:
    try:
        import resvg_py
    except ImportError as error:
        raise CorpusError("resvg-py renders the drawings: pip install 'diptych[corpus]'") from error
    # resvg fits the longer side into width × height and keeps the aspect
    png = resvg_py.svg_to_bytes(svg_string=svg.decode(), width=size, height=size, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as picture:
        return _centre(picture.convert("RGBA"), size)


def _shrink(encoded: bytes, size: int) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as picture:
        rgba = picture.convert("RGBA")
    scale = size / max(rgba.size)
    shape = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    return _centre(rgba.resize(shape, Image.Resampling.LANCZOS), size)  # Pillow premultiplies the alpha here


def _centre(picture: Image.Image, size: int) -> Image.Image:
    if picture.size == (size, size):
        return picture
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return canvas


def _encode(picture: Image.Image) -> bytes:
    options: tuple[dict[str, Any], ...] = (
        {"lossless": True, "quality": 80}, {"quality": QUALITY, "alpha_quality": ALPHA_QUALITY})
    encodings: list[bytes] = []
    for option in options:
        stream = io.BytesIO()
        picture.save(stream, "WEBP", method=METHOD, exact=False, **option)
        encodings.append(stream.getvalue())
    return min(encodings, key=len)
