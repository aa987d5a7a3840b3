"""Who is best, and who is worth a look: the order of the models, their differences to the first, and the trade between
quality, speed and memory. Reads figures; computes none."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from diptych.evaluation.result import Comparison, Cost, Difference, Figure, Rate, Verdict
from diptych.evaluation.tasks import DECIDING

Key = tuple[str, str, str]
"""A figure's task, name and slice."""

_OPPOSITE: Mapping[Verdict, Verdict] = {
    "better": "worse", "worse": "better", "not distinguishable": "not distinguishable"}


def by_key(figures: Iterable[Figure]) -> dict[Key, dict[str, Figure]]:
    """Figures side by side: by what they are of, then by model."""
    found: dict[Key, dict[str, Figure]] = {}
    for figure in figures:
        found.setdefault((figure.task, figure.name, figure.slice), {})[figure.model] = figure
    return found


def ranked(headline: tuple[str, str], figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """The headline figure of each model, best first, unknown ones last."""
    own = [figure for figure in figures if (figure.task, figure.name, figure.slice) == (*headline, "")]
    return tuple(sorted(own, key=badness))


def badness(figure: Figure) -> float:
    """Less is better, whatever the figure; the unknown is worst."""
    if math.isnan(figure.value):
        return math.inf
    return figure.value if figure.better == "lower" else -figure.value


def order(comparison: Comparison) -> tuple[str, ...]:
    """The models' names, best first by the headline; those without that figure last, as they were given. ValueError
    when something is said of a model that is not among them."""
    views = comparison.views
    said = (comparison.figures, comparison.differences, comparison.costs, views.confusions, views.curves,
            views.templates)
    names = {model.name for model in comparison.models}
    if strangers := {each.model for records in said for each in records} - names:
        raise ValueError(f"{sorted(strangers)[0]!r} has results but is not among the models of the comparison: "
                         f"{', '.join(sorted(names))}")
    place = {figure.model: i for i, figure in enumerate(ranked(comparison.headline, comparison.figures))}
    return tuple(sorted((model.name for model in comparison.models), key=lambda name: place.get(name, len(place))))


def main_keys(headline: tuple[str, str], figures: Iterable[Figure]) -> tuple[Key, ...]:
    """The headline, then of every other task the first figure that decides between models, or the first of all."""
    whole = [(figure.task, figure.name) for figure in figures if not figure.slice]
    main = dict.fromkeys([headline[0], *(task for task, _ in whole)], "")
    for task, name in (headline, *(one for one in whole if one[1] in DECIDING), *whole):
        main[task] = main[task] or name
    return tuple((task, name, "") for task, name in main.items())


def flipped(difference: Difference) -> Difference:
    """The same, said of the other model."""
    return replace(difference, model=difference.other, other=difference.model, value=-difference.value,
                   low=-difference.high, high=-difference.low, verdict=_OPPOSITE[difference.verdict])


def against(best: str, differences: Iterable[Difference]) -> dict[tuple[str, Key], Difference]:
    """Every difference in which `best` has a part, as one of the other model less `best`."""
    sides = (d if d.other == best else flipped(d) for d in differences if best in (d.model, d.other))
    return {(d.model, (d.task, d.name, d.slice)): d for d in sides}


def non_dominated(points: Sequence[Sequence[float]]) -> list[bool]:
    """Of each point whether no other is at least as small in every coordinate and smaller in one. Equal points do not
    dominate each other."""
    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)

    return [not any(dominates(other, point) for other in points) for point in points]


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What one model gives for what. `rate` is of single pictures, or of the smallest batch that was measured; `worth`
    says that no other model is as good, as fast and as small at once, and better in one of the three."""

    figure: Figure
    rate: Rate
    memory: int
    worth: bool

    @property
    def latency_s(self) -> float:
        """Seconds that a batch of `rate` takes, in the median."""
        return self.rate.p50_s


def trades(headline: tuple[str, str], figures: Iterable[Figure], costs: Iterable[Cost]) -> tuple[Trade, ...]:
    """Those models of which quality and cost are both known, best quality first."""
    cost = {each.model: each for each in costs}
    known = [(figure, rate, cost[figure.model].peak_memory) for figure in ranked(headline, figures)
             if figure.model in cost and math.isfinite(figure.value) and (rate := smallest(cost[figure.model]))]
    worth = non_dominated([(badness(figure), rate.p50_s, memory) for figure, rate, memory in known])
    return tuple(Trade(figure=figure, rate=rate, memory=memory, worth=ok)
                 for (figure, rate, memory), ok in zip(known, worth, strict=True))


def smallest(cost: Cost) -> Rate | None:
    """The rate of pictures at the smallest batch."""
    return min((rate for rate in cost.rates if rate.what == "images"), key=lambda rate: rate.batch, default=None)


def fastest(cost: Cost, what: str) -> Rate | None:
    """The highest rate of "images" or "texts" at any batch."""
    return max((rate for rate in cost.rates if rate.what == what), key=lambda rate: rate.per_second, default=None)
