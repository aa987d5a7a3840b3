"""Whether a probability that a model gives means what it says."""

import re

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.cells import marks, measured
from diptych.evaluation.report.looks import legend, looks, mark
from diptych.evaluation.report.markup import Html, content, fold, h, table
from diptych.evaluation.report.ranking import by_key
from diptych.evaluation.result import Comparison

ERRORS = re.compile(r"(^|_)(ece|brier|mce)(_|@|$)")
"""Figures of calibration, by their names."""


def section(comparison: Comparison) -> Html | None:
    """None without curves that have counts."""
    all_looks = looks(comparison)
    tasks = dict.fromkeys(curve.task for curve in comparison.views.curves if any(point.count for point in curve.bins))
    if not tasks:
        return None
    note = h("p", "On the dashed line what is said with 80% is right 80 times in 100; below it a model is too sure of "
             "itself. The larger a mark, the more answers it stands for.", class_="note")
    plots = h("div", (_task(comparison, task) for task in tasks), class_="cards")
    return content(legend(all_looks), h("h3", "Said and right"), note, plots, _errors(comparison))


def _task(comparison: Comparison, task: str) -> Html:
    all_looks, title = looks(comparison), words.title(task)
    curves = [curve for curve in comparison.views.curves if curve.task == task]
    chart = charts.reliability(curves, all_looks, f"{title}: what was said against what was right, by model")
    rows = [[mark(all_looks[curve.model]), words.percent(point.said), words.percent(point.right),
             words.count(point.count)] for curve in curves for point in curve.bins if point.count]
    numbers = table(f"{title}: the curve in numbers", ["Model"], ["Said", "Right", "Answers"], rows)
    return h("article", h("h4", title), chart, fold("Numbers", numbers), class_="card")


def _errors(comparison: Comparison) -> Html | None:
    all_looks = looks(comparison)
    rows = [[f"{words.title(task)}, {words.spoken(name)}", *(measured(own.get(model)) for model in all_looks)]
            for (task, name, part), own in by_key(comparison.figures).items()
            if not part and ERRORS.search(name.lower())]
    if not rows:
        return None
    return content(h("h3", "Errors of calibration"),
                   table("Less is better", ["Figure"], marks(all_looks.values()), rows))
