"""Runs of one job, a folder each: the new one is compared with the one before, sample by sample.

The same query counts only while it expects the same; so what is tested is the collection and the model, not the gold
set. Figures that are no means over samples, such as a mean over languages, are not tested. Nothing is ever deleted.
"""

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core import telemetry
from diptych.evaluation import served
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.predictions import write_predictions
from diptych.evaluation.report import record, words
from diptych.evaluation.report.files import write_report
from diptych.evaluation.result import Comparison, Difference, Figure, History, Point
from diptych.evaluation.significance import differences_of
from diptych.evaluation.suite import Evaluated
from diptych.evaluation.tasks import DECIDING

RUNS = 365
"""So many are carried from one to the next for the chart."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One that is there. Its comparison is written last, so it is whole."""

    folder: Path
    comparison: Comparison

    def predictions(self, task: str) -> list[dict[str, Any]]:
        """What was said of every sample; nothing when the table is not there."""
        try:
            return pq.read_table(self.folder / "predictions" / f"{task}.parquet").to_pylist()
        except (OSError, pa.ArrowException):
            return []


def last_run(history: Path, data: str) -> Run | None:
    """The newest run on that data set. One that cannot be read, or is of another version, is passed over."""
    for path in sorted(history.glob("*/comparison.json"), reverse=True):
        try:
            comparison = record.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            telemetry.notice(f"{path} is passed over: {error}")
            continue
        if comparison.data.name == data:
            return Run(folder=path.parent, comparison=comparison)
    return None


def add_run(found: Evaluated, history: Path) -> tuple[Comparison, Path]:
    """Write the run into a folder of its own, named by the time, and give it with what has changed, and its report."""
    comparison = found.comparison
    before = last_run(history, comparison.data.name)
    differences = since(before, found.outcomes, comparison.provenance.seed) if before else []
    earlier = before.comparison.history.trend if before and before.comparison.history else ()
    main, now = _main(comparison), comparison.provenance.created
    trend = [*earlier, *(Point(created=now, model=f.model, task=f.task, name=f.name, value=f.value, low=f.low,
                               high=f.high) for f in main)]
    runs = sorted({point.created for point in trend})[-RUNS:]
    when = before.comparison.provenance.created if before else ""
    told = _sentences(when, main, differences)
    comparison = replace(comparison, sentences=(*comparison.sentences, *told), history=History(
        before=when, differences=tuple(differences), trend=tuple(point for point in trend if point.created in runs)))
    folder = history / datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    write_predictions(found.outcomes, folder / "predictions")
    return comparison, write_report(comparison, folder)


def since(before: Run, outcomes: Mapping[str, Mapping[str, Outcome]], seed: int = 0) -> list[Difference]:
    """The deciding figures of every model now less then, by paired tests that are corrected together. A model is the
    one of the same name; what a collection serves is compared whatever model it was."""
    pairs: list[dict[str, Outcome]] = []
    for task, by_model in outcomes.items():
        rows = before.predictions(task)
        for model, outcome in by_model.items():
            own = rows if task == served.TASK else [row for row in rows if row["model"] == model]
            if pair := _paired(outcome, own):
                then = f"{own[0]['model']}, {_day(before.comparison.provenance.created)}"
                pairs.append(dict(zip((model, then), pair, strict=True)))
    names = {name for pair in pairs for outcome in pair.values() for name in outcome.names}
    return differences_of(pairs, names=names, seed=seed) if names else []


def _paired(now: Outcome, rows: list[dict[str, Any]]) -> tuple[Outcome, Outcome] | None:
    """Both on the samples that they share, with the deciding figures that they share."""
    names = [name for name in now.values if name in DECIDING and rows and name in rows[0]]
    then = {row["id"]: row for row in rows}
    expected = now.details.get("expected")
    shared = [at for at, id_ in enumerate(now.ids) if id_ in then and (
        expected is None or _same(expected[at], then[id_].get("expected")))]
    if not names or not shared:
        return None
    ids = [now.ids[at] for at in shared]
    groups = None if now.groups is None else [now.groups[at] for at in shared]
    today = Outcome(task=now.task, ids=ids, groups=groups, lower=now.lower & set(names), amounts=now.amounts,
                    values={name: now.values[name][shared] for name in names})
    values = {name: np.array([then[id_][name] for id_ in ids], np.float64) for name in names}
    return today, replace(today, values=values)


def _same(expected: Any, then: Any) -> bool:
    """As `predictions` writes them, in any order."""
    def told(value: Any) -> Any:
        return sorted(map(str, value)) if isinstance(value, list | tuple) else value

    return told(expected) == told(then)


def _main(comparison: Comparison) -> list[Figure]:
    """The headline, and what is served."""
    keys = {comparison.headline, (served.TASK, "hit@1")}
    return [figure for figure in comparison.figures if not figure.slice and (figure.task, figure.name) in keys]


def _sentences(when: str, figures: Iterable[Figure], differences: Iterable[Difference]) -> Iterator[str]:
    """The main figures, and every other one that has changed for sure."""
    tested = {(d.model, d.task, d.name): d for d in differences}
    for figure in figures:
        found = tested.pop((figure.model, figure.task, figure.name), None)
        change = f": {_change(found, when)}" if found else ""
        yield f"{_named(figure)} {words.with_interval(figure)}{change}."
    for found in tested.values():
        if found.verdict != "not distinguishable":
            yield f"{_named(found)}: {_change(found, when)}."
    if not when:
        yield "This is the first run; the next one is compared with it."


def _named(what: Figure | Difference) -> str:
    return f"{what.model}, {words.spoken(what.task)} {words.spoken(what.name)}"


def _change(difference: Difference, when: str) -> str:
    if not difference.value or math.isnan(difference.value):
        return f"as on {_day(when)}"
    way = "more" if difference.value > 0 else "less"
    sure = "" if difference.verdict != "not distinguishable" else ", which may be chance"
    return (f"{words.amount(difference.value, difference.name)} {way} than on {_day(when)}, p "
            f"{_p(difference.p_holm)}{sure}")


def _p(p: float) -> str:
    said = words.probability(p)
    return said if said.startswith("<") else f"= {said}"


def _day(created: str) -> str:
    """To the minute, for jobs that run by the hour."""
    return created[:16].replace("T", " ")
