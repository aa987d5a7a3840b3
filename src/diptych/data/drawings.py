"""Cut-out drawings to train on: encoded pictures, their concepts, how often each is drawn, which may be mirrored.

Batches hold at most one picture of a concept and are a function of the generator alone.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawings:
    """`concept[i]` is the row of picture i in the caption table; `weight` is per concept, `flip` per picture."""

    encoded: Sequence[bytes]
    concept: Int[np.ndarray, " pictures"]
    flip: Bool[np.ndarray, " pictures"]
    weight: Float[np.ndarray, " concepts"]

    def __post_init__(self):
        if not len(self.encoded) == len(self.concept) == len(self.flip):
            raise ValueError("encoded, concept and flip must have one entry per picture")

    def __len__(self) -> int:
        return len(self.encoded)

    def cutout(self, index: int) -> Image.Image:
        """The RGBA picture."""
        return cutout(self.encoded[index])


def cutout(data: bytes) -> Image.Image:
    """The RGBA picture of an encoded one."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGBA")


class BatchSampler:
    """Draws pictures of distinct concepts, each concept in proportion to its weight, each picture of it alike."""

    def __init__(self, drawings: Drawings):
        order = np.argsort(drawings.concept, kind="stable")
        self._concepts, starts = np.unique(drawings.concept[order], return_index=True)
        self._groups = np.split(order, starts[1:])
        self._weights = drawings.weight[self._concepts]

    @property
    def largest(self) -> int:
        """How many distinct concepts there are: no batch can be larger."""
        return len(self._concepts)

    def draw(self, size: int, rng: Rng) -> Int[np.ndarray, " size"]:
        """`size` picture indices. Weighted sampling without replacement by exponential keys (Efraimidis 2006)."""
        if size > self.largest:
            raise ValueError(f"a batch of {size} needs as many concepts, there are {self.largest}; lower the batch")
        keys = rng.exponential(size=self.largest) / self._weights
        chosen = np.sort(np.argpartition(keys, size - 1)[:size])
        pick = rng.random(size)
        return np.array([
            self._groups[c][int(p * len(self._groups[c]))] for c, p in zip(chosen, pick, strict=True)
        ])
