"""A gold set: queries, and the pictures that each of them must find. JSON Lines, CSV, TSV or Parquet.

  {"query": "a red boat", "expected": ["/photos/boat.jpg", "9f86d0…"], "language": "en"}

`expected` names pictures by id or URI; a path that is relative starts at the file's folder. Rows of the same query are
one query, so that a table may have a row for each pair.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import SourceError
from diptych.core.types import Skipped
from diptych.data.tables import captions_of, read_rows
from diptych.evaluation.dataset import Caption

INCOMPLETE = "no query, or nothing that is expected"
UNKNOWN = "not in the collection"


@dataclass(frozen=True, kw_only=True)
class Gold:
    """The queries of which at least one picture is there, and (id, reason) of rows and pictures that are left out."""

    captions: tuple[Caption, ...]
    skipped: tuple[tuple[str, str], ...]


def read_gold(
    path: str | Path, find: Callable[[str], Sequence[int]], languages: Sequence[str] | None = None
) -> Gold:
    """The queries in `languages` (None: all). `find` gives the numbers of the pictures of an id or URI, none for one
    that is not there: a live collection loses pictures, which is told and no error. SourceError when the file cannot be
    read, and when none of its pictures is there."""
    path = Path(path)
    expected: dict[tuple[str, str], dict[int, None]] = {}
    skipped: list[tuple[str, str]] = []
    for number, row in enumerate(read_rows(path), start=1):
        if isinstance(row, Skipped):
            skipped.append((row.id, row.reason))
            continue
        text, language, names = str(row.get("query") or "").strip(), str(row.get("language") or ""), _names(row)
        if not text or not names:
            skipped.append((f"{path}, row {number}", f"{INCOMPLETE}; its columns are {', '.join(map(str, row))}"))
        elif languages is None or language in languages:
            pictures = expected.setdefault((language, text), {})
            for name in names:
                if found := find(name) or find(os.path.normpath(path.absolute().parent / name)):
                    pictures.update(dict.fromkeys(found))
                else:
                    skipped.append((f"{text} → {name}", UNKNOWN))
    captions = tuple(Caption(text=text, language=language, pictures=tuple(sorted(pictures)))
                     for (language, text), pictures in expected.items() if pictures)
    if not captions:
        asked = f" in {', '.join(languages)}" if languages else ""
        first = "; the first: {} ({})".format(*skipped[0]) if skipped else ""
        raise SourceError(
            f"{path} has no query{asked} with a picture that is there{first}. A row is {{\"query\": …, \"expected\": "
            "[…]}, with ids or URIs as `diptych search COLLECTION QUERY --json` prints them")
    return Gold(captions=captions, skipped=tuple(skipped))


def _names(row: dict[str, Any]) -> tuple[str, ...]:
    """One, a list, or a list as JSON text."""
    value = row.get("expected")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    return captions_of(value)
