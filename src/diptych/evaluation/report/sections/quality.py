"""Every figure by task, the parts of the data, and the tests between models."""

import math
import re
from collections.abc import Iterable, Sequence

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.cells import marks, measured, versus, what
from diptych.evaluation.report.looks import legend, looks, mark
from diptych.evaluation.report.markup import Html, content, fold, h, table
from diptych.evaluation.report.ranking import badness, by_key
from diptych.evaluation.result import Comparison, Difference, Figure

FAIRNESS = re.compile(r"^fairness| by |^(skew|representation|association) of ")
"""Tasks of `evaluation.fairness`, by their names."""
APART = frozenset({"domains"})
"""Tasks with a page of their own."""
SHADES = 6
"""Classes of a heat table, besides none."""


def section(comparison: Comparison) -> Html | None:
    """None without figures. The headline's task comes first, the others as they were run."""
    own = [figure for figure in comparison.figures if not is_fairness(figure.task) and figure.task not in APART]
    tasks = sorted(_tasks(own), key=lambda task: task != comparison.headline[0])
    if not tasks:
        return None
    return content(legend(looks(comparison)), h("h3", "Figures by task"), cards(comparison, tasks),
                   by_slice(comparison, own), _differences(comparison))


def is_fairness(task: str) -> bool:
    """Whether a task has its place on the page of fairness."""
    return bool(FAIRNESS.search(task))


def cards(comparison: Comparison, tasks: Iterable[str]) -> Html:
    """A forest plot for each task, with its numbers behind it. Shares and other numbers have plots of their own."""
    return h("div", (_card(comparison, task) for task in tasks), class_="cards")


def by_slice(comparison: Comparison, figures: Sequence[Figure]) -> Html | None:
    """A table for each column and figure, the worst part first; the headline's open, others on demand."""
    groups: dict[str, dict[tuple[str, str], list[Figure]]] = {}
    for figure in figures:
        if figure.slice:
            groups.setdefault(_column(figure.slice), {}).setdefault((figure.task, figure.name), []).append(figure)
    parts: list[Html] = []
    for name, group in sorted(groups.items(), key=lambda item: item[0] != "language"):
        parts.append(h("h4", f"By {words.spoken(name)}"))
        for i, key in enumerate(sorted(group, key=lambda key: key != comparison.headline)):
            heat = _heat(comparison, group[key])
            parts.append(fold(f"{words.title(key[0])}, {words.spoken(key[1])}", heat, open_=i == 0))
    note = h("p", "Worst first, by the mean over the models. The stronger the colour, the worse.", class_="note")
    return content(h("h3", "Parts of the data"), note, parts) if parts else None


def _tasks(figures: Iterable[Figure]) -> list[str]:
    return list(dict.fromkeys(figure.task for figure in figures if not figure.slice))


def _column(part: str) -> str:
    return part.partition("=")[0]


def _card(comparison: Comparison, task: str) -> Html:
    own = [figure for figure in comparison.figures if figure.task == task and not figure.slice]
    all_looks, title = looks(comparison), words.title(task)
    plots: list[Html] = []
    for share in (True, False):
        group = [f for f in own if math.isfinite(f.value) and words.is_share(f.name) is share]
        if group:
            plots.append(charts.forest(group, all_looks, f"{title}: figures and intervals by model"))
    rows = [[what(words.spoken(name), found), *(measured(found.get(model)) for model in all_looks)]
            for (_, name, _), found in by_key(own).items()]
    numbers = table(f"{title} in numbers", ["Figure"], marks(all_looks.values()), rows)
    return h("article", h("h4", title), plots, fold("Numbers", numbers), class_="card")


def _heat(comparison: Comparison, figures: Sequence[Figure]) -> Html:
    """One figure by the values of one column."""
    all_looks, name = looks(comparison), _column(figures[0].slice)
    known = [bad for figure in figures if math.isfinite(bad := badness(figure))]
    least, most = min(known, default=0.0), max(known, default=0.0)
    rows: list[list[object]] = []
    for (_, _, part), own in sorted(by_key(figures).items(), key=lambda item: -_mean_badness(item[1].values())):
        value = part.partition("=")[2]
        label = h("span", value, data_language=value) if name == "language" else value
        samples = h("small", words.plural(max(figure.count for figure in own.values()), "sample"))
        cells = (measured(own.get(model), class_=shade(own.get(model), least, most)) for model in all_looks)
        rows.append([content(label, samples), *cells])
    caption = f"{words.title(figures[0].task)}, {words.spoken(figures[0].name)} by {words.spoken(name)}"
    return table(caption, [words.title(name)], marks(all_looks.values()), rows, "heat")


def _mean_badness(figures: Iterable[Figure]) -> float:
    known = [bad for figure in figures if math.isfinite(bad := badness(figure))]
    return sum(known) / len(known) if known else -math.inf


def shade(figure: Figure | None, least: float, most: float) -> str:
    """A class from h0, as good as it gets here, to the strongest."""
    if figure is None or most <= least or not math.isfinite(bad := badness(figure)):
        return "h0"
    return f"h{round(SHADES * (bad - least) / (most - least))}"


def _differences(comparison: Comparison) -> Html | None:
    groups: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        groups.setdefault(difference.task, []).append(difference)
    if not groups:
        return None
    first = comparison.headline[0]
    note = h("p", "The first model less the second, on the same samples. p is of the paired test; Holm’s p is "
             "corrected for all that was tested together, and decides at 5%. So many samples as are needed would "
             "tell a difference of this size four times in five.", class_="note")
    tests = [fold(words.title(task), _tests(comparison, groups[task]), open_=task == first)
             for task in sorted(groups, key=lambda task: task != first)]
    return content(h("h3", "Differences between models", id="differences"), note, tests)


def _tests(comparison: Comparison, differences: Sequence[Difference]) -> Html:
    all_looks = looks(comparison)
    rows: list[list[object]] = []
    for d in differences:
        name = words.spoken(d.name) + (f" ({d.slice})" if d.slice else "")
        models = content(mark(all_looks[d.model]), " less ", mark(all_looks[d.other]))
        rows.append([name, models, content(versus(d), " ", d.verdict), words.change(d), words.probability(d.p),
                     words.probability(d.p_holm), words.NONE if d.needed is None else words.count(d.needed),
                     words.count(d.count)])
    return table(f"{words.title(differences[0].task)}: paired tests", ["Figure", "Models", "The first is"],
                 ["Difference", "p", "Holm’s p", "Needed", "Samples"], rows, "tests")
