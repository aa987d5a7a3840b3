"""The page as text: it is whole, closed, safe against its data, and says nothing where there is nothing to say."""

import json
import math
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from comparisons import comparison
from diptych.evaluation.report.files import write_report
from diptych.evaluation.report.markup import Html, content, h, plain, table
from diptych.evaluation.report.page import HERE, SECTIONS, page
from diptych.evaluation.report.record import from_json, to_json
from diptych.evaluation.report.sections.cost import per_million
from diptych.evaluation.report.sections.pictures import payload
from diptych.evaluation.report.sections.quality import is_fairness
from diptych.evaluation.result import Cell, Confusion, Described, Grid, Template, Views

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Document(HTMLParser):
    """Elements in order, with their attributes and text; fails where one is closed that is not open."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text():
    return page(comparison())


@pytest.fixture(scope="module")
def document(text):
    return Document(text)


def hostile():
    """Everything that comes from data is an attack."""
    whole = comparison()
    model = whole.models[0].name

    def renamed(records, **names):
        return tuple(replace(each, **{field: HOSTILE for field in names if getattr(each, field) == names[field]})
                     for each in records)

    confusion = Confusion(model=HOSTILE, classes=(HOSTILE, "b"),
                          cells=(Cell(true=HOSTILE, predicted="b", count=1, ids=(HOSTILE,)),))
    grid = replace(whole.views.grids[0], query=HOSTILE, language=HOSTILE, expected=(HOSTILE,))
    described = Described(id=HOSTILE, references=(HOSTILE,), said={HOSTILE: HOSTILE}, cider={HOSTILE: 1.0})
    views = Views(grids=(grid, *whole.views.grids[1:]), confusions=(confusion,), thumbnails={HOSTILE: HOSTILE},
                  captions=(described,),
                  curves=renamed(whole.views.curves, model=model),
                  templates=(Template(model=HOSTILE, template=HOSTILE, figure="acc@1", value=0.5),))
    provenance = replace(whole.provenance, suite=HOSTILE, hardware=HOSTILE, versions={HOSTILE: HOSTILE},
                         left_out={HOSTILE: HOSTILE})
    data = replace(whole.data, name=HOSTILE, revision=HOSTILE, counts={HOSTILE: 1}, skipped=((HOSTILE, HOSTILE),))
    sliced = replace(whole.figures[0], model=HOSTILE, slice=f"{HOSTILE}={HOSTILE}")
    named = replace(whole.figures[0], model=HOSTILE, task=HOSTILE, name=HOSTILE)
    figures = (*renamed(whole.figures, model=model), sliced, named)
    return replace(whole, models=renamed(whole.models, name=model), figures=figures, data=data, provenance=provenance,
                   differences=renamed(renamed(whole.differences, model=model), other=model),
                   costs=renamed(whole.costs, model=model), views=views, sentences=(HOSTILE,))


def test_nothing_is_asked_of_anybody(text, document):
    assert not [url for url in re.findall(r"https?://[^\s\"'<)]+", text) if not url.startswith("http://www.w3.org/")]
    for name, attributes in document.elements:
        assert name not in ("link", "iframe", "object", "embed", "base", "form"), name
        assert not attributes.keys() & {"src", "srcset", "action", "style", "onclick", "onload"}, (name, attributes)
        for value in (attributes.get("href"), attributes.get("xlink:href")):
            assert value is None or value.startswith("#")
    assert "@import" not in text and "url(" not in (HERE / "report.css").read_text()


def test_the_policy_allows_this_style_and_this_script_and_no_other(text, document):
    policy = next(a["content"] for a in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert len(inside) == 1
        assert rules[rule] == f"'sha256-{b64encode(sha256(inside[0].encode()).digest()).decode()}'"


def test_what_comes_from_data_is_text():
    attacked = page(hostile())
    document = Document(attacked)
    assert attacked.count("<script") == 2 and len(document.all("script")) == 2
    assert not document.all("img") and not any("onerror" in attributes for _, attributes in document.elements)
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', attacked)[0])
    assert data["grids"][0]["query"] == HOSTILE and HOSTILE in [id_ for id_, _ in data["pictures"]]
    assert data["confusions"][0]["classes"][0] == HOSTILE
    assert data["captions"][0]["references"] == [HOSTILE] and [HOSTILE, 1.0] in data["captions"][0]["said"]
    assert "".join(document.texts["title"]).startswith(HOSTILE)


def test_every_tab_has_its_panel_and_the_first_is_open(document):
    tabs = [a for a in document.all("a") if a.get("role") == "tab"]
    panels = [a for a in document.all("section") if a.get("role") == "tabpanel"]
    assert [a["aria-controls"] for a in tabs] == [a["id"] for a in panels] == list(SECTIONS)
    assert [a["aria-labelledby"] for a in panels] == [a["id"] for a in tabs]
    assert [a["aria-selected"] for a in tabs] == ["true"] + ["false"] * (len(SECTIONS) - 1)
    assert [("hidden" in a) for a in panels] == [False] + [True] * (len(SECTIONS) - 1)


def test_headers_have_a_scope_ids_are_unique_and_headings_step_by_one(document):
    assert document.all("th") and all(a.get("scope") in ("row", "col") for a in document.all("th"))
    assert len(document.all("table")) == len(document.all("caption"))
    ids = [a["id"] for _, a in document.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    targets = {a["href"][1:] for name, a in document.elements if name in ("a", "use")}
    assert targets <= set(ids)
    levels = [int(name[1]) for name, _ in document.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for attributes in document.all("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")


def test_tabs_without_data_do_not_appear():
    whole = comparison()
    bare = replace(whole, views=Views(), costs=(), differences=(), sentences=(), history=None,
                   figures=tuple(f for f in whole.figures if not is_fairness(f.task) and f.task != "domains"))
    tabs = [a["aria-controls"] for a in Document(page(bare)).all("a") if a.get("role") == "tab"]
    assert tabs == ["overview", "quality", "provenance"]


def only(model, records):
    return tuple(record for record in records if record.model == model)


def test_one_model_no_figures_and_numbers_that_are_none():
    whole = comparison()
    name = whole.models[0].name
    views = Views(confusions=only(name, whole.views.confusions), templates=only(name, whole.views.templates),
                  curves=only(name, whole.views.curves), grids=whole.views.grids)
    figures = tuple(replace(f, value=math.nan, low=math.nan, high=math.nan) for f in only(name, whole.figures))
    alone = replace(whole, models=whole.models[:1], figures=figures, differences=(), costs=only(name, whole.costs),
                    views=views)
    assert "nan" not in re.sub(r"<(script|style)>.*?</\1>", "", page(alone), flags=re.DOTALL).lower().split()
    empty = replace(alone, figures=(), costs=(), views=Views(), history=None)
    assert [a["id"] for a in Document(page(empty)).all("section")] == ["overview", "provenance"]


def test_eight_models_have_letters_colours_and_shapes_of_their_own():
    whole = comparison()
    names = [f"model {i}" for i in range(8)]
    figures = tuple(replace(whole.figures[0], model=name, value=0.9 - i / 10) for i, name in enumerate(names))
    costs = tuple(replace(whole.costs[i % 3], model=name) for i, name in enumerate(names))
    eight = replace(whole, models=tuple(replace(whole.models[0], name=name) for name in names), figures=figures,
                    differences=(), costs=costs, views=Views())
    found = page(eight)
    assert all(f"<b>{letter}</b> <span class=\"name\">model {i}</span>" in found for i, letter in enumerate("ABCDEFGH"))
    assert {f"#shape-{i}" for i in range(1, 9)} <= {a["href"] for a in Document(found).all("use")}


def test_a_grid_that_a_model_did_not_answer():
    whole = comparison()
    grid = Grid(query="q", language="", expected=(), found={}, rank={})
    data = payload(replace(whole, views=Views(grids=(grid,))))
    assert data["grids"][0]["rank"] == [None, None, None] and data["grids"][0]["found"] == [[], [], []]


def test_captions_alone_are_worth_a_tab_and_a_model_that_says_nothing_has_none():
    whole = comparison()
    views = Views(captions=whole.views.captions)
    said = payload(replace(whole, views=views))["captions"][0]["said"]
    assert [each is None for each in said] == [False, False, True]
    made = page(replace(whole, views=views))
    assert 'id="caption-list"' in made and 'id="grid-list"' not in made and "differ most" in made


def test_the_price_of_a_million():
    assert per_million(1000.0, 3.6) == pytest.approx(1.0)  # 1,000 s of a machine that costs 3.6 an hour


def test_markup_escapes_what_is_not_markup():
    assert h("p", "<b>", Html("<b>x</b>"), None, False, 0, ["&", (1,)]) == "<p>&lt;b&gt;<b>x</b>0&amp;1</p>"
    assert h("a", href='"x"', aria_label="a<b", hidden=True, open=False, class_=None) == (
        '<a href="&quot;x&quot;" aria-label="a&lt;b" hidden></a>')
    assert content() == "" and plain(h("p", "a", h("b", "<x>"), "b")) == "a <x> b"
    made = table("c", ["x"], ["y"], [["<", 1]])
    assert '<th scope="row">&lt;</th><td class="n">1</td>' in made and '<th scope="col" class="n">y</th>' in made


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """By WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_stands_out_at_least_4_5_times_and_marks_3_times(theme):
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", (HERE / "report.css").read_text())
    colours = {name: pair[theme] for name, *pair in found}
    for ground in ("paper", "raised"):
        for name in ("ink", "soft", "accent", "good"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in (f"m{i}" for i in range(1, 9)):
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)


def test_the_three_files(tmp_path, text):
    whole = comparison()
    path = write_report(whole, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["comparison.json", "report.html", "report.md"]
    assert path.read_text(encoding="utf-8") == text  # twice the same
    written = (path.parent / "comparison.json").read_text(encoding="utf-8")
    assert to_json(from_json(written)) == written == to_json(whole)
    assert (path.parent / "report.md").read_text(encoding="utf-8").startswith("# siglip2")


def test_a_job_has_a_tab_of_what_has_changed():
    whole = comparison()
    document = Document(page(whole))
    assert {"Since 2026-03-01 10:15", "Run by run"} <= set(document.texts["h3"]) and "History" in document.texts["h2"]
    assert any("run by run" in str(svg.get("aria-label")) for svg in document.all("svg"))
    first = Document(page(replace(whole, history=replace(whole.history, before="", differences=(), trend=()))))
    assert any("This is the first run" in text for text in first.texts["p"])
    none = Document(page(replace(whole, history=replace(whole.history, differences=()))))
    assert any("No model and no sample is in both runs" in text for text in none.texts["p"])
