"""The Markdown report: whole tables, and data that formats nothing."""

import re
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from comparisons import comparison
from diptych.evaluation.report.markdown import markdown, text
from diptych.evaluation.result import Views


def tables(document):
    """The cells of every row, table by table."""
    found = re.findall(r"(?:^\|.*\n)+", document, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]


def test_every_table_is_rectangular_and_every_part_is_there():
    document = markdown(comparison())
    assert document.startswith("# siglip2-base-patch16-224, diptych-tiny and mobileclip-s0 on pictograms\n\n")
    assert re.findall("^## (.*)", document, flags=re.MULTILINE) == [
        "Where they stand", "Main figures", "All figures", "Parts of the data, worst first",
        "Differences between models", "Since 2026-03-01 10:15", "Prompts", "Cost", "Provenance"]
    for table in tables(document):
        assert len(table) > 2 and len({len(row) for row in table}) == 1
    assert "not a picture 2, too many pixels 1" in document
    assert "\n- Not run: winoground: pictograms has no pairs" in document


def test_the_standing_says_who_is_best_and_what_would_tell():
    rows = [[cell.strip() for cell in row] for row in tables(markdown(comparison()))[0][2:]]
    assert [row[0] for row in rows] == ["siglip2-base-patch16-224", "diptych-tiny", "mobileclip-s0"]
    assert rows[0][2] == "best" and rows[2][2] == "worse"
    assert re.fullmatch(r"not distinguishable; about [\d,]+ samples would tell", rows[1][2])
    assert rows[1][3] == "11.2 ms"


def test_parts_are_worst_first():
    document = markdown(comparison())
    table = next(table for table in tables(document) if table[0][0].strip() == "Language")
    assert table[2][0].strip() == "hi" and table[-1][0].strip() == "en"


def test_parts_are_those_of_the_main_figures_and_only_the_worst():
    whole = comparison()
    model = whole.models[0].name
    figure = next(f for f in whole.figures if (f.model, f.task, f.name, f.slice) == (model, "zero_shot", "acc@1", ""))
    many = [replace(figure, name=name, slice=f"shelf=s{number:02}", value=number / 40, low=0, high=1)
            for number in range(13) for name in ("acc@1", "acc@5")]
    document = markdown(replace(whole, figures=(*whole.figures, *many)))
    assert "**Zero shot, acc@1 by shelf**" in document and "acc@5 by shelf" not in document
    table = next(table for table in tables(document) if table[0][0].strip() == "Shelf")
    assert [row[0].strip() for row in table[2:]] == [f"s{number:02}" for number in range(10)]
    assert "… and 3 where it is better." in document and "**Domains, acc@1 from photo by domain**" in document


def test_what_is_not_there_is_not_written():
    whole = comparison()
    bare = replace(whole, differences=(), costs=(), views=Views(), figures=whole.figures[:1], history=None)
    assert re.findall("^## (.*)", markdown(bare), flags=re.MULTILINE) == [
        "Where they stand", "Main figures", "All figures", "Provenance"]


def test_a_history_has_its_changes_and_its_runs():
    whole = comparison()
    assert whole.history is not None
    changes, runs = next((a, b) for a, b in pairwise(tables(markdown(whole))) if b[0][0].strip() == "Run")
    assert [cell.strip() for cell in changes[0]] == ["Figure", "Model", "Change", "Holm’s p", "It is", "Samples"]
    assert len(changes) - 2 == len(whole.history.differences) and 0 < len(runs) - 2 <= 20
    first = markdown(replace(whole, history=replace(whole.history, before="", differences=())))
    assert "## Since" not in first


def test_names_format_nothing():
    whole = comparison()
    hostile = "<script>|a|*b*\n# c"
    models = (replace(whole.models[0], name=hostile), *whole.models[1:])
    figures = tuple(replace(f, model=hostile) if f.model == whole.models[0].name else f for f in whole.figures)
    document = markdown(replace(whole, models=models, figures=figures, differences=(), costs=(), views=Views(),
                                data=replace(whole.data, name="`x`")))
    assert "<script>" not in document and "\n# c" not in document
    assert document.startswith("# &lt;script&gt;\\|a\\|\\*b\\* \\# c, diptych-tiny")
    assert all(len({len(row) for row in table}) == 1 for table in tables(document))


@settings(deadline=None)
@given(st.text())
def test_escaped_text_stays_in_its_cell(value):
    said = text(value)
    assert "\n" not in said and "<" not in said and not re.search(r"(?<!\\)(?:\\\\)*\|", said)
