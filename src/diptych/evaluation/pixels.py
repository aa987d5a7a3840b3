"""What a frozen tower says of single pixels, a block of pictures at a time: the ground of segmentation and depth.

A pixel's features are those of the patches around it, bilinearly, so that a linear layer's logits of them are its
enlarged logits. Beside them stands the picture's vector, in place of a class token, as in TIPS (arXiv 2410.16512 §4).
Pictures are squashed to squares before: a tower that crops sees all of them, and its grid covers the whole picture. Of
sides that patches do not divide, the few pixels that the tower drops are taken for covered.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from diptych.core.types import Picture
from diptych.data import draws
from diptych.evaluation.dense import between
from diptych.evaluation.embedded import Embedded

BLOCK = 32
"""Pictures whose patches are in memory together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What is to be said of pixels: `read(i)` is picture i's map, `known(map)` which of its pixels count."""

    read: Callable[[int], Shaped[np.ndarray, "height width"]]
    known: Callable[[Shaped[np.ndarray, "height width"]], Bool[np.ndarray, "height width"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Pixels: their features, a patch's and then the picture's, and what is true of them."""

    features: Float[np.ndarray, "n both"]
    truth: Shaped[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """Of each channel its mean and spread over training pixels: what batch normalisation does."""

    mean: Float[np.ndarray, " both"]
    spread: Float[np.ndarray, " both"]

    @classmethod
    def of(cls, sample: Sample) -> "Scaling":
        """A channel that never changes stays 0."""
        mean = np.asarray(sample.features.mean(axis=0, dtype=np.float64), np.float32)
        spread = sample.features.std(axis=0, dtype=np.float64)
        return cls(mean=mean, spread=np.where(spread < 1e-6, 1, spread).astype(np.float32))

    def __call__(self, features: Float[np.ndarray, "*batch both"]) -> Float[np.ndarray, "*batch both"]:
        """Mean 0 and spread 1 over the training pixels."""
        return (features - self.mean) / self.spread


def looked(
    embedded: Embedded, pictures: Sequence[int] | Int[np.ndarray, " pictures"], target: Target
) -> Iterator[tuple[int, Float[np.ndarray, "rows columns both"], Shaped[np.ndarray, "height width"]]]:
    """Of every picture that has a pixel that counts: its number, its grid of features, its map. ValueError for a model
    that shows no patches."""
    patches = embedded.looks.patches
    if patches is None:
        raise ValueError(f"{embedded.spec.name} has no patch features")
    for start in range(0, len(pictures), BLOCK):
        maps = {int(i): target.read(int(i)) for i in pictures[start : start + BLOCK]}
        maps = {i: map_ for i, map_ in maps.items() if target.known(map_).any()}
        grids = patches([_square(embedded.decode(i)) for i in maps]) if maps else ()
        for (i, map_), grid in zip(maps.items(), grids, strict=True):
            whole = np.broadcast_to(embedded.images[i], (*grid.shape[:2], embedded.images.shape[1]))
            yield i, np.concatenate([grid, whole], axis=2, dtype=np.float32), map_


def sample(
    embedded: Embedded, pictures: Int[np.ndarray, " pictures"], target: Target, count: int, seed: int
) -> Sample:
    """About `count` pixels that count, from each picture alike. ValueError where there is none."""
    each = max(1, count // len(pictures))
    features: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    for i, grid, map_ in looked(embedded, pictures, target):
        rows, columns = np.nonzero(target.known(map_))
        drawn = draws.generator(seed, "pixels", embedded.data.ids[i]).integers(0, len(rows), each)
        down, across = (between(cells, length) for cells, length in zip(grid.shape, map_.shape, strict=False))
        features.append(np.einsum("nr,rcd,nc->nd", down[rows[drawn]], grid, across[columns[drawn]], optimize=True))
        truth.append(map_[rows[drawn], columns[drawn]])
    if not truth:
        raise ValueError(f"of {len(pictures)} pictures of {embedded.data.name} no map says anything")
    return Sample(features=np.concatenate(features).astype(np.float32), truth=np.concatenate(truth))


def _square(picture: Picture) -> Picture:
    side = max(picture.size)
    return picture if picture.width == picture.height else picture.resize((side, side))
