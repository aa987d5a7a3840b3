"""Figures that are made of sums over samples: a ratio, a mean over classes of their means, the worst of them.

A bootstrap asks for such a figure a thousand times, with other weights of the samples each time. The sums in each cell
are linear in the weights: those of all draws are one matrix product.

How much one more sample could change a figure depends on how many there are where it would count most: a mean by one
in their number, a mean over classes by one in so many of the rarest class, divided by the classes. `worth` says of how
many samples, or groups of them, a figure is a mean in this sense. Groups of unequal size are fewer than they are many:
(Σ w)² / Σ w² of their weights (Kish 1965).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Sums = Float[np.ndarray, "draws cells columns"]
Worth = Callable[[list[float]], float]
"""How many groups of one size have each kind of sample, of the kinds that there are → of how many it is a mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OfSums:
    """`columns` of the samples are summed in each cell (a class, a language, a bin); `cell` says in which, −1 in none.
    `figure` makes of the sums of each draw its figure, NaN where there is nothing to compute it of.

    `worth` makes of the number of groups in each cell, where a sample weighs what its last column says, that of which
    the figure is a mean; `mass` gives the weights where cells are not the kinds that matter.
    """

    cell: Int[np.ndarray, " samples"]
    columns: Float[np.ndarray, "samples columns"]
    figure: Callable[[Sums], Float[np.ndarray, " draws"]]
    worth: Worth = sum
    mass: Float[np.ndarray, "samples kinds"] | None = None

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self.cell.max(initial=-1)) + 1

    def __call__(self, weights: Float[np.ndarray, " samples"] | None = None) -> float:
        """The figure for these weights, or of every sample once."""
        weights = np.ones(len(self.cell)) if weights is None else weights
        return float(self.figure(self.sums(np.zeros(len(weights), np.int64), 1, weights))[0])

    def worth_of(self, group: Int[np.ndarray, " samples"]) -> float:
        """Of how many groups it is a mean; −1 is none."""
        rows = np.flatnonzero((self.cell >= 0) & (group >= 0))
        if self.mass is not None:
            return worth_of_kinds(self.mass[rows], group[rows], self.worth)
        place, at = np.unique(group[rows] * self.cells + self.cell[rows], return_inverse=True)
        mass = np.bincount(at, self.columns[rows, -1], len(place))
        of = place % max(self.cells, 1)
        return _worth(np.bincount(of, mass), np.bincount(of, mass**2), self.worth)

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


def each_alike(groups: list[float]) -> float:
    """What a mean over kinds is worth: as many as if all had so few as the rarest."""
    return len(groups) * min(groups)


def worth_of_kinds(
    mass: Float[np.ndarray, "samples kinds"], group: Int[np.ndarray, " samples"], worth: Worth = sum
) -> float:
    """`worth` of how many groups there are of each kind, by how much of it the samples have."""
    sums = np.array([np.bincount(group, column) for column in mass.T]).reshape(mass.shape[1], -1)
    return _worth(sums.sum(axis=1), (sums**2).sum(axis=1), worth)


def _worth(total: np.ndarray, squares: np.ndarray, worth: Worth) -> float:
    there = squares > 0
    return worth((total[there] ** 2 / squares[there]).tolist()) if there.any() else 0.0


def _means(sums: Sums) -> Float[np.ndarray, "draws cells"]:
    """The first column over the second, NaN over nothing."""
    return np.divide(sums[:, :, 0], sums[:, :, 1], out=np.full(sums.shape[:2], np.nan), where=sums[:, :, 1] > 0)
