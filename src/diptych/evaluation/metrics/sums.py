"""Figures that are made of sums over samples: a ratio, a mean over classes of their means, the worst of them.

A bootstrap asks for such a figure a thousand times, with other weights of the samples each time. The sums in each cell
are linear in the weights: those of all draws are one matrix product.

How much one more sample could change a figure depends on how many there are where it would count most: a mean by one
in their number, a mean over classes by one in so many of the rarest class, divided by the classes. `worth` says of how
many samples a figure is a mean in this sense.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Sums = Float[np.ndarray, "draws cells columns"]
Worth = Callable[[list[int]], float]
"""How many units have a sample of each kind, of the kinds that any has → of how many the figure is a mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OfSums:
    """`columns` of the samples are summed in each cell (a class, a language, a bin); `cell` says in which, −1 in none.
    `figure` makes of the sums of each draw its figure, NaN where there is nothing to compute it of. """

    cell: Int[np.ndarray, " samples"]
    columns: Float[np.ndarray, "samples columns"]
    figure: Callable[[Sums], Float[np.ndarray, " draws"]]
    worth: Worth = sum

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self.cell.max(initial=-1)) + 1

    def __call__(self, weights: Float[np.ndarray, " samples"] | None = None) -> float:
        """The figure for these weights, or of every sample once."""
        weights = np.ones(len(self.cell)) if weights is None else weights
        return float(self.figure(self.sums(np.zeros(len(weights), np.int64), 1, weights))[0])

    def worth_of(self, unit: Int[np.ndarray, " samples"]) -> float:
        """Of how many units it is a mean; −1 is no unit."""
        there = (self.cell >= 0) & (unit >= 0)
        places = np.unique(unit[there] * self.cells + self.cell[there])
        count = np.bincount(places % self.cells) if len(places) else np.zeros(0, np.int64)
        return of_kinds(count, self.worth)

    def sums(
        self, unit: Int[np.ndarray, " samples"], units: int, weights: Float[np.ndarray, " samples"] | None = None
    ) -> Float[np.ndarray, "units cells columns"]:
        """The sums of each unit's samples in each cell; −1 is no unit."""
        rows = np.flatnonzero((self.cell >= 0) & (unit >= 0))
        place, columns, cells = unit[rows] * self.cells + self.cell[rows], self.columns[rows], self.cells
        if weights is not None:
            columns = columns * weights[rows, None]
        found = [np.bincount(place, column, units * cells).reshape(units, cells) for column in columns.T]
        return np.stack(found, axis=-1, dtype=np.float64)  # counting nothing gives integers


def ratio(part: Float[np.ndarray, " samples"], whole: Float[np.ndarray, " samples"]) -> OfSums:
    """The sum of the parts over the sum of the wholes, among the samples that have both. NaN where that is nothing."""
    known = ~np.isnan(part) & ~np.isnan(whole)
    return OfSums(cell=np.where(known, 0, -1), columns=np.stack([part, whole], axis=1),
                  figure=lambda sums: _means(sums)[:, 0] if sums.shape[1] else np.full(len(sums), np.nan))


def of_means(
    values: Float[np.ndarray, " samples"], cell: Int[np.ndarray, " samples"],
    figure: Callable[[Float[np.ndarray, "draws cells"], Bool[np.ndarray, "draws cells"]], Float[np.ndarray, " draws"]],
    least: int = 1, worth: Worth = min,
) -> OfSums:
    """A figure of the cells' means of the values that are not NaN, such as the lowest: it is given the means and which
    cells have any weight. NaN where fewer than `least` cells have."""
    def of(sums: Sums) -> Float[np.ndarray, " draws"]:
        there = sums[:, :, 1] > 0
        enough = there.sum(axis=1) >= least
        found = np.full(len(sums), np.nan)
        if enough.any():
            found[enough] = figure(_means(sums[enough]), there[enough])
        return found

    return OfSums(cell=np.where(np.isnan(values), -1, cell), figure=of, worth=worth,
                  columns=np.stack([values, np.ones(len(values))], axis=1))


def mean_of_means(values: Float[np.ndarray, " samples"], cell: Int[np.ndarray, " samples"], least: int = 1) -> OfSums:
    """The mean of the cells' means: each counts alike, however many samples it has; one without weight does not."""
    return of_means(values, cell, least=least, worth=each_alike, figure=lambda means, there: np.where(
        there, means, 0).sum(axis=1) / there.sum(axis=1))


def each_alike(units: list[int]) -> float:
    """What a mean over kinds is worth: as many as if all had so few as the rarest."""
    return len(units) * min(units)


def of_kinds(units: Int[np.ndarray, " kinds"], worth: Worth) -> float:
    """`worth` of the kinds that any unit has; 0 without."""
    known = units[units > 0].tolist()
    return worth(known) if known else 0.0


def _means(sums: Sums) -> Float[np.ndarray, "draws cells"]:
    """The first column over the second, NaN over nothing."""
    return np.divide(sums[:, :, 0], sums[:, :, 1], out=np.full(sums.shape[:2], np.nan), where=sums[:, :, 1] > 0)
