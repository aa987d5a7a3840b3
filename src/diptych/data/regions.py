"""Texts about parts of a picture, for a decoder that learns where things are: LocCa (arXiv 2403.19596), SigLIP 2.

The phrases of a caption (its n-grams) are shown to an open-vocabulary detector, any function from a picture and phrases
to regions; what it is sure of becomes three tasks in plain text: say the caption (`Cap: {caption}`), say where a phrase
is (`ARef: {phrase} : {box}`), say what is in a box (`GCap: {box} : {phrase}`). A box is written as four whole numbers.
The grid of a thousand steps a side and the order left, top, right, bottom are ours: the papers' were not found.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from diptych.core.types import Picture

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the picture's width and height."""

CAPTION = "Cap: "
"""What a caption is asked for with."""

STEPS = 1000
"""Positions along a side that a box's text can name."""

STOP_WORDS = frozenset(re.findall(r"\w+", """
    a an the this that these those some any my your his her its our their of in on at by for from to with without into
    onto over under and or but nor so as than is are was were be been being am do does did has have had it he she they
    we you i me him them us there here not no yes very just also only then if when while where who which what how out
    up down off about"""))
"""English words that no phrase begins or ends with."""

_PIECE = re.compile(r"[^\W_](?:[\w'’-]*\w)?|[^\w\s'’-]")
_NUMBERS = re.compile(r"\s*(\d+) +(\d+) +(\d+) +(\d+)\s*")


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a picture and what it shows; `score` is how sure the detector is, from 0 to 1."""

    box: Box
    text: str
    score: float = 1.0

    def __post_init__(self):
        left, top, right, bottom = self.box
        if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
            raise ValueError(f"a box is (left, top, right, bottom) in [0, 1], got {self.box}")


Propose: TypeAlias = Callable[[Picture, Sequence[str]], Sequence[Region]]
"""An open-vocabulary detector: regions of a picture, each with the phrase that it shows."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One decoding task. The loss covers `target` alone; what the decoder reads is `prefix + target`."""

    task: Literal["caption", "refer", "ground"]
    prefix: str
    target: str

    @property
    def text(self) -> str:
        """What the decoder reads."""
        return self.prefix + self.target


def n_grams(caption: str, longest: int = 6, stop_words: frozenset[str] = STOP_WORDS) -> tuple[str, ...]:
    """The phrases of a caption, up to so many words, shortest first, each once. None goes over punctuation, or begins
    or ends with a stop word, or is a number. For languages with spaces between words."""
    stretches: list[list[str]] = [[]]
    for piece in _PIECE.findall(caption):
        if piece[0].isalnum():
            stretches[-1].append(piece)
        else:
            stretches.append([])
    found: dict[str, str] = {}
    for length in range(1, longest + 1):
        for words in stretches:
            for start in range(len(words) - length + 1):
                phrase = words[start : start + length]
                outer = {phrase[0].lower(), phrase[-1].lower()}
                if not outer & stop_words and not (length == 1 and phrase[0].isnumeric()):
                    found.setdefault(" ".join(phrase).lower(), " ".join(phrase))
    return tuple(found.values())


def regions_of(
    picture: Picture, captions: Sequence[str], propose: Propose, least_score: float = 0.3, at_most: int = 10,
    overlap: float = 0.7,
) -> tuple[Region, ...]:
    """What the detector finds of the captions' phrases, surest first. Of regions that overlap by more than this (area
    of the intersection to that of the union), only the surest stays."""
    phrases = tuple(dict.fromkeys(phrase for caption in captions for phrase in n_grams(caption)))
    if not phrases:
        return ()
    found = sorted(propose(picture, phrases), key=lambda region: -region.score)
    kept: list[Region] = []
    for region in found:
        if region.score < least_score or len(kept) == at_most:
            break
        if all(intersection_over_union(region.box, other.box) <= overlap for other in kept):
            kept.append(region)
    return tuple(kept)


def region_texts(caption: str, regions: Sequence[Region], rng: np.random.Generator, steps: int = STEPS
                 ) -> tuple[Prompt, ...]:
    """The tasks of one example: its caption and, where it has regions, one of them both ways round."""
    prompts = (Prompt(task="caption", prefix=CAPTION, target=caption),)
    if not regions:
        return prompts
    region = regions[int(rng.integers(len(regions)))]
    where = box_text(region.box, steps)
    return (*prompts, Prompt(task="refer", prefix=f"ARef: {region.text} : ", target=where),
            Prompt(task="ground", prefix=f"GCap: {where} : ", target=region.text))


def box_text(box: Box, steps: int = STEPS) -> str:
    """`(0.1, 0.25, 0.5, 1.0)` → `"100 250 500 999"`."""
    return " ".join(str(min(steps - 1, int(side * steps))) for side in box)


def parse_box(text: str, steps: int = STEPS) -> Box | None:
    """The box that a decoder wrote, at the middle of its steps, or None if that is no box. Crossed sides are swapped.
    """
    match = _NUMBERS.fullmatch(text)
    if match is None or any(int(side) >= steps for side in match.groups()):
        return None
    left, top, right, bottom = ((int(side) + 0.5) / steps for side in match.groups())
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def intersection_over_union(a: Box, b: Box) -> float:
    """Area of the intersection to area of the union, 0 to 1; 0 where both are empty."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    together = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common
    return common / together if together > 0 else 0.0


def to_json(regions: Sequence[Region]) -> str:
    """Regions as text that a record's metadata can hold."""
    return json.dumps([{"box": list(r.box), "text": r.text, "score": r.score} for r in regions], ensure_ascii=False)


def from_json(text: str) -> tuple[Region, ...]:
    """Regions from such text. ValueError when it is none."""
    try:
        found = [(tuple(map(float, item["box"])), str(item["text"]), float(item["score"])) for item in json.loads(text)]
        return tuple(Region(box=(left, top, right, bottom), text=said, score=score)
                     for (left, top, right, bottom), said, score in found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected regions as [{{box, text, score}}, …], got {text[:80]!r}: {error}") from error
