"""Which models meet given needs: by what was measured on this machine where it was, else by what is published, and it
is said which. What nobody measured is unknown, not good and not bad.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from diptych.evaluation.result import Comparison, Figure


@dataclass(frozen=True, kw_only=True)
class Needs:
    """None: whatever it takes. Latency is of one picture, memory a process's peak in bytes."""

    languages: tuple[str, ...] = ()
    max_latency_s: float | None = None
    max_memory: int | None = None

    def __post_init__(self):
        for name, limit in (("latency", self.max_latency_s), ("memory", self.max_memory)):
            if limit is not None and limit <= 0:
                raise ValueError(f"the largest {name} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What comparisons on this machine found of a model: its headline figure in the languages that are asked for, None
    where only others were measured, and on which data; and what it cost."""

    figure: Figure | None
    data: str
    latency_s: float | None
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model by what is declared of it. `published` is its result on a public benchmark, in percent."""

    name: str
    languages: tuple[str, ...]
    weights_bytes: int
    published: float | None
    measured: Measured | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`fits` is None where something that is asked for is unknown; `reasons` say what does not fit or is not known."""

    candidate: Candidate
    fits: bool | None
    reasons: tuple[str, ...]


def choose(candidates: Iterable[Candidate], needs: Needs) -> list[Choice]:
    """Those that fit first, then those of which too little is known; within each those whose figure was measured here,
    by it, before the others, by what is published."""
    order = {True: 0, None: 1, False: 2}

    def place(choice: Choice) -> tuple[int, bool, float, float, str]:
        one = choice.candidate
        figure = one.measured.figure if one.measured else None
        return (order[choice.fits], figure is None, -figure.value if figure else 0.0, -(one.published or 0.0), one.name)

    return sorted((_judged(candidate, needs) for candidate in candidates), key=place)


def measured_in(comparisons: Sequence[Comparison], languages: Sequence[str] = ()) -> dict[str, Measured]:
    """What each model had in the newest comparison that says it: its figure in these languages, of several the lowest
    of them, and, from whichever comparison, its cost."""
    found: dict[str, Measured] = {}
    nothing = Measured(figure=None, data="", latency_s=None, memory=None)
    for comparison in sorted(comparisons, key=lambda one: one.provenance.created):
        for cost in comparison.costs:
            single = next((rate for rate in cost.rates if rate.what == "images" and rate.batch == 1), None)
            found[cost.model] = replace(found.get(cost.model, nothing), memory=cost.peak_memory,
                                        latency_s=single.p50_s if single else None)
        for model in (model.name for model in comparison.models):
            figure = _headline(comparison, model, languages)
            known = found.get(model, nothing)
            found[model] = known if figure is None else replace(known, figure=figure, data=comparison.data.name)
    return found


def _headline(comparison: Comparison, model: str, languages: Sequence[str]) -> Figure | None:
    """A mean over languages says nothing of one: there the figure that it is the mean of decides."""
    task, name = comparison.headline
    own = [figure for figure in comparison.figures if figure.model == model and figure.task == task]
    if not languages or (len(languages) == 1 and {*comparison.data.languages} == {*languages}):
        return next((figure for figure in own if figure.name == name and not figure.slice), None)
    by_slice = {figure.slice: figure for figure in own if figure.name == name.removeprefix("mean_")}
    asked = [by_slice.get(f"language={code}") for code in languages]
    return min(filter(None, asked), key=lambda figure: figure.value) if all(asked) else None


def _judged(candidate: Candidate, needs: Needs) -> Choice:
    wrong: list[str] = []
    unknown: list[str] = []
    measured = candidate.measured
    if missing := [code for code in needs.languages if code not in candidate.languages]:
        wrong.append(f"does not know {', '.join(missing)}")
    if needs.max_latency_s is not None:
        latency = measured.latency_s if measured else None
        if latency is None:
            unknown.append("speed not measured here")
        elif latency > needs.max_latency_s:
            wrong.append(f"takes {latency * 1e3:.0f} ms a picture here")
    if needs.max_memory is not None:
        memory = measured.memory if measured else None
        if memory is not None and memory > needs.max_memory:
            wrong.append(f"took {memory / 1e9:.1f} GB here")
        elif memory is None and candidate.weights_bytes > needs.max_memory:
            wrong.append(f"its weights alone are {candidate.weights_bytes / 1e9:.1f} GB in float32")
        elif memory is None:
            unknown.append("memory not measured here")
    return Choice(candidate=candidate, fits=False if wrong else None if unknown else True,
                  reasons=(*wrong, *unknown))
