"""The charts: altair describes them, vl-convert draws them as SVG that stands in the page and loads nothing.

Colours are the page's CSS variables, so that a chart follows light and dark with the text around it. Every function
gives one `<svg>`; what it shows is also in a table. altair and vl-convert are the extra `diptych[evaluate]`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from textwrap import wrap
from typing import Any

from diptych.core.errors import DiptychError
from diptych.evaluation.report import words
from diptych.evaluation.report.looks import Look
from diptych.evaluation.report.markup import Html, h
from diptych.evaluation.report.ranking import Trade
from diptych.evaluation.result import Cost, Curve, Figure, Point, Template

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--raised)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
WIDTH, LABELS, ROW = 216, 104, 15
"""Of a forest plot in CSS pixels: its width, that of its labels, and how high a model is. A telephone has the room."""

Looks = Mapping[str, Look]


def require() -> None:
    """DiptychError, with the command that installs them, when the packages that draw are missing. Ask before an hour
    of measuring, not after."""
    if missing := [name for name in ("altair", "vl_convert") if find_spec(name) is None]:
        raise DiptychError(f"the report's charts need {' and '.join(missing)}: pip install 'diptych[evaluate]'")


def forest(figures: Sequence[Figure], looks: Looks, label: str) -> Html:
    """Figures of one task with their intervals, model by model; a thin upright line is chance."""
    import altair as alt

    scale = 100 if words.is_share(figures[0].name) else 1
    rows = [{"figure": _wrapped(figure.name), "model": looks[figure.model].letter, "value": scale * figure.value,
             "low": scale * _or(figure.low, figure.value), "high": scale * _or(figure.high, figure.value),
             "text": f"{looks[figure.model].letter}  {words.value(figure.value, figure.name)}"}
            for figure in figures if math.isfinite(figure.value)]
    chances = {_wrapped(figure.name): scale * figure.chance for figure in figures if figure.chance is not None}
    letters = [look.letter for look in looks.values() if any(row["model"] == look.letter for row in rows)]
    step = ROW * len(letters) + 14
    y = alt.Y("figure:N", sort=list(dict.fromkeys(row["figure"] for row in rows)), title=None, axis=alt.Axis(
        labelExpr="split(datum.value, '\\n')", labelPadding=10, labelColor=INK, labelFontSize=12, labelLimit=0,
        minExtent=LABELS, maxExtent=LABELS, domain=False, ticks=False))
    offset = alt.YOffset("model:N", sort=letters, scale=alt.Scale(paddingInner=0, paddingOuter=0.3))
    x = alt.X("value:Q", title=None, axis=_axis("%" if scale == 100 else ""),
              scale=alt.Scale(zero=False, nice=False, padding=8))
    base = alt.Chart(alt.Data(values=rows)).encode(y=y, yOffset=offset)
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=alt.X("low:Q", title=None), x2="high:Q",
                                                           color=_colour(looks)),
        base.mark_point(filled=True, size=58, opacity=1).encode(x=x, color=_colour(looks), shape=_shape(looks)),
        base.mark_text(align="left", fontSize=11, color=INK).encode(x=alt.value(WIDTH + 10), text="text:N"),
    ]
    if chances:
        guesses = [{"figure": name, "chance": chance} for name, chance in chances.items()]
        layers.insert(0, alt.Chart(alt.Data(values=guesses)).mark_tick(
            orient="vertical", size=step - 10, thickness=1.5, color=SOFT).encode(y=y, x=alt.X("chance:Q", title=None)))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=alt.Step(step, **{"for": "position"})), label)


def pareto(trades: Sequence[Trade], looks: Looks, label: str, width: int) -> Html:
    """Quality × time × memory. Filled marks are worth a look; for a hollow one there is another that is as good, as
    fast and as small. Below 400 pixels, and for more than four models,
    letters stand for names."""
    import altair as alt

    first = trades[0]
    scale = 100 if words.is_share(first.figure.name) else 1
    times = [1000 * trade.latency_s for trade in trades]
    low, high = min(times) / 1.7, max(times) * 1.7
    rows = [{"model": (look := looks[trade.figure.model]).letter, "quality": scale * trade.figure.value,
             "low": scale * _or(trade.figure.low, trade.figure.value),
             "high": scale * _or(trade.figure.high, trade.figure.value), "ms": 1000 * trade.latency_s,
             "name": look.letter if width < 400 or len(trades) > 4 else f"{look.letter}  {_short(look.name)}",
             "memory": trade.memory / 1e9, "worth": trade.worth,
             "left": (1000 * trade.latency_s) ** 2 > low * high} for trade in trades]
    each = "picture" if first.rate.batch == 1 else f"batch of {first.rate.batch}"
    x = alt.X("ms:Q", title=f"milliseconds a {each} (left is better)", axis=alt.Axis(values=_ticks(low, high)),
              scale=alt.Scale(type="log", domain=[low, high], nice=False))
    best = "up" if first.figure.better == "higher" else "down"
    y = alt.Y("quality:Q", title=f"{words.spoken(first.figure.name)}{', %' if scale == 100 else ''} ({best} is better)",
              axis=_axis(""), scale=alt.Scale(zero=False, nice=True, padding=14))
    size = alt.Size("memory:Q", title="peak memory, GB", scale=alt.Scale(range=[70, 800], zero=True),
                    legend=_sizes([row["memory"] for row in rows]))
    base = alt.Chart(alt.Data(values=rows))
    marked = {"x": x, "y": y, "size": size, "shape": _shape(looks), "color": _colour(looks)}
    named = {"x": x, "y": y, "text": "name:N"}
    layers = [
        base.mark_rule(strokeWidth=1.5, color=SOFT, opacity=0.8).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
        base.transform_filter("datum.worth").mark_point(filled=True, opacity=1).encode(**marked),
        base.transform_filter("!datum.worth").mark_point(fill=PAPER, opacity=1, strokeWidth=2).encode(**marked),
        base.transform_filter("datum.left").mark_text(align="right", dx=-22, fontSize=12, color=INK).encode(**named),
        base.transform_filter("!datum.left").mark_text(align="left", dx=22, fontSize=12, color=INK).encode(**named),
    ]
    return _svg(alt.layer(*layers).properties(width=width, height=min(320, int(width * 0.8))), label)


def trend(points: Sequence[Point], looks: Looks, label: str) -> Html:
    """One figure over the runs of a job, with intervals, of the models that still take part."""
    import altair as alt

    scale = 100 if words.is_share(points[0].name) else 1
    rows = [{"model": looks[p.model].letter, "made": p.created[:19], "value": scale * p.value,
             "low": scale * _or(p.low, p.value), "high": scale * _or(p.high, p.value)} for p in points]
    x = alt.X("made:T", title=None, scale=alt.Scale(padding=12), axis=alt.Axis(tickCount=5, labelOverlap=True))
    y = alt.Y("value:Q", title=words.spoken(points[0].name) + (", %" if scale == 100 else ""), axis=_axis(""),
              scale=alt.Scale(zero=False, padding=10))
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=_colour(looks))
    layers = [base.mark_rule(strokeWidth=1.2, opacity=0.6).encode(y=alt.Y("low:Q", title=None), y2="high:Q"),
              base.mark_line(strokeWidth=1.8).encode(y=y),
              base.mark_point(filled=True, size=40, opacity=1).encode(y=y, shape=_shape(looks))]
    return _svg(alt.layer(*layers).properties(width=420, height=180), label)


def reliability(curves: Sequence[Curve], looks: Looks, label: str) -> Html:
    """How often what was said with some probability was right; on the dashed line both agree. Larger marks stand for
    more answers."""
    import altair as alt

    rows = [{"model": looks[curve.model].letter, "said": 100 * point.said, "right": 100 * point.right,
             "count": point.count} for curve in curves for point in curve.bins if point.count]
    whole = alt.Scale(domain=[0, 100])
    x = alt.X("said:Q", title="said, %", scale=whole, axis=_axis(""))
    y = alt.Y("right:Q", title="right, %", scale=whole, axis=_axis(""))
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=_colour(looks))
    size = alt.Size("count:Q", title="answers", scale=alt.Scale(range=[14, 200]),
                    legend=_sizes([row["count"] for row in rows]))
    ideal = alt.Chart(alt.Data(values=[{"said": 0, "right": 0}, {"said": 100, "right": 100}])).mark_line(
        strokeDash=[4, 4], strokeWidth=1.2, color=SOFT).encode(x=x, y=y)
    return _svg(alt.layer(ideal, base.mark_line(strokeWidth=1.6, opacity=0.8),
                          base.mark_point(filled=True, opacity=1).encode(size=size, shape=_shape(looks))
                          ).properties(width=280, height=280), label)


def prompts(templates: Sequence[Template], looks: Looks, label: str) -> Html:
    """One tick a prompt, a mark at the mean."""
    import altair as alt

    scale = 100 if words.is_share(templates[0].figure) else 1
    rows = [{"model": looks[t.model].letter, "value": scale * t.value} for t in templates if math.isfinite(t.value)]
    y = alt.Y("model:N", title=None, sort=[look.letter for look in looks.values()],
              axis=alt.Axis(domain=False, ticks=False, labelPadding=8, labelColor=INK, labelFontSize=12))
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=_axis("%" if scale == 100 else ""))
    base = alt.Chart(alt.Data(values=rows)).encode(y=y, color=_colour(looks))
    return _svg(alt.layer(
        base.mark_tick(thickness=1.6, size=17, opacity=0.75).encode(x=x),
        base.transform_aggregate(value="mean(value)", groupby=["model"]).mark_point(
            filled=True, size=90, opacity=1, stroke=PAPER, strokeWidth=1.5).encode(x=x, shape=_shape(looks)),
    ).properties(width=320, height=alt.Step(32)), label)


def throughput(costs: Sequence[Cost], what: str, looks: Looks, label: str) -> Html:
    """Examples a second by batch size, both on logarithmic axes: a straight line up means that batches pay."""
    import altair as alt

    rows = [{"model": looks[cost.model].letter, "batch": rate.batch, "rate": rate.per_second}
            for cost in costs for rate in cost.rates if rate.what == what and rate.per_second > 0]
    batches, rates = sorted({row["batch"] for row in rows}), [row["rate"] for row in rows]
    low, high = min(rates) / 1.4, max(rates) * 1.4
    x = alt.X("batch:Q", title="batch size", scale=alt.Scale(type="log", nice=False, padding=14),
              axis=alt.Axis(values=batches, grid=False, format="d"))
    y = alt.Y("rate:Q", title=f"{'pictures' if what == 'images' else 'queries'} a second",
              scale=alt.Scale(type="log", domain=[low, high], nice=False),
              axis=alt.Axis(values=_ticks(low, high), format="~s"))
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=_colour(looks))
    return _svg(alt.layer(
        base.mark_line(strokeWidth=1.8), base.mark_point(filled=True, size=64, opacity=1).encode(shape=_shape(looks)),
        base.transform_filter(f"datum.batch === {batches[-1]}").mark_text(dx=14, fontSize=12, color=INK).encode(
            text="model:N", color=alt.value(INK)),
    ).properties(width=300, height=220), label)


def _colour(looks: Looks) -> Any:
    import altair as alt

    return alt.Color("model:N", legend=None, scale=alt.Scale(domain=[look.letter for look in looks.values()],
                                                             range=[look.colour for look in looks.values()]))


def _shape(looks: Looks) -> Any:
    import altair as alt

    return alt.Shape("model:N", legend=None, scale=alt.Scale(domain=[look.letter for look in looks.values()],
                                                             range=[look.shape for look in looks.values()]))


def _axis(unit: str) -> Any:
    import altair as alt

    return alt.Axis(tickCount=4, labelFlush=False, labelExpr=f"datum.label + '{unit}'")


def _sizes(of: Sequence[float]) -> Any:
    """The legend of sizes: rings, whatever the marks, for a tenth, a half and all of the largest, to one digit."""
    import altair as alt

    largest = float(f"{max(of):.0e}")
    return alt.Legend(orient="bottom", direction="horizontal", symbolType="circle", symbolFillColor="transparent",
                      symbolStrokeColor=SOFT, symbolStrokeWidth=1.5, values=[largest / 10, largest / 2, largest])


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … between two positive numbers; every power of ten alone where that is many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]


def _svg(chart: Any, label: str) -> Html:
    """The chart as an element for the page: as wide as there is room, with ids that are nobody else's."""
    import altair as alt
    import vl_convert

    themed = (chart.configure(aria=False, font=FONT, background="transparent", padding=4)
              .configure_view(stroke=None)
              .configure_axis(labelColor=SOFT, titleColor=SOFT, titleFontWeight="normal", titleFontSize=12,
                              labelFontSize=11, gridColor=LINE, domainColor=LINE, tickColor=LINE, titlePadding=10)
              .configure_legend(labelColor=SOFT, titleColor=SOFT, titleFontWeight="normal", titleFontSize=12,
                                labelFontSize=11, titlePadding=8))
    # not by `save`, which checks the description against its schema twice: that is half of the time
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    drawn = vl_convert.vegalite_to_svg(themed.to_dict(validate=False), vl_version=version)
    own = sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", drawn)
    drawn = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", drawn)
    return Html(drawn.replace("<svg", str(h("svg", role="img", aria_label=label)).removesuffix("></svg>"), 1))


def _wrapped(name: str) -> str:
    return "\n".join(wrap(words.spoken(name), 15))


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"


def _or(number: float, other: float) -> float:
    return other if math.isnan(number) else number
