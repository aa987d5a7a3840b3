"""Whether groups of people are treated alike: the figures of `evaluation.fairness`, and their groups."""

from diptych.evaluation.report.looks import legend, looks
from diptych.evaluation.report.markup import Html, content, h
from diptych.evaluation.report.sections.quality import by_slice, cards, is_fairness
from diptych.evaluation.result import Comparison


def section(comparison: Comparison) -> Html | None:
    """None where nothing was asked of groups."""
    own = [figure for figure in comparison.figures if is_fairness(figure.task)]
    if not own:
        return None
    tasks = dict.fromkeys(figure.task for figure in own if not figure.slice)
    note = h("p", "What is measured here is of this data and its groups, as somebody labelled them. It does not say "
             "that a model is fair.", class_="note")
    return content(legend(looks(comparison)), h("h3", "Figures by task"), note, cards(comparison, tasks),
                   by_slice(comparison, own))
