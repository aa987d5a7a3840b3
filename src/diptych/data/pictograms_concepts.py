"""What a pictogram shows: its code points, idea, skin tone, gender and split, from Unicode's emoji list.

A *hexcode* names a pictogram by its code points. A *concept* is the idea behind it: all skin tones, genders, facing
directions and family members of one idea share it, and so does the split, which is a hash of the concept. Nobody who
has trained on "woman pilot: dark skin tone" is then tested on "man pilot".
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "val", "test_zeroshot"]

SPLIT_SALT = "pictograms:17534"
"""Chosen among the first 20,000 numbers for sizes near 81/10/10 %, counted in pictures and in base pictograms alike;
only sizes were looked at, before any model was trained."""

_TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
_WOMEN = {"2640", "1f469", "1f467", "1f475", "1f478", "1f483", "1f936", "1f930", "1f9d5", "1f46b", "1f46d"}
_MEN = {"2642", "1f468", "1f466", "1f474", "1f934", "1f57a", "1f385", "1fac3", "1f46b", "1f46c"}
_ADULTS = {"1f468": "1f9d1", "1f469": "1f9d1"}
_JOINER = "200d"
_VARIATION = re.compile(r"-200d-(2640|2642|27a1)(?=-|$)")  # joined: female sign, male sign, facing right

# ideas that Unicode spells with unrelated code points for each gender; families differ only in their members
_SAME_IDEA = {
    "1f466": "1f9d2", "1f467": "1f9d2",  # boy, girl: child
    "1f474": "1f9d3", "1f475": "1f9d3",  # old man, old woman: older person
    "1f934": "1fac5", "1f478": "1fac5",  # prince, princess: person with crown
    "1f385": "1f9d1-200d-1f384", "1f936": "1f9d1-200d-1f384",  # Santa, Mrs. Claus: Mx Claus
    "1f930": "1fac4", "1fac3": "1fac4",  # pregnant
    "1f57a": "1f483",  # man dancing, woman dancing
    "1f46b": "1f9d1-200d-1f91d-200d-1f9d1", "1f46c": "1f9d1-200d-1f91d-200d-1f9d1",  # holding hands
    "1f46d": "1f9d1-200d-1f91d-200d-1f9d1",
    "1f9d1-200d-2764-200d-1f9d1": "1f491", "1f9d1-200d-2764-200d-1f48b-200d-1f9d1": "1f48f",  # couple, kiss
}
_FAMILY = "1f46a"
_FAMILY_MEMBERS = {"1f9d1", "1f9d2", "1f466", "1f467"}


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One pictogram of Unicode's list. `concept` is the hexcode that stands for its idea; `tone` and `gender` are None
    where it has none, and hold "a+b" where two people differ."""

    hexcode: str
    concept: str
    label: str
    group: str
    subgroup: str
    tone: str | None
    gender: str | None
    flag: bool
    split: Split

    @property
    def base(self) -> bool:
        """Neither a skin-tone variant nor a flag: the pictograms that retrieval and zero-shot tests ask for."""
        return self.tone is None and not self.flag


def hexcode(text: str) -> str:
    """Code points in lower-case hex, joined by "-", without leading zeros and variation selectors (FE0F).

    Takes what file names and tables write: "00A9-FE0F", "0023_fe0f_20e3", "1f600".
    """
    points = re.split(r"[-_ ]", text.lower())
    return "-".join(p.lstrip("0") for p in points if p != "fe0f")


def hexcode_of(characters: str) -> str:
    """The hexcode of a string of characters, e.g. "©️" → "a9"."""
    return "-".join(f"{ord(c):x}" for c in characters if c != "\ufe0f")


def concept_of(base: str) -> str:
    """The idea behind an untoned hexcode: without gender, facing direction and family members."""
    points = _VARIATION.sub("", base).split("-")
    neutral = [_ADULTS.get(p, p) for p in points]
    members = [p for p in neutral if p != _JOINER]
    if len(members) > 1 and set(members) <= _FAMILY_MEMBERS:
        return _FAMILY
    return _SAME_IDEA.get("-".join(neutral), "-".join(neutral))


def split_of(concept: str) -> Split:
    """The split of an idea: sha256 of salt and concept, in ten equal parts, eight of them for training."""
    bucket = int.from_bytes(hashlib.sha256(f"{SPLIT_SALT}:{concept}".encode()).digest()[:8], "big") % 10
    return ("val", "test_zeroshot")[bucket - 8] if bucket >= 8 else "train"


def concepts(emoji: Iterable[Mapping[str, Any]], groups: Mapping[str, Mapping[str, str]]) -> dict[str, Concept]:
    """Every pictogram by hexcode, sorted, from emojibase's `data.json` and `groups.json`.

    Regional indicators have no group: they are letters, not pictograms, and stay out.
    """
    found: dict[str, Concept] = {}
    for entry in emoji:
        if "group" not in entry:
            continue
        base = hexcode(entry["hexcode"])
        idea = concept_of(base)
        for variant in (entry, *entry.get("skins", ())):
            code = hexcode(variant["hexcode"])
            group = groups["groups"][str(entry["group"])]
            found[code] = Concept(
                hexcode=code, concept=idea, label=variant["label"], group=group,
                subgroup=groups["subgroups"][str(entry["subgroup"])], tone=_tone(code), gender=_gender(code),
                flag=group == "flags", split=split_of(idea))
    return dict(sorted(found.items()))


def _tone(code: str) -> str | None:
    points = code.split("-")
    tones = [_TONES[p] for p in points if p in _TONES]
    if len(points) == 1 or not tones:  # a lone swatch of colour is the thing itself, not a variant
        return None
    return tones[0] if len(set(tones)) == 1 else "+".join(tones)


def _gender(code: str) -> str | None:
    points = set(code.split("-"))
    found = [name for name, marks in (("man", _MEN), ("woman", _WOMEN)) if points & marks]
    return "+".join(found) or None
