"""What every layout's reader needs: to find its files, to read them, and to make a data set of named pictures."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.core.errors import SourceError
from diptych.core.types import Pair, Scalar
from diptych.data.shards import FolderShard
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.exports import Beside, lines
from diptych.evaluation.sets import Columns, dataset_of


def first(root: Path, *names: str) -> Path | None:
    """The first of these files or folders that is there."""
    return next((root / name for name in names if (root / name).exists()), None)


def folder(root: Path, *names: str) -> Path:
    """The first of these folders that is there. SourceError names them."""
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise SourceError(f"{root} has no folder {', '.join(names[:-1])}{' or ' if names[:-1] else ''}{names[-1]}; the "
                          "pictures lie there")
    return found


def read_json(path: Path) -> Any:
    """SourceError when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error


def read_lines(path: Path) -> list[str]:
    """Those that are not empty. SourceError when they are not UTF-8."""
    try:
        return [line for line in lines(path) if line]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """SourceError when a line is not JSON."""
    try:
        return [json.loads(line) for line in read_lines(path)]
    except ValueError as error:
        raise SourceError(f"{path} cannot be read as JSON Lines: {error}") from error


def read_csv(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table. SourceError when it is none, or lacks one of the columns that are needed."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows = [{name: value or "" for name, value in row.items() if isinstance(name, str)} for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read as CSV: {error}") from error
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise SourceError(f"{path} has no column {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}")
    return rows


def pair(path: Path, captions: Mapping[str, Iterable[str]] | None = None, **values: Scalar) -> Pair:
    """A picture with its captions by language, its "label" and its columns."""
    said = {f"caption_{language}": json.dumps(list(texts), ensure_ascii=False)
            for language, texts in (captions or {}).items()}
    return Pair(uri=str(path), metadata={**said, **values})


def pictures(
    name: str, root: Path, pairs: Sequence[Pair], columns: Columns | None = None, found: Beside | None = None
) -> Dataset:
    """The data set of these pictures, each of them for itself; ids are paths below `root`. What is not there is
    skipped and listed. SourceError when nothing is."""
    if not pairs:
        raise SourceError(f"{name} in {root}: nothing of the test part is listed there")
    shard = FolderShard(root=str(root), first=0, pairs=tuple(pairs), fingerprint="")
    return dataset_of(name, [shard], columns, found, merge=False)
