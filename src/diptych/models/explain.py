"""Where in a picture a text is: patch features, heat maps, and large pictures in tiles, for any Embedder of ours.

All of it is float32 and uncompiled whatever the embedder's runtime is: these are looks at a few pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diptych.core.types import Picture
from diptych.inputs.image import PictureLike, Preprocessing, as_picture, region
from diptych.inputs.naflex import NaflexBatch
from diptych.inputs.tiles import Box, crop, tile_boxes
from diptych.models import dense
from diptych.models.config import EvaConfig, VitConfig
from diptych.models.embedder import TorchEmbedder, prepare
from diptych.models.naflex import PackedPatches
from diptych.models.two_tower import ImageTower

Look: TypeAlias = Callable[[ImageTower, Tensor | PackedPatches], Tensor]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How a text fits each part of a picture.

    `cosines` [rows, columns] are of the patches' embeddings with the text's; `cosine` and `probability` of the whole
    picture's. `box` is the part of the picture, in its pixels, that the patches cover: a model that crops the middle
    has not seen the rest, one that pads has seen more.
    """

    text: str
    cosines: Float[np.ndarray, "rows columns"]
    cosine: float
    probability: float
    box: Box

    def heat(self, width: int, height: int) -> Float[np.ndarray, "height width"]:
        """The cosines in the picture's pixels, in [0, 1] from the least to the greatest; 0 where nothing was seen."""
        return _heat(self.cosines, self.box, width, height)

    def overlay(self, picture: PictureLike) -> Picture:
        """The picture darkened where the text does not fit: a quarter as bright at no heat, as it is from 0.8 on."""
        picture = as_picture(picture, max_side=None)
        heat = self.heat(*picture.size)
        light = 0.25 + 0.75 * np.clip((heat - 0.1) / 0.7, 0.0, 1.0)
        return Image.fromarray(np.rint(np.asarray(picture) * light[..., None]).astype(np.uint8))


@dataclass(frozen=True, kw_only=True)
class TiledEmbedding:
    """A picture's vectors, the whole first, then its tiles; `boxes` says what each of them shows."""

    vectors: Float[np.ndarray, "parts dim"]
    boxes: tuple[Box, ...]

    @property
    def mean(self) -> Float[np.ndarray, " dim"]:
        """The mean direction of all parts, of unit norm: one vector for an index."""
        mean = self.vectors.mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)

    def similarity(self, queries: Float[np.ndarray, "n dim"],
                   pool: Literal["max", "mean"] = "max") -> Float[np.ndarray, " n"]:
        """Cosines with unit vectors: of the part that fits each best, or of the mean."""
        if pool not in ("max", "mean"):
            raise ValueError(f"pool is 'max' or 'mean', got {pool!r}")
        return (queries @ self.vectors.T).max(axis=1) if pool == "max" else queries @ self.mean


@torch.inference_mode()
def patch_features(embedder: TorchEmbedder, pictures: Sequence[PictureLike]) -> list[Float[np.ndarray, "rows cols c"]]:
    """Each picture's patches before the final norm and pooling, as a grid. Fixed-size towers have one grid for all."""
    return _grids(embedder, pictures, dense.patch_features)


@torch.inference_mode()
def patch_embeddings(
    embedder: TorchEmbedder, pictures: Sequence[PictureLike]
) -> list[Float[np.ndarray, "rows cols dim"]]:
    """Each picture's patches as unit vectors in the space of pictures and texts (`models/dense.py` says how)."""
    return _grids(embedder, pictures, dense.patch_embeddings)


def explain(embedder: TorchEmbedder, picture: PictureLike, text: str) -> Explanation:
    """How the text fits each patch of the picture, upright, and the whole of it."""
    picture = as_picture(picture, max_side=None)
    words = embedder.embed_texts([text])[0]
    cosine = float(embedder.embed_images([picture])[0] @ words)
    cosines = patch_embeddings(embedder, [picture])[0] @ words
    return Explanation(text=text, cosines=cosines, cosine=cosine, probability=embedder.spec.probability(cosine),
                       box=_seen(picture, embedder))


def heats(embedder: TorchEmbedder, picture: PictureLike, texts: Sequence[str]) -> Float[np.ndarray, "texts h w"]:
    """The heat of each text in the upright picture's pixels; the picture is seen once."""
    picture = as_picture(picture, max_side=None)
    patches, words = patch_embeddings(embedder, [picture])[0], embedder.embed_texts(texts)
    return np.stack([_heat(patches @ word, _seen(picture, embedder), *picture.size) for word in words])


def embed_tiled(embedder: TorchEmbedder, pictures: Sequence[PictureLike],
                scales: Sequence[int] = (1, 2)) -> list[TiledEmbedding]:
    """Large pictures as a whole and in tiles (`inputs/tiles.py`). Give their files, or decode them with
    `max_side=None`: by default a decoded picture is no larger than a model needs it as a whole."""
    found: list[TiledEmbedding] = []
    for given in pictures:
        picture = as_picture(given, max_side=None)
        boxes = tile_boxes(*picture.size, scales, min_side=embedder.spec.image_size)
        vectors = embedder.embed_images([crop(picture, box) for box in boxes])
        found.append(TiledEmbedding(vectors=vectors, boxes=tuple(boxes)))
    return found


def _heat(
    cosines: Float[np.ndarray, "rows columns"], box: Box, width: int, height: int
) -> Float[np.ndarray, "height width"]:
    low, high = float(cosines.min()), float(cosines.max())
    scaled = (cosines - low) / max(high - low, 1e-6)
    size = (max(1, box.right - box.left), max(1, box.bottom - box.top))
    seen = Image.fromarray(scaled.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    canvas = Image.new("F", (width, height), 0.0)
    canvas.paste(seen, (box.left, box.top))
    return np.clip(np.asarray(canvas), 0.0, 1.0)


def _seen(picture: Picture, embedder: TorchEmbedder) -> Box:
    """The part of the picture that patches cover, in its pixels."""
    if not isinstance(embedder.preprocessing, Preprocessing):
        return Box(0, 0, *picture.size)
    return _covered(Box(*region(*picture.size, embedder.preprocessing)), embedder)


def _covered(box: Box, embedder: TorchEmbedder) -> Box:
    """The part of it that patches cover: pixels that fill no patch are dropped on the right and the bottom."""
    image = embedder.towers.config.image
    if not isinstance(image, VitConfig | EvaConfig):
        return box
    share = image.grid * image.patch_size / image.image_size
    return Box(box.left, box.top, box.left + round((box.right - box.left) * share),
               box.top + round((box.bottom - box.top) * share))


def _grids(embedder: TorchEmbedder, pictures: Sequence[PictureLike], look: Look) -> list[np.ndarray]:
    """The patches of each picture as [rows, columns, channels]."""
    if not pictures:
        return []
    tower, batch = embedder.towers.image, prepare(pictures, embedder.preprocessing)
    if isinstance(batch, NaflexBatch):
        packed = PackedPatches(torch.from_numpy(batch.patches), torch.from_numpy(batch.grids))
        grids = [(int(rows), int(columns)) for rows, columns in batch.grids]
        flat = look(tower, packed)
    else:
        flat = look(tower, torch.from_numpy(batch))
        side = round((len(flat) / len(pictures)) ** 0.5)
        grids = [(side, side)] * len(pictures)
    parts = flat.split([rows * columns for rows, columns in grids])
    return [part.reshape(rows, columns, -1).numpy() for part, (rows, columns) in zip(parts, grids, strict=True)]
