"""One model's vectors of one data set, and the ways to ask it for more. What every task is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from diptych.core.types import EmbedderSpec, Picture, SearchResult
from diptych.evaluation.dataset import Dataset, subset

Patches = Callable[[Sequence[Picture]], Sequence[Float[np.ndarray, "rows columns channels"]]]
Heat = Callable[[Picture, Sequence[str]], Float[np.ndarray, "texts height width"]]
Describe = Callable[[Sequence[Picture]], Sequence[str]]
Search = Callable[[str, int], SearchResult]
EmbedTexts = Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]
EmbedPictures = Callable[[Sequence[Picture]], Float[np.ndarray, "pictures dim"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """What a model gives beside vectors; None: it cannot.

    `patches` are pictures' features as grids, `heat` how well each place of a whole picture fits each of some texts (at
    any resolution), `describe` a caption each. `search` is what a collection of its vectors answers to a query with so
    many hits.
    """

    patches: Patches | None = None
    heat: Heat | None = None
    describe: Describe | None = None
    search: Search | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """`images` are the unit vectors of all of `data`'s pictures, in order. `texts` and `pictures` embed more (what was
    asked before is remembered, and costs nothing); `decode(i)` gives picture i, `looks` the rest. `scenes` is the same
    of the data's scenes, where there are some and a task looks at them; `tested` of the pictures of the data's test
    part, where it has one."""

    spec: EmbedderSpec
    data: Dataset
    images: Float[np.ndarray, "pictures dim"]
    texts: EmbedTexts
    pictures: EmbedPictures
    decode: Callable[[int], Picture]
    looks: Looks = field(default_factory=Looks)
    scenes: "Embedded | None" = None
    tested: "Embedded | None" = None


def part(embedded: Embedded, numbers: Sequence[int]) -> Embedded:
    """The same of these pictures alone; all classes can still be answered."""
    data = replace(subset(embedded.data, numbers), classes=embedded.data.classes)
    return replace(embedded, data=data, images=embedded.images[np.array(numbers, np.int64)],
                   decode=lambda i: embedded.decode(numbers[i]))
