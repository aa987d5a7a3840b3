"""Names and keywords of the pictograms in the languages of Unicode's CLDR."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from diptych.data.npm import Contents
from diptych.data.pictograms_concepts import hexcode_of

MIN_COVERAGE = 0.5

SCHEMA = pa.schema([
    pa.field("hexcode", pa.string(), nullable=False), pa.field("language", pa.string(), nullable=False),
    pa.field("name", pa.string(), nullable=False), pa.field("keywords", pa.list_(pa.string()), nullable=False),
])

Spoken = Mapping[str, tuple[str, tuple[str, ...]]]
"""Hexcode → name and keywords, in one language."""


def languages(annotations: Contents) -> list[str]:
    """Every locale of CLDR's basic annotations, sorted."""
    found = (path.split("/") for path in annotations.paths())
    return sorted(parts[1] for parts in found if parts[0] == "annotations" and parts[2:] == ["annotations.json"])


def spoken(language: str, packages: Iterable[tuple[Contents, str]], wanted: Iterable[str]) -> Spoken:
    """What one language calls the wanted pictograms; a keyword that repeats the name is left out.

    `packages` are CLDR's basic and derived annotations with the folder (and JSON key) they use.
    """
    wanted = set(wanted)
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for package, folder in packages:
        path = f"{folder}/{language}/annotations.json"
        if path not in package:
            continue
        for characters, entry in package.json(path)[folder].get("annotations", {}).items():
            code = hexcode_of(characters)
            if code in wanted and entry.get("tts"):
                name = entry["tts"][0]
                found[code] = (name, tuple(k for k in entry.get("default", ()) if k != name))
    return found


def table(by_language: Mapping[str, Spoken], total: int) -> pa.Table:
    """Rows sorted by language, then hexcode, for languages that name at least half of `total` pictograms."""
    rows = [
        {"hexcode": code, "language": language, "name": name, "keywords": list(keywords)}
        for language, names in sorted(by_language.items()) if len(names) >= MIN_COVERAGE * total
        for code, (name, keywords) in sorted(names.items())
    ]
    return pa.Table.from_pylist(rows, SCHEMA)
