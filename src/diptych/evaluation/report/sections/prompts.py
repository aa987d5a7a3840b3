"""How much the wording of a prompt matters: every template alone, model by model."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.cells import marks
from diptych.evaluation.report.looks import badge, looks
from diptych.evaluation.report.markup import Html, content, fold, h, table
from diptych.evaluation.result import Comparison, Template


def section(comparison: Comparison) -> Html | None:
    """None without templates."""
    known = [each for each in comparison.views.templates if math.isfinite(each.value)]
    names = dict.fromkeys(each.figure for each in known)
    parts = [_figure(comparison, [each for each in known if each.figure == name]) for name in names]
    return content(parts) if parts else None


def _figure(comparison: Comparison, templates: Sequence[Template]) -> Html:
    name, all_looks = templates[0].figure, looks(comparison)
    spreads: list[list[object]] = []
    extremes: list[list[object]] = []
    for model, look in all_looks.items():
        own = sorted((each for each in templates if each.model == model), key=lambda each: each.value)
        if own:
            spreads.append([badge(look), *_spread([each.value for each in own], name)])
            ends = [content(h("q", each.template), h("small", words.value(each.value, name)))
                    for each in (own[-1], own[0])] if own[0].value < own[-1].value else ["all alike"] * 2
            extremes.append([badge(look), *ends])
    chart = charts.prompts(templates, all_looks, f"{words.spoken(name)} with each prompt alone, by model")
    caption = h("figcaption", "A tick is one prompt used alone, the mark the mean of them.")
    return content(
        h("h3", f"{words.title(name)} by prompt"), h("figure", chart, caption, class_="card"),
        table("How far prompts differ", ["Model"], ["Prompts", "Mean", "Deviation", "Worst", "Best", "Range"], spreads),
        table("The best and the worst prompt", ["Model", "Best", "Worst"], [], extremes, "prompts"),
        fold("Every prompt", _every(comparison, templates)))


def _spread(values: Sequence[float], name: str) -> list[str]:
    deviation = words.amount(stdev(values), name) if len(values) > 1 else words.NONE
    return [words.count(len(values)), words.value(fmean(values), name), deviation, words.value(min(values), name),
            words.value(max(values), name), words.amount(max(values) - min(values), name)]


def _every(comparison: Comparison, templates: Sequence[Template]) -> Html:
    all_looks, name = looks(comparison), templates[0].figure
    found: dict[str, dict[str, float]] = {}
    for each in templates:
        found.setdefault(each.template, {})[each.model] = each.value
    rows = [[h("q", text), *(words.value(own.get(model, math.nan), name) for model in all_looks)]
            for text, own in sorted(found.items(), key=lambda item: -fmean(item[1].values()))]
    return table("Every prompt, best first by the mean over the models", ["Prompt"], marks(all_looks.values()), rows,
                 "prompts")
