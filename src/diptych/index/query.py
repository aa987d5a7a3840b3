"""The query language: `2:boat + sunset - people`.

Terms are joined by ` + ` and ` - ` with spaces around them, so that T-shirt and C++ are words. A number and a colon
before a term weigh it (`2:boat`; `16:9` stays text, for a digit follows). Double quotes keep what they enclose as it
is: `"rock + roll" - "2:1"`. Everything is a query: what cannot be an operator is text.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_OPERATOR = re.compile(r'"[^"]*"|(?P<sign>(?<!\S)[+\-−](?!\S))')
_WEIGHT = re.compile(r"(?P<weight>\d+(?:\.\d+)?):(?!\d)(?P<text>.*)", re.DOTALL)
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Term:
    """One text with its weight; a negative one pushes away."""

    text: str
    weight: float = 1.0


def parse(query: str, exclude: Sequence[str] = ()) -> tuple[Term, ...]:
    """The weighted terms of a query, then those to exclude at weight −1. Blank terms and weights of 0 are left out."""
    terms: list[Term] = []
    sign, start = 1.0, 0
    for found in _OPERATOR.finditer(query):
        if found["sign"]:
            terms += _term(query[start:found.start()], sign)
            sign, start = (1.0 if found["sign"] == "+" else -1.0), found.end()
    terms += _term(query[start:], sign)
    return (*terms, *(Term(text=text.strip(), weight=-1.0) for text in exclude if text.strip()))


def _term(said: str, sign: float) -> list[Term]:
    text, weight = said.strip(), 1.0
    if (found := _WEIGHT.fullmatch(text)) and math.isfinite(float(found["weight"])):
        text, weight = found["text"], float(found["weight"])
    text = _QUOTED.sub(r"\1", text).strip()
    return [Term(text=text, weight=sign * weight)] if text and weight else []
