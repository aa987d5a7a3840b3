"""What one task found for one model, sample by sample: the form in which tasks hand over to statistics and reports.

A figure is a mean over samples, or a statistic of them all. Either can be computed again with other weights, which is
what a bootstrap does, and for a part of the samples, which is what a slice is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from diptych.evaluation.result import Better

Statistic = Callable[[Float[np.ndarray, " samples"]], float]
"""Weights of the samples (how often each was drawn; ones for the figure itself) → the figure. NaN where the weights
leave nothing to compute it of, such as a class without samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Of one task and one model.

    `ids` name the samples (queries, pictures, pairs of captions) and are equal for every model on the same data: models
    are compared in pairs. `values` are figures that are means: each sample's share in them, NaN where it has none.
    `statistics` are the other figures. `groups` says which samples belong together (captions of one picture) and are
    drawn together; None: each is on its own. `slices` gives each sample's value in a column ("language", "domain").
    `details` are columns for the table of predictions. `chance` is what guessing reaches, `lower` names the figures of
    which less is better, `amounts` those that are no shares, wherever they lie: metres, cosines, differences of groups.
    """

    task: str
    ids: Sequence[str]
    values: Mapping[str, Float[np.ndarray, " samples"]] = field(default_factory=dict)
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    groups: Sequence[str] | None = None
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    details: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    lower: frozenset[str] = frozenset()
    amounts: frozenset[str] = frozenset()

    def __post_init__(self):
        count = len(self.ids)
        if len(set(self.ids)) != count:
            raise ValueError(f"{self.task}: two samples have the same id; ids must be unique")
        columns = {**self.values, **self.slices, **self.details, **({"groups": self.groups} if self.groups else {})}
        if wrong := [name for name, column in columns.items() if len(column) != count]:
            raise ValueError(f"{self.task}: {wrong[0]!r} has {len(columns[wrong[0]])} entries for {count} samples")
        if both := set(self.values) & set(self.statistics):
            raise ValueError(f"{self.task}: {both} are both means and statistics")

    @property
    def names(self) -> tuple[str, ...]:
        """All figures."""
        return (*self.values, *self.statistics)

    def figure(self, name: str, weights: Float[np.ndarray, " samples"] | None = None) -> float:
        """The figure of that name, with weights or without. NaN when no sample with weight has it."""
        weights = np.ones(len(self.ids)) if weights is None else weights
        if name in self.statistics:
            return self.statistics[name](weights)
        value = self.values[name]
        known = ~np.isnan(value)
        total = weights[known].sum()
        return float(weights[known] @ value[known] / total) if total > 0 else float("nan")

    def better(self, name: str) -> Better:
        """Whether more of it is better."""
        return "lower" if name in self.lower else "higher"
