"""The first tab: the verdict, who stands where, what quality costs, and how much data there was."""

import math
from collections.abc import Mapping

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.cells import marks, measured, versus, what
from diptych.evaluation.report.looks import Look, badge, looks
from diptych.evaluation.report.markup import Html, column, content, facts, h, table, unseen
from diptych.evaluation.report.ranking import against, by_key, main_keys, order, ranked, smallest, trades
from diptych.evaluation.result import Comparison, Cost, Difference, Figure


def section(comparison: Comparison) -> Html:
    """Always there."""
    return content(_verdict(comparison), _standing(comparison), _main(comparison), _pareto(comparison),
                   _data(comparison))


def _verdict(comparison: Comparison) -> Html | None:
    if not comparison.sentences:
        return None
    first, *rest = comparison.sentences
    return h("div", h("p", first, class_="lead"), (h("p", sentence) for sentence in rest), class_="verdict")


def _standing(comparison: Comparison) -> Html:
    task, name = comparison.headline
    figures = {figure.model: figure for figure in ranked(comparison.headline, comparison.figures)}
    best, models = order(comparison)[0], {model.name: model for model in comparison.models}
    differences, costs = against(best, comparison.differences), {cost.model: cost for cost in comparison.costs}
    ends = [end for f in figures.values() for end in (f.low, f.high, f.value) if math.isfinite(end)]
    rows: list[list[object]] = []
    for look in looks(comparison).values():
        figure, model = figures.get(look.name), models[look.name]
        notes = f"{model.dim} dimensions · {model.image_size} px{'' if model.general else ' · narrow domain'}"
        bar = _bar(figure, look, min(ends), max(ends)) if figure and ends else None
        said = "best" if look.name == best and figure else _against(differences.get((look.name, (task, name, ""))))
        rows.append([content(badge(look), h("small", notes)), measured(figure), h("td", bar, class_="bars"), said,
                     *(_taken(costs.get(look.name)) if costs else [])])
    left = ["Model", column(words.spoken(name)), h("th", unseen("Interval"), scope="col", class_="bars"),
            "Against the best"]
    caption = f"By {words.spoken(name)} in {words.spoken(task)}, with 95% intervals"
    return content(h("h3", "Where they stand"), table(caption, left, _asked(costs), rows, "standing"))


def _against(difference: Difference | None) -> Html | str:
    if difference is None:
        return "not tested"
    if difference.verdict == "not distinguishable":
        return content("not distinguishable", h("small", words.needed(difference)))
    return content(versus(difference), f" {difference.verdict}", h("small", words.change(difference)))


def _asked(costs: Mapping[str, Cost]) -> list[str]:
    """The heads of what `_taken` gives."""
    batches = {rate.batch for cost in costs.values() if (rate := smallest(cost))}
    time = f"Time a batch of {min(batches)}" if batches and batches != {1} else "Time a picture"
    return [time, "Peak memory"] if costs else []


def _taken(cost: Cost | None) -> list[str]:
    rate = smallest(cost) if cost else None
    return [words.duration(rate.p50_s) if rate else words.NONE, words.size(cost.peak_memory) if cost else words.NONE]


def _bar(figure: Figure, look: Look, low: float, high: float) -> Html | None:
    """The interval as a line with the model's shape at the value, on one scale for the column."""
    if not math.isfinite(figure.value):
        return None

    def at(value: float) -> float:
        return round(8 + 134 * (value - low) / (high - low or 1), 1)

    ends = (figure.low, figure.high) if math.isfinite(figure.low + figure.high) else (figure.value, figure.value)
    line = h("line", x1=at(ends[0]), x2=at(ends[1]), y1=8, y2=8)
    shape = h("use", href=f"#shape-{look.tone}", x=at(figure.value), y=8)
    return h("svg", line, shape, class_=f"interval m{look.tone}", viewBox="0 0 150 16", width=150, height=16,
             aria_hidden="true")


def _main(comparison: Comparison) -> Html:
    figures, all_looks, best = by_key(comparison.figures), looks(comparison), order(comparison)[0]
    differences = against(best, comparison.differences)
    rows: list[list[object]] = []
    for key in main_keys(comparison.headline, comparison.figures):
        own, row = figures.get(key, {}), []
        for name in all_looks:
            difference = differences.get((name, key))
            row.append(measured(own.get(name), versus(difference) if difference else None))
        rows.append([what(f"{words.title(key[0])}, {words.spoken(key[1])}", own), *row])
    legend = h("p", "▲ better, ▼ worse, ≈ not distinguishable from ", badge(all_looks[best]), ", by a paired test with "
               "Holm’s correction at 5%. No mark: not tested.", class_="note")
    return content(h("h3", "Main figures"),
                   table("One figure of every task", ["Figure"], marks(all_looks.values()), rows, "main"),
                   legend if len(all_looks) > 1 else None)


def _pareto(comparison: Comparison) -> Html | None:
    points = trades(comparison.headline, comparison.figures, comparison.costs)
    if len(points) < 2:
        return None
    all_looks = looks(comparison)
    label = f"{words.spoken(comparison.headline[1])} by the time of a picture and peak memory, model by model"
    drawn = (h("div", charts.pareto(points, all_looks, label, width), class_=class_)
             for width, class_ in ((600, "wide"), (270, "narrow")))
    filled, hollow = ([h("li", badge(all_looks[point.figure.model])) for point in points if point.worth is worth]
                      for worth in (True, False))
    caption = [h("p", "Filled: no other is as good, as fast and as small."), h("ul", filled)]
    if hollow:
        caption += [h("p", "Hollow: another is all three, and better in one."), h("ul", hollow)]
    return content(h("h3", "What quality costs"), h("figure", drawn, h("figcaption", caption), class_="beside"))


def _data(comparison: Comparison) -> Html:
    data = comparison.data
    counts = [(words.spoken(name), words.count(count)) for name, count in data.counts.items()]
    links: list[Html] = []
    if data.skipped:
        counts.append(("could not be used", words.count(len(data.skipped))))
        links.append(h("p", h("a", "What could not be used, and why", href="#skipped"), class_="note"))
    if left_out := comparison.provenance.left_out:
        said = f"{words.plural(len(left_out), 'task')} could not be run, and why"
        links.append(h("p", h("a", said, href="#left-out"), class_="note"))
    name = h("p", h("b", data.name), f", revision {data.revision}" if data.revision else None)
    return content(h("h3", "The data"), name, facts(counts, "counts"), links)


