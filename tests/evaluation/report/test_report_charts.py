"""The charts: SVG that loads nothing, follows the page's colours, and has names of its own."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from comparisons import comparison
from diptych.core.errors import DiptychError
from diptych.evaluation.report import charts
from diptych.evaluation.report.looks import looks
from diptych.evaluation.report.ranking import trades

WHOLE = comparison()
LOOKS = looks(WHOLE)
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text") if element.text]


def figures(task):
    return [figure for figure in WHOLE.figures if figure.task == task and not figure.slice]


def test_a_forest_has_every_figure_and_model_and_a_line_for_chance():
    svg = charts.forest(figures("compositional"), LOOKS, "<label>")
    said = texts(svg)
    assert {"text", "image", "group"} <= set(said)
    assert sum(bool(re.match(r"[ABC]\s", text)) for text in said) == 9
    ticks = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class", "").startswith("mark-rect")]
    assert ticks and len(list(ticks[0])) == 3
    assert ET.fromstring(svg).get("aria-label") == "<label>"


def test_colours_are_the_pages_and_nothing_is_loaded():
    svg = charts.pareto(trades(WHOLE.headline, WHOLE.figures, WHOLE.costs), LOOKS, "trade", 600)
    assert set(re.findall(r"(?:fill|stroke)=\"([^\"]+)\"", svg)) <= {
        "none", "transparent", *(f"var(--{name})" for name in ("ink", "soft", "line", "raised", "m1", "m2", "m3"))}
    assert "style=" not in svg and not re.findall(r"(?:href|src)=|url\((?!#)", svg)
    assert [text for text in texts(svg) if text.startswith(("A", "B", "C"))]


def test_figures_without_an_interval_or_a_value():
    unknown = [replace(figure, value=math.nan) for figure in figures("dense")[:1]]
    svg = charts.forest([*figures("dense")[1:], *unknown], LOOKS, "dense")
    assert "NaN" not in svg and len(re.findall(r">[ABC] ", svg)) == 2


def test_two_charts_share_no_ids():
    one, other = (set(re.findall(r' id="([^"]+)"', charts.reliability(WHOLE.views.curves[:n], LOOKS, "curve")))
                  for n in (1, 2))
    assert not one & other


def test_every_model_keeps_its_shape_and_colour():
    assert [look.letter for look in LOOKS.values()] == ["A", "B", "C"]
    assert len({look.shape for look in LOOKS.values()}) == len({look.colour for look in LOOKS.values()}) == 3
    alone = charts.throughput([WHOLE.costs[2]], "images", LOOKS, "rate")  # C stays C
    assert "var(--m3)" in alone and "var(--m1)" not in alone


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (3.0, 300.0, [5, 10, 20, 50, 100, 200]), (0.5, 60_000.0, [1, 10, 100, 1000, 10_000]), (11.0, 19.0, [])])
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    assert charts._ticks(low, high) == pytest.approx(ticks)


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    with pytest.raises(DiptychError, match=r"altair and vl_convert: pip install 'diptych\[evaluate\]'"):
        charts.require()
