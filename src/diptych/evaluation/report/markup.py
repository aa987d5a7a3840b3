"""HTML by function calls. What is not markup already is text, and text is escaped: no caller can forget it."""

import re
from collections.abc import Iterable, Sequence
from html import escape, unescape

VOID = frozenset({"input", "meta"})
"""Of those that are used, the elements that have no end. SVG's must have one."""


class Html(str):
    """Markup, to be taken as it is."""

    __slots__ = ()


def content(*children: object) -> Html:
    """Children one after another: markup as it is, other values escaped, nothing for None and False, the members of a
    list or a generator in turn."""
    return Html("".join(map(_rendered, children)))


def h(tag: str, *children: object, **attributes: str | float | None) -> Html:
    """An element. Attributes are keywords: `class_` is class, `aria_label` is aria-label; None and False leave one out,
    True gives it no value."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    return Html(f"<{tag}{written}>" if tag in VOID else f"<{tag}{written}>{content(*children)}</{tag}>")


def table(
    caption: object, left: Sequence[object], right: Sequence[object], rows: Iterable[Sequence[object]],
    class_: str | None = None,
) -> Html:
    """A table that scrolls by itself where it is too wide. `left` are the headers of columns of words, `right` of those
    of numbers. A row's first value is its header; a value that is a cell (`number`) stays as it is."""
    columns = [*left, *map(column, right)]
    head = h("tr", (each if _is_cell(each) else h("th", each, scope="col") for each in columns))
    body = (h("tr", h("th", row[0], scope="row"), (
        cell if _is_cell(cell) else number(cell) if i >= len(left) else h("td", cell)
        for i, cell in enumerate(row[1:], start=1))) for row in rows)
    name = content(caption)
    inside = h("table", h("caption", h("span", name)), h("thead", head), h("tbody", body), class_=class_)
    return h("div", inside, class_="scroll", tabindex=0, role="group", aria_label=plain(name))


def number(*children: object, class_: str = "") -> Html:
    """A cell of a table that holds a number."""
    return h("td", *children, class_=f"n {class_}".strip())


def column(*children: object) -> Html:
    """The header of a column of numbers."""
    return h("th", *children, scope="col", class_="n")


def unseen(*children: object) -> Html:
    """For those who listen rather than look."""
    return h("span", *children, class_="unseen")


def fold(summary: object, *children: object, open_: bool = False) -> Html:
    """What is shown on demand, and in print."""
    return h("details", h("summary", summary), *children, open=open_)


def facts(named: Iterable[tuple[object, object]], class_: str) -> Html:
    """Names with what they are."""
    return h("dl", (h("div", h("dt", name), h("dd", value)) for name, value in named), class_=class_)


def plain(markup: Html) -> str:
    """The text of markup that `h` made, without its elements."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _is_cell(value: object) -> bool:
    return isinstance(value, Html) and value.startswith(("<td", "<th"))


def _rendered(child: object) -> str:
    if isinstance(child, Html):
        return child
    if child is None or child is False:
        return ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return content(*child)
    return escape(str(child))


def _attribute(name: str, value: str | float | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
