"""One model's vectors of one data set, and the ways to ask it for more. What every task is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diptych.core.types import EmbedderSpec, Picture
from diptych.evaluation.dataset import Dataset

EmbedTexts = Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]
EmbedPictures = Callable[[Sequence[Picture]], Float[np.ndarray, "pictures dim"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """`images` are the unit vectors of all of `data`'s pictures, in order. `texts` and `pictures` embed more (texts are
    remembered, so that asking twice costs nothing); `decode(i)` gives picture i."""

    spec: EmbedderSpec
    data: Dataset
    images: Float[np.ndarray, "pictures dim"]
    texts: EmbedTexts
    pictures: EmbedPictures
    decode: Callable[[int], Picture]
