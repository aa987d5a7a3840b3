"""Figures and differences as they stand in the page's tables."""

from collections.abc import Iterable, Mapping

from diptych.evaluation.report import words
from diptych.evaluation.report.looks import Look, mark
from diptych.evaluation.report.markup import Html, content, h, number, unseen
from diptych.evaluation.result import Difference, Figure

MARKS = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}


def measured(figure: Figure | None, *after: object, class_: str = "") -> Html:
    """The cell of a figure: its value, what comes after it, and below its interval."""
    if figure is None:
        return number(words.NONE)
    around = h("small", words.interval(figure.low, figure.high, figure.name))
    return number(words.value(figure.value, figure.name), *after, around, class_=class_)


def what(named: str, figures: Mapping[str, Figure]) -> Html:
    """The head of a row: what it is of, how many samples, what chance is, and if less is better."""
    notes: list[str] = []
    if figure := next(iter(figures.values()), None):
        notes.append(words.plural(figure.count, "sample"))
        notes += [] if figure.chance is None else [f"chance {words.value(figure.chance, figure.name)}"]
        notes += ["less is better"] if figure.better == "lower" else []
    return content(named, h("small", " · ".join(notes)))


def versus(difference: Difference) -> Html:
    """The mark of a difference, with its verdict for those who do not see it."""
    said = f"{words.verdict(difference)} ({words.change(difference)})"
    shown = h("span", MARKS[difference.verdict], aria_hidden="true")
    return h("span", shown, unseen(difference.verdict), class_=f"mark {difference.verdict.split()[0]}", title=said)


def marks(looks: Iterable[Look]) -> list[Html]:
    """The heads of columns that are models."""
    return [mark(look) for look in looks]
