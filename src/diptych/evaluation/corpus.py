"""The bundled pictograms as a data set to test on, with something for every task.

Pictures: the held-out vendor's drawings of everything but flags, and the other vendors' of the concepts that no
training sees; columns `vendor`, `group`, `concept` (`seen` by training or `unseen`), and of people `family`, `gender`
and `tone`. Classes are Unicode's subgroups ("animal mammal"), captions the names in the languages of XM3600, each true
of every drawing of its concept and of drawings with the same pixels. Names that only repeat the English one say nothing
of a language and are left out. Skin tones have no captions: they are there for fairness.

`names` are of the drawings themselves, in the column `name`, because nobody has translated the subgroups. A subgroup's
`descriptions` are the names of its members that training sees. Vendors are domains, and Unicode's groups their classes.

Scenes: the held-out vendor's drawings in rooms (`data.scenes`), two to four in each, with masks of eight kinds of
things, depths, and regions with their English names. No concept is in scenes of two parts; those of the test are
concepts that no training sees.
"""

import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from diptych.data import pictograms
from diptych.data.drawings import cutout
from diptych.data.draws import generator, uniform
from diptych.data.regions import Region
from diptych.data.scenes import Scene, compose
from diptych.evaluation.dataset import Caption, Dataset, Maps
from diptych.evaluation.templates import TEMPLATES
from diptych.inputs.text import clean

NAME = "pictograms"

SCENES = 400
"""Four in ten to learn from, one to choose the decay on, five to test."""

KINDS = ("ground", "activities", "animals-nature", "food-drink", "objects", "people-body", "smileys-emotion", "symbols",
         "travel-places")
"""What a pixel of a scene shows: floor and wall, or a drawing of one of Unicode's groups."""

_PARTS = (("train", "train"), ("test", "test_zeroshot")) * 4 + (("val", "val"), ("test", "test_zeroshot"))
_SCENES_KEPT = 64
_SCENES_VERSION = 1
"""Raised when scenes are made another way: vectors of the old ones are not theirs."""


def open_pictograms(languages: Sequence[str] | None = None, every: int = 1, scenes: int = 0) -> Dataset:
    """The data set; captions in `languages` (all of XM3600's by default), the drawings of one concept in `every`, and
    so many `scenes` (none by default: making 400 takes seconds). ValueError for an unknown language."""
    if every < 1:
        raise ValueError(f"every keeps the drawings of one concept in so many, at least 1; got {every}")
    spoken = tuple(languages or pictograms.XM3600)
    rows = [row for row in pictograms.pictures().to_pylist() if not row["flag"] and (
        row["vendor"] == pictograms.HELD_OUT_VENDOR or (row["base"] and row["split"] == "test_zeroshot"))]
    kept = set(sorted({row["concept"] for row in rows})[::every])
    rows = [row for row in rows if row["concept"] in kept]
    names: dict[str, dict[str, str]] = {}
    for row in pictograms.names(sorted({*spoken, "en"})).to_pylist():
        names.setdefault(row["language"], {})[row["hexcode"]] = row["name"]
    first: dict[str, int] = {}
    same = tuple(first.setdefault(row["pixel_hash"], number) for number, row in enumerate(rows))
    captions = [caption for language in spoken for caption in _captions(rows, same, names, language)]
    labels = tuple(row["subgroup"].replace("-", " ") for row in rows)
    columns = {"vendor": [row["vendor"] for row in rows], "group": [row["group"] for row in rows],
               "concept": ["unseen" if row["split"] == "test_zeroshot" else "seen" for row in rows],
               "family": [names["en"].get(row["concept"], row["concept"]) for row in rows],
               "gender": [row["gender"] or "" for row in rows],
               "tone": ["mixed" if "+" in (row["tone"] or "") else row["tone"] or "" for row in rows]}
    classes = tuple(sorted(set(labels)))
    named, spoken_names = _named(rows, same, names, spoken)
    build = pictograms.manifest().sha256
    return Dataset(
        name=NAME, sha256=f"{build}-{every}-{'+'.join(spoken)}", revision=build[:12],
        ids=tuple(row["id"] for row in rows), read=lambda i: rows[i]["picture"], labels=labels,
        classes=classes, captions=tuple(captions), names=spoken_names, descriptions=_members(classes, names["en"]),
        templates=TEMPLATES["drawing"],
        columns={name: tuple(values) for name, values in {**columns, "name": named}.items()}, same=same,
        contents=tuple(f"{build} {row['id']}" for row in rows),
        roles={"named": "name", "domain": "vendor", "domain_class": "group", "thing": "family"},
        scenes=_scenes(scenes, names["en"]) if scenes else None)


def _scenes(count: int, names: dict[str, str], seed: int = 0) -> Dataset:
    """Made when they are read; the same number is the same scene, however many there are."""
    rows = [row for row in pictograms.pictures([pictograms.HELD_OUT_VENDOR]).to_pylist()
            if row["base"] and not row["flag"] and row["group"] in KINDS and row["hexcode"] in names]
    pools: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        pools.setdefault((row["split"], row["group"]), []).append(row)
    parts = [_PARTS[number % len(_PARTS)] for number in range(count)]

    @functools.lru_cache(_SCENES_KEPT)
    def made(number: int) -> tuple[Scene, list[dict[str, Any]]]:
        rng = generator(seed, "scene", number)
        kinds = rng.permutation(KINDS[1:])[: int(rng.integers(2, 5))].tolist()
        chosen = [pool[int(rng.integers(len(pool)))] for kind in kinds for pool in [pools[parts[number][1], kind]]]
        return compose([cutout(row["picture"]) for row in chosen], rng), chosen

    def read(number: int) -> bytes:
        stream = io.BytesIO()
        made(number)[0].picture.save(stream, "PNG")
        return stream.getvalue()

    def mask(number: int) -> Int[np.ndarray, "height width"]:
        scene, chosen = made(number)
        return np.array([*(KINDS.index(row["group"]) for row in chosen), 0])[scene.shown]  # −1, the ground, is the last

    build = pictograms.manifest().sha256
    return Dataset(
        name=f"{NAME}' scenes", sha256=f"{build}-scenes-{_SCENES_VERSION}-{seed}-{count}", revision=build[:12],
        ids=tuple(f"scene-{number:04}" for number in range(count)), read=read, labels=("",) * count,
        columns={"split": tuple(part for part, _ in parts)},
        contents=tuple(f"{build} scene {_SCENES_VERSION} {seed} {number}" for number in range(count)),
        maps=Maps(things=tuple(kind.replace("-", " and ") for kind in KINDS), mask=mask,
                  depth=lambda number: made(number)[0].depth),
        regions={number: tuple(Region(box=box, text=names[row["hexcode"]])
                               for box, row in zip(scene.boxes, chosen, strict=True))
                 for number in range(count) for scene, chosen in [made(number)]})


def _named(
    rows: Sequence[dict[str, str]], same: Sequence[int], names: dict[str, dict[str, str]], spoken: Sequence[str]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """What each drawing is called in English, "" where it is not the only thing that looks so, or not every language
    has a word of its own for it; and by language what the others are called there."""
    called = {row["hexcode"]: [own for language in spoken if (own := names[language].get(row["hexcode"])) and (
        language == "en" or _said(own) != _said(names["en"].get(row["hexcode"], "")))] for row in rows if row["base"]}
    shown: dict[int, set[str]] = {}
    for row, drawing in zip(rows, same, strict=True):
        shown.setdefault(drawing, set()).add(row["hexcode"])
    kept = [row["base"] and len(shown[drawing]) == 1 and len(called[row["hexcode"]]) == len(spoken)
            for row, drawing in zip(rows, same, strict=True)]
    codes = {row["hexcode"] for row, ok in zip(rows, kept, strict=True) if ok}
    english = {code: names["en"].get(code, code) for code in codes}
    return ([english[row["hexcode"]] if ok else "" for row, ok in zip(rows, kept, strict=True)],
            {language: {english[code]: names[language][code] for code in codes} for language in spoken})


def _members(classes: Sequence[str], english: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """A class described by what training shows of it: the names of those members, but not of the held-out ones."""
    found: dict[str, dict[str, None]] = {}
    for row in pictograms.pictures(splits=["train"], columns=["hexcode", "subgroup", "base", "flag"]).to_pylist():
        if row["base"] and not row["flag"] and row["hexcode"] in english:
            found.setdefault(row["subgroup"].replace("-", " "), {})[english[row["hexcode"]]] = None
    return {name: tuple(found[name]) for name in classes if name in found}


def _captions(
    rows: Sequence[dict[str, str]], same: Sequence[int], names: dict[str, dict[str, str]], language: str
) -> list[Caption]:
    """One for each name, true of all drawings of what bears it."""
    own, english = names.get(language, {}), names["en"]
    true_of: dict[str, set[int]] = {}
    for number, row in enumerate(rows):
        name = own.get(row["hexcode"])
        if row["base"] and name and (language == "en" or _said(name) != _said(english.get(row["hexcode"], ""))):
            true_of.setdefault(name, set()).add(same[number])
    captions = []
    twins: dict[int, list[int]] = {}
    for number, drawing in enumerate(same):
        if rows[number]["base"]:
            twins.setdefault(drawing, []).append(number)
    negatives = one_word_apart(true_of) if language == "en" else {}
    for name, drawings in true_of.items():
        pictures = sorted(picture for drawing in drawings for picture in twins[drawing])
        captions.append(Caption(text=name, language=language, pictures=tuple(pictures),
                                negatives=negatives.get(name, ())))
    return captions


def one_word_apart(true_of: dict[str, set[int]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each name, the other names with one other word in the same place, by what that word is: a hard negative is
    false of the pictures, which names of identical drawings are not."""
    places: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for name in true_of:
        words = tuple(name.split())
        for at in range(len(words) if len(words) > 1 else 0):
            places.setdefault(((*words[:at], "", *words[at + 1:]), at), []).append(name)
    found: dict[str, list[tuple[str, str]]] = {}
    for (_, at), alike in places.items():
        for name in alike:
            for other in alike:
                if other != name and not true_of[name] & true_of[other]:
                    found.setdefault(name, []).append((_kind(name.split()[at], other.split()[at]), other))
    return {name: tuple(_some(name, sorted(set(others)))) for name, others in found.items()}


def _some(name: str, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most `MOST` of each kind, drawn by their names: there are dozens of buttons."""
    drawn = sorted(others, key=lambda other: uniform(0, "negative", name, other[1]))
    return sorted(other for kind in _KINDS_AND_OTHER for other in [o for o in drawn if o[0] == kind][:MOST])


MOST = 3
"""Negatives of a name and kind."""

_OTHER = "other word"
_KINDS = {
    "gender": {"man", "woman", "person", "men", "women", "people", "boy", "girl", "prince", "princess"},
    "colour": {"red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink", "grey"},
    "direction": {"left", "right", "up", "down", "upwards", "downwards", "leftwards", "rightwards"},
}


_KINDS_AND_OTHER = (*_KINDS, _OTHER)


def _kind(word: str, other: str) -> str:
    plain = {word.strip(":,()").lower(), other.strip(":,()").lower()}
    return next((kind for kind, words in _KINDS.items() if plain <= words), _OTHER)


def _said(name: str) -> str:
    return clean(name, "nfkc_lower")
