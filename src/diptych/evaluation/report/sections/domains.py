"""What is learnt in one domain and tested in another: a matrix of accuracies for each model."""

import math

from diptych.evaluation.report import words
from diptych.evaluation.report.cells import measured
from diptych.evaluation.report.looks import badge, legend, looks
from diptych.evaluation.report.markup import Html, content, h, table
from diptych.evaluation.report.sections.quality import cards, shade
from diptych.evaluation.result import Comparison, Figure

TASK, LEARNT = "domains", "acc@1_from_"
"""The task of `evaluation.domains`, and how its figures of what was learnt in a domain begin."""
ALONE = "acc@1_zero_shot"


def section(comparison: Comparison) -> Html | None:
    """None where no shift between domains was measured."""
    own = [figure for figure in comparison.figures if figure.task == TASK]
    if not own:
        return None
    note = h("p", "A row is where a probe learnt, a column where it is tested; on the diagonal both are one. The last "
             "row is class names alone, without learning. The stronger the colour, the worse.", class_="note")
    matrices = [content(h("h4", badge(look)), _matrix([each for each in own if each.model == look.name], look.name))
                for look in looks(comparison).values() if any(each.model == look.name for each in own)]
    return content(legend(looks(comparison)), h("h3", "Learnt here, tested there"), note, matrices,
                   h("h3", "Figures"), cards(comparison, [TASK]))


def _matrix(figures: list[Figure], model: str) -> Html:
    cells = {(figure.name, figure.slice.partition("=")[2]): figure for figure in figures if figure.slice}
    tested = list(dict.fromkeys(where for _, where in cells))
    learnt = [name for name in dict.fromkeys(name for name, _ in cells) if name.startswith(LEARNT) or name == ALONE]
    known = [-figure.value for figure in cells.values() if math.isfinite(figure.value)]
    least, most = min(known, default=0.0), max(known, default=0.0)
    rows: list[list[object]] = [[_row(name), *(
        measured(found := cells.get((name, where)), class_=shade(found, least, most)) for where in tested)]
        for name in learnt]
    return table(f"{model}: accuracy by where it learnt (rows) and where it is tested (columns)", ["Learnt in"],
                 tested, rows, "heat")


def _row(name: str) -> str:
    return "nowhere: class names" if name == ALONE else words.spoken(name.removeprefix(LEARNT))
