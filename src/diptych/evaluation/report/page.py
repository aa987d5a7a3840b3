"""The page: one HTML file that asks nobody for anything. Styles, script, charts and pictures are inside, and a content
security policy forbids the rest."""

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from diptych.evaluation.report import words
from diptych.evaluation.report.looks import shapes
from diptych.evaluation.report.markup import Html, h
from diptych.evaluation.report.sections import (
    calibration,
    cost,
    domains,
    fairness,
    history,
    overview,
    pictures,
    prompts,
    provenance,
    quality,
)
from diptych.evaluation.result import Comparison

HERE = Path(__file__).parent
SECTIONS = {
    "overview": overview.section, "history": history.section, "quality": quality.section, "pictures": pictures.section,
    "prompts": prompts.section, "calibration": calibration.section, "domains": domains.section,
    "fairness": fairness.section,
    "cost": cost.section, "provenance": provenance.section}

MARK = (("picture", "M2 2.5 15 6v16L2 25.5Z M11.2 10.4a2.3 2.3 0 1 0-4.6 0a2.3 2.3 0 1 0 4.6 0Z"),
        ("text", "M30 2.5 17 6v16l13 3.5Z M19.5 10.3l8-1.8v1.9l-8 1.6Z M19.5 13.9l8-.7v1.9l-8 .5Z M19.5 17.5l5 .7v1.8"
                 "l-5-.9Z"))
"""The house's sign: two panels on a hinge."""


def page(comparison: Comparison) -> str:
    """The whole file. DiptychError when the packages that draw charts are missing."""
    style, script = (Html((HERE / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    found = {name: section for name, make in SECTIONS.items() if (section := make(comparison)) is not None}
    names = [model.name for model in comparison.models]
    policy = (f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
              "base-uri 'none'; form-action 'none'")
    head = h("head", h("meta", charset="utf-8"), h("meta", http_equiv="Content-Security-Policy", content=policy),
             h("meta", name="viewport", content="width=device-width, initial-scale=1"),
             h("meta", name="color-scheme", content="light dark"),
             h("title", f"{words.listing(names)} on {comparison.data.name} · Diptych"), h("style", style))
    body = h("body", shapes(), _header(comparison, names), _tabs(list(found)), h("main", (
        _panel(name, section, first=i == 0) for i, (name, section) in enumerate(found.items()))),
        h("script", _json(pictures.payload(comparison)), type="application/json", id="data"), h("script", script))
    return f"<!doctype html>\n{h('html', head, body, lang='en')}\n"


def _header(comparison: Comparison, names: list[str]) -> Html:
    panels = (h("path", class_=f"panel-{panel}", fill_rule="evenodd", d=d) for panel, d in MARK)
    sign = h("svg", panels, class_="sign", viewBox="0 0 32 28", aria_hidden="true")
    half = h("svg", h("path", d="M12 3a9 9 0 0 0 0 18Z"), h("circle", cx=12, cy=12, r=8.25), viewBox="0 0 24 24",
             aria_hidden="true")
    theme = h("button", half, type="button", id="theme", class_="icon", aria_label="Dark appearance",
              aria_pressed="false")
    named = names if len(names) <= 3 else [f"{len(names)} models"]
    after = [*([","] * (len(named) - 2)), " and ", ""][-len(named):]
    spans = ([h("span", name, "," if then == "," else None), then.replace(",", " ")]
             for name, then in zip(named, after, strict=True))
    title = h("h1", spans, h("i", " on "), h("span", comparison.data.name))
    made = h("p", f"{comparison.provenance.suite} · {comparison.provenance.created[:10]}", class_="made")
    return h("header", h("p", sign, "Diptych", class_="brand"), theme, title, made, class_="top")


def _tabs(names: list[str]) -> Html:
    tabs = (h("a", words.title(name), role="tab", id=f"tab-{name}", href=f"#{name}", aria_controls=name,
              aria_selected="true" if i == 0 else "false", tabindex=None if i == 0 else -1)
            for i, name in enumerate(names))
    return h("nav", h("div", tabs, role="tablist", aria_label="Sections"), class_="tabs")


def _panel(name: str, section: Html, *, first: bool) -> Html:
    heading = h("h2", words.title(name))
    return h("section", heading, section, role="tabpanel", id=name, aria_labelledby=f"tab-{name}", hidden=not first)


def _json(value: object) -> Html:
    """JSON that no script element ends in: "<" is written as what a string may have in its place."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c"))


def _hash(inline: str) -> str:
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"
