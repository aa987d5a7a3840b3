"""What has changed since the run before, and how the main figures went."""

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.cells import versus
from diptych.evaluation.report.looks import legend, looks
from diptych.evaluation.report.markup import Html, content, h, table
from diptych.evaluation.result import Comparison, History, Point


def section(comparison: Comparison) -> Html | None:
    """None but for a job that runs again and again."""
    history = comparison.history
    return None if history is None else content(_since(history), _trend(comparison, history))


def _since(history: History) -> Html:
    if not history.before:
        return h("p", "This is the first run; the next one is compared with it.")
    rows = [[f"{words.title(d.task)}, {words.spoken(d.name)}", d.model, content(versus(d), " ", d.verdict),
             words.change(d), words.probability(d.p_holm), words.count(d.count)] for d in history.differences]
    note = h("p", "Now less then, on the samples of both runs that expect the same, by a paired test with Holm’s "
             "correction at 5%.", class_="note")
    heading = h("h3", f"Since {history.before[:16].replace('T', ' ')}")
    if not rows:
        return content(heading, h("p", "No model and no sample is in both runs."))
    return content(heading, note, table("Paired tests against the run before", ["Figure", "Model", "It is"],
                                        ["Difference", "Holm’s p", "Samples"], rows, "tests"))


def _trend(comparison: Comparison, history: History) -> Html | None:
    all_looks = looks(comparison)
    figures: dict[tuple[str, str], list[Point]] = {}
    for point in history.trend:
        if point.model in all_looks:
            figures.setdefault((point.task, point.name), []).append(point)
    drawn = [h("figure", charts.trend(points, all_looks, f"{words.title(task)}, {words.spoken(name)}, run by run"),
               h("figcaption", f"{words.title(task)}, {words.spoken(name)}"))
             for (task, name), points in figures.items() if len({point.created for point in points}) > 1]
    return content(h("h3", "Run by run"), legend(all_looks), drawn) if drawn else None
