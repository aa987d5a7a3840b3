"""The matrix of domains: a row for where it learnt, a column for where it is tested, shaded by how bad it is."""

import re
from dataclasses import replace

from comparisons import MODELS, comparison
from diptych.evaluation.report import words
from diptych.evaluation.report.markup import plain
from diptych.evaluation.report.sections import domains, quality


def test_every_cell_stands_where_it_was_learnt_and_tested():
    whole = comparison()
    section = domains.section(whole)
    tables = re.findall(r"<table.*?</table>", section)[: len(MODELS)]
    for model, table in zip(sorted(MODELS, key=MODELS.get, reverse=True), tables, strict=True):
        assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table) == ["Learnt in", "photo", "sketch"]
        for learnt in ("photo", "sketch"):
            row = next(row for row in re.findall(r"<tr>.*?</tr>", table) if f'scope="row">{learnt}<' in row)
            for cell, tested in zip(re.findall(r"<td.*?</td>", row), ("photo", "sketch"), strict=True):
                [figure] = [f for f in whole.figures if (f.model, f.task, f.name, f.slice) == (
                    model, "domains", f"acc@1_from_{learnt}", f"domain={tested}")]
                assert words.value(figure.value, figure.name) in cell
                assert ("h6" in cell or "h5" in cell or "h4" in cell or "h3" in cell) == (learnt != tested)


def test_it_is_not_told_twice_and_not_without_figures():
    whole = comparison()
    assert "Domains, acc@1 from photo" not in plain(quality.section(whole))
    assert domains.section(replace(whole, figures=tuple(f for f in whole.figures if f.task != "domains"))) is None
