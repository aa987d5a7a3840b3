"""How a model looks, everywhere the same: a letter, a colour and a shape, so that no one of them has to do alone. The
best by the headline is A. Colours are CSS variables that know light and dark; after Okabe and Ito (2008) they stay
apart for eyes that see fewer colours."""

from collections.abc import Mapping
from dataclasses import dataclass

from diptych.evaluation.report.markup import Html, h
from diptych.evaluation.report.ranking import order
from diptych.evaluation.result import Comparison

TONES = 8
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
"""By Vega's names; `_PATHS` draws the same for the page."""

_PATHS = (
    "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z", "M-4.5-4.5h9v9h-9Z", "M0-5 5.6 4.6H-5.6Z", "M0-6 5 0 0 6-5 0Z",
    "M-2-5.5h4v3.5h3.5v4H2v3.5h-4V2h-3.5v-4H-2Z", "M0 5 5.6-4.6H-5.6Z", "M5 0-4.6 5.6V-5.6Z", "M-5 0 4.6 5.6V-5.6Z")


@dataclass(frozen=True, kw_only=True)
class Look:
    """Of one model. `tone` counts from 1."""

    name: str
    letter: str
    tone: int

    @property
    def colour(self) -> str:
        """As CSS."""
        return f"var(--m{self.tone})"

    @property
    def shape(self) -> str:
        """As Vega calls it."""
        return SHAPES[self.tone - 1]


def looks(comparison: Comparison) -> Mapping[str, Look]:
    """Of every model by its name, best first."""
    return {name: Look(name=name, letter=_letter(i), tone=i % TONES + 1) for i, name in enumerate(order(comparison))}


def badge(look: Look) -> Html:
    """Shape, letter and name."""
    return h("span", glyph(look.tone), h("b", look.letter), " ", h("span", look.name, class_="name"), class_="model")


def mark(look: Look) -> Html:
    """Shape and letter, where the name is too long; it is in the title."""
    return h("span", glyph(look.tone), h("b", look.letter), class_="model", title=look.name)


def glyph(tone: int) -> Html:
    """A model's shape in its colour."""
    return h("svg", h("use", href=f"#shape-{tone}"), class_=f"glyph m{tone}", viewBox="-7 -7 14 14", aria_hidden="true")


def shapes() -> Html:
    """What `glyph` refers to: once in every page."""
    drawn = (h("path", d=path, id=f"shape-{i}") for i, path in enumerate(_PATHS, start=1))
    return h("svg", h("defs", drawn), class_="shapes", width=0, height=0, aria_hidden="true")


def legend(all_looks: Mapping[str, Look]) -> Html:
    """Every model, for the head of a page of charts."""
    return h("ul", (h("li", badge(look)) for look in all_looks.values()), class_="legend", aria_label="Models")


def _letter(i: int) -> str:
    return chr(ord("A") + i) if i < 26 else f"M{i + 1}"


