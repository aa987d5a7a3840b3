"""Pictures: what was taken for what, what each model found for the same query, and what it says of a picture. The
browser draws them from the page's data, because one picture stands in many places; here is the frame."""

from collections.abc import Iterable
from typing import Any

from diptych.evaluation.report.looks import looks
from diptych.evaluation.report.markup import Html, content, h
from diptych.evaluation.result import Comparison, Confusion, Described, Grid


def section(comparison: Comparison) -> Html | None:
    """None without confusions, grids and captions."""
    views = comparison.views
    if not views.confusions and not views.grids and not views.captions:
        return None
    note = "The pictures of this tab need JavaScript; their numbers are in comparison.json."
    return content(h("p", note, class_="scriptless"), _confusions(comparison) if views.confusions else None,
                   _grids(comparison) if views.grids else None, _captions(comparison) if views.captions else None)


def payload(comparison: Comparison) -> dict[str, Any]:
    """What the script draws from: models in the order of their letters, and pictures by number, so that a name that
    stands in a thousand places is written once."""
    views, all_looks = comparison.views, looks(comparison)
    number: dict[str, int] = {}
    confusions = [_confusion(each, list(all_looks), number) for each in views.confusions]
    grids = [_grid(grid, list(all_looks), number) for grid in views.grids]
    captions = [_caption(each, list(all_looks), number) for each in views.captions]
    return {"models": [{"name": look.name, "letter": look.letter, "tone": look.tone} for look in all_looks.values()],
            "confusions": sorted(confusions, key=lambda each: each["model"]), "grids": grids,
            "captions": captions, "pictures": [[id_, views.thumbnails.get(id_)] for id_ in number]}


def _confusion(confusion: Confusion, models: list[str], number: dict[str, int]) -> dict[str, Any]:
    place = {name: i for i, name in enumerate(confusion.classes)}
    cells = [[place[cell.true], place[cell.predicted], cell.count, _numbers(cell.ids, number)]
             for cell in confusion.cells]
    return {"model": models.index(confusion.model), "classes": confusion.classes, "cells": cells}


def _grid(grid: Grid, models: list[str], number: dict[str, int]) -> dict[str, Any]:
    found = [[[*_numbers([hit.id], number), round(hit.score, 4), int(hit.right)] for hit in grid.found.get(name, ())]
             for name in models]
    return {"query": grid.query, "language": grid.language, "expected": _numbers(grid.expected, number),
            "found": found, "rank": [grid.rank.get(name) for name in models]}


def _caption(described: Described, models: list[str], number: dict[str, int]) -> dict[str, Any]:
    said = [[described.said[name], round(described.cider[name], 3)] if name in described.said else None
            for name in models]
    return {"picture": _numbers([described.id], number)[0], "references": described.references, "said": said}


def _numbers(ids: Iterable[str], number: dict[str, int]) -> list[int]:
    return [number.setdefault(id_, len(number)) for id_ in ids]


def _confusions(comparison: Comparison) -> Html:
    return content(
        h("h3", "What was taken for what", id="confusion"),
        h("div", _choice("confusion-model", "Model"), class_="controls"),
        h("div", h("div", h("div", id="pairs"), h("div", id="matrix")), h("div", id="cell", aria_live="polite"),
          class_="beside"))


def _grids(comparison: Comparison) -> Html:
    alone = len(comparison.models) == 1
    kinds = {"all": "All", "left": "First wins", "right": "Second wins", "neither": "Both wrong"}
    if alone:
        kinds = {"all": "All", "neither": "Wrong"}
    buttons = (h("button", said, type="button", data_kind=kind, aria_pressed=str(kind == "all").lower())
               for kind, said in kinds.items())
    filters = h("div", buttons, class_="segments", role="group", aria_label="Which queries", id="kinds")
    find = h("input", type="search", id="find", autocomplete="off", spellcheck="false")
    search = h("label", h("span", "Query"), find)
    return content(
        h("h3", "The same query, side by side", id="grids"),
        h("p", "A model wins where its first right picture stands further up. Both are wrong where neither has a right "
          "picture in the first place. The largest difference comes first.", class_="note") if not alone else None,
        h("div", _choice("left", "First"), None if alone else _choice("right", "Second"), filters, search,
          class_="controls"),
        h("p", id="grid-count", class_="note", role="status"), h("div", id="grid-list"),
        h("h3", "Worst failures", id="failures"),
        h("div", _choice("failure-model", "Model"), class_="controls"), h("div", id="failure-list"))


def _captions(comparison: Comparison) -> Html:
    alone = all(len(each.said) == 1 for each in comparison.views.captions)
    first = "What is described worst comes first" if alone else (
        "Where models differ most comes first, then what all of them describe worst")
    return content(
        h("h3", "In words", id="captions"),
        h("p", f"{first}; the rest is drawn. The number is the picture's CIDEr.", class_="note"),
        h("div", id="caption-list"))


def _choice(id_: str, label: str) -> Html:
    return h("label", h("span", label), h("select", id=id_))
