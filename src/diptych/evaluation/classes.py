"""What lies beside the data about their classes: names in other languages, and descriptions.

- Names: columns `label_de`, `class_de`, `category_de`, or files `classnames.de.txt`, each line for the same line of
  `classnames.txt`. Indonesian is read from a file alone: a column `label_id` holds identifiers.
- Descriptions: `descriptions.json` beside the data or beside `classnames.txt`, {class: [text, …]}, the form in which
  CuPL (arXiv 2209.03320) and classification by description (arXiv 2210.07183) are published. A sentence stays as it is.
  A feature ("long tail") becomes "cat, which has long tail", as in the second's code.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core.files import sha256_bytes
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.exports import CLASSES, beside, find, lines
from diptych.evaluation.templates import LANGUAGES

DESCRIPTIONS = "descriptions.json"

_COLUMN = re.compile(r"(?:label|class|category)_(?!id$)([a-z]{2,3}(?:-[A-Za-z]{2,4})?)")
_FILE = re.compile(r"classnames\.([A-Za-z-]+)\.txt")


def with_texts(data: Dataset, path: str | Path) -> Dataset:
    """The data with what is said of their classes in their columns and beside `path`. ValueError for a file that is not
    as it should be."""
    named = _from_columns(data)
    columns = {name: values for name, values in data.columns.items() if name not in named}
    names = {**data.names, **{language: own for language, own in named.values() if own}}
    if "://" in str(path):
        return replace(data, columns=columns, names=names)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    listed = find(folder, CLASSES)
    names |= (more := _from_files(listed) if listed else {})
    data = replace(data, columns=columns, names=names, sha256=_with(data.sha256, more))
    # not in every folder above: there a file of that name may be of other data
    places = dict.fromkeys((folder, listed.parent if listed else folder))
    said = next((place / DESCRIPTIONS for place in places if (place / DESCRIPTIONS).is_file()), None)
    return described(data, said) if said else data


def described(data: Dataset, path: str | Path) -> Dataset:
    """The data with the descriptions of a file, whose keys are labels or what those are called; "_" and capitals make
    no difference. ValueError when it is not a JSON object of lists of texts, and when it names none of the classes."""
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(said, dict) or not all(
            isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in said.values()):
        raise ValueError(f'{path} is not {{"class": ["what it looks like", …], …}}')
    known = {_plain(name): texts for name, texts in said.items()}
    own, found = data.names.get("", {}), dict[str, tuple[str, ...]]()
    called = {label: own.get(label, label) for label in data.classes}
    for label, name in called.items():
        if (texts := known.get(_plain(label), known.get(_plain(name)))) is not None:
            found[label] = tuple(_sentence(name, text) for text in texts if text.strip())
    if not found:
        some = ", ".join(map(repr, list(called.values())[:3])) or "none"
        raise ValueError(f"{path} describes {', '.join(map(repr, list(said)[:3])) or 'nothing'}, and {data.name} has "
                         f"the classes {some}; its keys are their names")
    return replace(data, descriptions=found, sha256=_with(data.sha256, found))


def _with(sha256: str, more: Mapping[str, Any]) -> str:
    """Of data with what a file beside them adds."""
    return sha256_bytes(f"{sha256} {json.dumps(more)}".encode()) if more else sha256


def _from_columns(data: Dataset) -> dict[str, tuple[str, dict[str, str]]]:
    """By column: the language, and the name of each class, the first that a picture of it gives. Numbers are no names:
    `label_no` need not be Norwegian."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for column, values in data.columns.items():
        match = _COLUMN.fullmatch(column)
        if not match or match[1].partition("-")[0] not in LANGUAGES or all(v.isdigit() for v in values if v):
            continue
        own: dict[str, str] = {}
        for label, value in zip(data.labels, values, strict=True):
            if label and value:
                own.setdefault(label, value)
        found[column] = match[1], own
    return found


def _from_files(listed: Path) -> dict[str, Mapping[str, str]]:
    labels, found = beside(listed).labels, dict[str, Mapping[str, str]]()
    for path in sorted(listed.parent.glob("classnames.*.txt")):
        if match := _FILE.fullmatch(path.name):
            if len(names := lines(path)) != len(labels):
                raise ValueError(f"{path} has {len(names)} lines and {listed.name} beside it {len(labels)}; a line is "
                                 "the name of the class in the same line there")
            found[match[1]] = dict(zip(labels, names, strict=True))
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _sentence(name: str, text: str) -> str:
    """The rule of classify_by_description's `make_descriptor_sentence` for what is no sentence."""
    said, name = text.strip(), name.replace("_", " ")
    if said.endswith((".", "!", "?")) or _plain(name) in said.lower():
        return said
    link = "" if said.startswith(_VERBS) else "is " if said.startswith(_BEING) else "has "
    return f"{name}, which {link}{said}"


_VERBS = ("has", "often", "typically", "may", "can")
_BEING = ("a", "used")
