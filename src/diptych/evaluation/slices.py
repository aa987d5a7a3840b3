"""The parts of the data that a figure is given for as well: columns with few values."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from diptych.evaluation.dataset import Dataset

MOST = 20
"""Values of a column; one with more, such as a file's size, names pictures rather than parts."""


def slices(
    data: Dataset, pictures: Int[np.ndarray, " samples"] | Sequence[int], without: Collection[str] = (),
    more: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Sequence[str]]:
    """Each sample's value in the columns that have 2 to `MOST` values among these pictures, and in those of `more` that
    have at least 2. `without` names columns that say nothing new, such as the one that was predicted."""
    found: dict[str, Sequence[str]] = {}
    for name, column in data.columns.items():
        values = [column[picture] for picture in pictures]
        if name not in without and 2 <= len(set(values)) <= MOST:
            found[name] = values
    return found | {name: values for name, values in (more or {}).items() if len(set(values)) > 1}
