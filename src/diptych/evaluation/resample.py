"""The bootstrap of a part of the data: what is drawn together, how much each draw has of it, and what figures become.

A unit is a group of samples that belong together (captions of one picture), or a sample where nothing is grouped. A
draw gives every unit an exponential weight, and all weights together are as many as the units: the Bayesian bootstrap
(Rubin 1981). It differs from drawing with replacement in that no draw is without a unit, such as the only one of a rare
class, and in that its intervals can be exact (`intervals.py`).

More than `UNITS` groups are first put together at random into `UNITS` units. That leaves the variance as it is, gives
the standard error a relative error of 1/√(2 · 2,000) = 1.6%, less than the 2.2% that 1,000 draws have of their own,
and makes the draws of a million samples cost no more than those of 2,000. The weights of all draws are one matrix, all
means of all draws one matrix product.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.evaluation.metrics.sums import OfSums, Worth, each_alike, worth_of_kinds
from diptych.evaluation.outcome import Outcome, Statistic

UNITS = 2_000
"""The most units that are drawn from."""
FEWEST = 5
"""A slice, and a figure in a slice, that fewer samples belong to is left out."""
_AT_ONCE = 1 << 24
"""Sums in memory at a time: 128 MiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A figure, and the same figure of every draw. It is made of `count` samples in so many `units`, and a mean of so
    many groups as it is `worth` (`metrics/sums.py`); a difference of it can move by one in `steps`. `share`: it lies
    between 0 and 1 whatever the samples."""

    value: float
    draws: Float[np.ndarray, " draws"]
    units: int
    count: int
    worth: float
    steps: float
    share: bool = False

    @property
    def error(self) -> float:
        """The standard error: a mean's is the deviation over √units. 0 where draws differ by rounding only, NaN for a
        single unit."""
        draws = self.draws[~np.isnan(self.draws)]
        if self.units < 2 or not len(draws):
            return math.nan
        spread = float(draws.std())
        still = spread <= 1e-12 * max(1.0, float(np.abs(draws).max()))
        return 0.0 if still else spread * math.sqrt((self.units + 1) / (self.units - 1))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of its standard error."""
        return max(1.0, self.worth - 1)


@runtime_checkable
class Weighed(Protocol):
    """A statistic that knows how few samples it can depend on."""

    @property
    def worth(self) -> Worth:
        """What so many groups of each kind are worth."""
        ...

    def worth_of(self, group: Int[np.ndarray, " samples"]) -> float:
        """Of how many groups it is a mean; −1 is none."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Resample:
    """`group` and `unit` are the numbers of each sample's group and unit, −1 outside the part; `weights` how much each
    draw has of each unit."""

    group: Int[np.ndarray, " samples"]
    unit: Int[np.ndarray, " samples"]
    weights: Float[np.ndarray, "draws units"]

    def figures(self, values: Float[np.ndarray, "samples columns"], shares: Sequence[bool]) -> list[Drawn]:
        """The mean of each column, `shares` where its values are and may be one."""
        found: list[Drawn] = []
        for one, column, share in zip(self.means(*self.sums(values)), values.T, shares, strict=True):
            known = ~np.isnan(column) & (self.unit >= 0)
            worth = worth_of_kinds(np.ones((int(known.sum()), 1)), self.group[known])
            found.append(replace(one, worth=worth, share=share and are_shares(column[known])))
        return found

    def sums(
        self, values: Float[np.ndarray, "samples columns"]
    ) -> tuple[Float[np.ndarray, "units columns"], Float[np.ndarray, "units columns"]]:
        """Each column's sum in each unit, and of how many samples it is. NaN is none."""
        rows, units = np.flatnonzero(self.unit >= 0), self.weights.shape[1]
        unit, values = self.unit[rows], values[rows]
        known = ~np.isnan(values)
        values = np.where(known, values, 0.0)
        sums, counts = np.empty((2, units, values.shape[1]))
        for column in range(values.shape[1]):
            sums[:, column] = np.bincount(unit, values[:, column], units)
            counts[:, column] = np.bincount(unit, known[:, column], units)
        return sums, counts

    def means(
        self, sums: Float[np.ndarray, "units columns"], counts: Float[np.ndarray, "units columns"]
    ) -> list[Drawn]:
        """The mean of each column, with units for groups."""
        total = self.weights @ counts
        draws = np.divide(self.weights @ sums, total, out=np.full_like(total, np.nan), where=total > 0)
        units = (counts > 0).sum(axis=0).tolist()
        return [Drawn(value=float(of.sum() / count.sum()) if count.any() else math.nan, draws=drawn, units=some,
                      worth=some, steps=some, count=int(count.sum()))
                for drawn, of, count, some in zip(draws.T, sums.T, counts.T, units, strict=True)]

    def statistic(self, statistic: Statistic, share: bool = True) -> Drawn:
        """A statistic of the part; a share where it may be one and all draws are. Where it is NaN, such as a mean over
        languages of one language, nothing is drawn."""
        inside = self.unit >= 0
        value = statistic(inside.astype(float))
        units, count = self.weights.shape[1], int(inside.sum())
        if math.isnan(value):
            nothing = np.full(len(self.weights), np.nan)
            return Drawn(value=math.nan, units=units, count=count, worth=0, steps=0, draws=nothing)
        if isinstance(statistic, OfSums) and units * statistic.columns.shape[1] * statistic.cells <= _AT_ONCE:
            draws = self._of_sums(statistic)
        else:
            weights = np.pad(self.weights, ((0, 0), (0, 1)))  # −1 is the last column: no weight
            draws = np.array([statistic(draw[self.unit]) for draw in weights])
        groups = worth_of_kinds(np.ones((count, 1)), self.group[inside])
        worth = min(statistic.worth_of(self.group), groups) if isinstance(statistic, Weighed) else groups
        # of a mean over kinds the rarest moves every difference, of the lowest of them only where it is the lowest
        steps = worth if isinstance(statistic, Weighed) and statistic.worth is each_alike else groups
        return Drawn(value=value, units=units, count=count, draws=draws, worth=worth, steps=steps,
                     share=share and are_shares(np.append(draws, value)))

    def _of_sums(self, statistic: OfSums) -> Float[np.ndarray, " draws"]:
        sums = statistic.sums(self.unit, self.weights.shape[1])
        units, *shape = sums.shape
        sums, step = sums.reshape(units, -1), max(1, _AT_ONCE // math.prod(shape))
        return np.concatenate([statistic.figure((self.weights[at : at + step] @ sums).reshape(-1, *shape))
                               for at in range(0, len(self.weights), step)])


def resample(outcome: Outcome, inside: Bool[np.ndarray, " samples"], draws: int, seed: int) -> Resample:
    """The bootstrap of the samples `inside`: the same for every model on the same data. ValueError for fewer than 100
    draws."""
    if draws < 100:
        raise ValueError(f"a 95% interval needs at least 100 draws, got {draws}; 1000 are usual")
    rng = np.random.default_rng(seed)
    group = np.arange(len(outcome.ids)) if outcome.groups is None else _numbered(outcome.groups)[0]
    groups, own = np.unique(group[inside], return_inverse=True)
    units = min(len(groups), UNITS)
    group = rng.permutation(len(groups))[own] % UNITS if len(groups) > UNITS else own
    numbers = np.full((2, len(outcome.ids)), -1)
    numbers[:, inside] = own, group
    weights = rng.standard_exponential((draws, units))
    weights *= units / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return Resample(group=numbers[0], unit=numbers[1], weights=weights)


def parts(outcome: Outcome, slices: bool) -> Iterator[tuple[str, Bool[np.ndarray, " samples"]]]:
    """The name and the samples of all data ("") and, with `slices`, of every value of every column ("language=de") that
    at least `FEWEST` samples have. An empty value is an unknown one and no slice."""
    yield "", np.ones(len(outcome.ids), bool)
    for column, entries in outcome.slices.items() if slices else ():
        number, values = _numbered(entries)
        count = np.bincount(number, minlength=1)
        for value in sorted(values):
            if value and count[values[value]] >= FEWEST:
                yield f"{column}={value}", number == values[value]


def are_shares(values: Float[np.ndarray, " values"]) -> bool:
    """Whether all that are not NaN are between 0 and 1, but for rounding."""
    return not bool(((values < -1e-9) | (values > 1 + 1e-9)).any())


def _numbered(entries: Sequence[str]) -> tuple[Int[np.ndarray, " samples"], dict[str, int]]:
    """Each entry's number, and the number of each value. By a dictionary: to sort a million strings takes seconds."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(entry, len(numbers)) for entry in entries], int), numbers
