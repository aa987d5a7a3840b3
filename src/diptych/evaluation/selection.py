"""Which models meet given needs: by what was measured on this machine where it was, else by what is published, and it
is said which. What nobody measured is unknown, not good and not bad.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
                raise ValueError(f"the largest {name} must be above 0, got {limit}")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a comparison on this machine found of a model: its headline figure, and what it cost."""

    figure: Figure
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
    """Those that fit first, then those of which too little is known; within each those that were measured here, by
    their figure, before the others, by what is published."""
    order = {True: 0, None: 1, False: 2}
    return sorted((_judged(candidate, needs) for candidate in candidates), key=lambda choice: (
        order[choice.fits], choice.candidate.measured is None,
        -(choice.candidate.measured.figure.value if choice.candidate.measured else 0.0),
        -(choice.candidate.published or 0.0), choice.candidate.name))


def measured_in(comparisons: Sequence[Comparison]) -> dict[str, Measured]:
    """What each model had in the newest comparison that it took part in."""
    found: dict[str, Measured] = {}
    for comparison in sorted(comparisons, key=lambda one: one.provenance.created):
        costs = {cost.model: cost for cost in comparison.costs}
        for figure in comparison.figures:
            if (figure.task, figure.name) == comparison.headline and not figure.slice:
                cost = costs.get(figure.model)
                single = next((r for r in cost.rates if r.what == "images" and r.batch == 1), None) if cost else None
                found[figure.model] = Measured(
                    figure=figure, data=comparison.data.name, latency_s=single.p50_s if single else None,
                    memory=cost.peak_memory if cost else None)
    return found


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
