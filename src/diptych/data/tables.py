"""Tables of pairs: Parquet, CSV, TSV and JSON Lines, one picture (or one caption of a picture) a row.

A table names its pictures in a column (`uri`, `path`, `url`, `file_name`, `image` …; relative paths start at the
table's folder), or, in Parquet, holds their encoded bytes (`bytes`, or `image` as the Hugging Face libraries write
it). Captions come from `captions`, `caption`, `text` or `title`; every other column is metadata. Rows that name the
same picture are one pair with several captions.
"""

import csv
import datetime
import decimal
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core.errors import SourceError
from diptych.core.types import Pair, Scalar, Skipped
from diptych.inputs.image import NO_SUCH_FILE, why_unreadable

SUFFIXES = {".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"}

_URI_COLUMNS = ("uri", "path", "url", "file", "file_name", "filename", "filepath", "image_path", "image_url", "image",
                "picture")
_DATA_COLUMNS = ("bytes", "image_bytes", "image", "picture", "img")
_CAPTION_COLUMNS = ("captions", "caption", "text", "title")
_ROWS_AT_ONCE = 64

ALL_GONE = "none of its pictures is there"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column plays which part; `uri` or `data` is there."""

    uri: str | None
    data: str | None
    caption: str | None


def read_table(path: Path, stamp: Callable[[str], str]) -> tuple[int, Iterator[Pair | Skipped]]:
    """How many records a table holds, and the records. `stamp` gives a local file's stamp, or raises OSError.

    SourceError when the file is not such a table, or has no column that names or holds a picture.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, stamp)
        rows = _text_rows(path)
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise SourceError(f"{path} cannot be read as a table of pairs: {error}") from error
    names = dict.fromkeys(name for row in rows if not isinstance(row, Skipped) for name in row)
    records = _grouped(rows, columns_of(path, dict.fromkeys(names, "text")), path, stamp)
    return len(records), iter(records)


def read_rows(path: Path) -> list[dict[str, Any] | Skipped]:
    """The rows of a table of anything, all in memory; a bad row is Skipped. SourceError when it is no table."""
    if path.suffix.lower() not in SUFFIXES:
        raise SourceError(f"{path} is no table: expected one of {', '.join(sorted(SUFFIXES))}")
    try:
        return pq.read_table(path).to_pylist() if path.suffix.lower() == ".parquet" else _text_rows(path)
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def captions_of(value: Any) -> tuple[str, ...]:
    """A caption or a list of captions, stripped, without empty ones and repetitions."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = (storable(str(v)).strip() for v in values if isinstance(v, str | int | float) and not isinstance(v, bool))
    return tuple(dict.fromkeys(text for text in texts if text))


def scalar(value: Any) -> Scalar | None:
    """A metadata value as a column can hold it: lists and objects become JSON text, dates ISO 8601, bytes nothing."""
    match value:
        case None | bytes():
            return None
        case float() | decimal.Decimal():
            return float(value) if math.isfinite(value) else None
        case str():
            return storable(value)
        case bool() | int():
            return value
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return storable(json.dumps(value, ensure_ascii=False, default=str))


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: half of a surrogate pair (a cut-off emoji in JSON) becomes "?"."""
    return text.encode("utf-8", "replace").decode()


def metadata_of(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """What can be metadata among these values, by name."""
    found = ((storable(str(name)), scalar(value)) for name, value in values.items())
    return {name: value for name, value in found if value is not None}


def said_in(values: Any) -> tuple[tuple[str, ...], dict[str, Scalar]]:
    """Captions and metadata of the JSON value that lies beside a picture: an object, a caption, or a list of them."""
    if not isinstance(values, dict):
        return captions_of(values), {}
    key = next((name for name in ("captions", "caption", "text", "description", "title") if values.get(name)), None)
    captions = captions_of(values[key]) if key else ()
    return captions, metadata_of({name: value for name, value in values.items() if name != key})


def columns_of(path: Path | str, kinds: dict[str, str]) -> Columns:
    """Choose by name, in order of preference, whatever the case; `kinds` says "text" or "bytes" of each column.

    SourceError when no column names or holds a picture.
    """
    by_lower = {name.lower(): name for name in reversed(kinds)}

    def first(names: tuple[str, ...], kind: str) -> str | None:
        return next((by_lower[n] for n in names if n in by_lower and kinds[by_lower[n]] == kind), None)

    columns = Columns(uri=first(_URI_COLUMNS, "text"), data=first(_DATA_COLUMNS, "bytes"),
                       caption=first(_CAPTION_COLUMNS, "text"))
    if kinds and columns.uri is None and columns.data is None:
        raise SourceError(f"{path} has no column that names or holds a picture: expected one of "
                          f"{', '.join(_URI_COLUMNS)}, got {', '.join(kinds)}")
    return columns


def _read_parquet(path: Path, stamp: Callable[[str], str]) -> tuple[int, Iterator[Pair | Skipped]]:
    with pq.ParquetFile(path) as file:
        columns = columns_of(path, {field.name: kind_of(field.type) for field in file.schema_arrow})
        count = file.metadata.num_rows
        if columns.data is None:
            rows = [row for batch in file.iter_batches(4096) for row in batch.to_pylist()]
            records = _grouped(rows, columns, path, stamp)
            return len(records), iter(records)
    return count, _with_bytes(path, columns, stamp)


def kind_of(type_: pa.DataType) -> str:
    """"bytes" of a column that can hold encoded pictures, "text" or "other" of the rest."""
    if pa.types.is_struct(type_):
        return "bytes" if type_.get_field_index("bytes") >= 0 else "other"
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return "bytes"
    return "text"


def _with_bytes(path: Path, columns: Columns, stamp: Callable[[str], str]) -> Iterator[Pair | Skipped]:
    """Pictures whose bytes the table holds, a few rows at a time. Where it holds none, but a path, that file is meant.

    A bare file name is told apart by its row from its second time on: `datasets` drops the folders.
    """
    assert columns.data is not None
    number, names = 0, set[str]()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                data, given = row.pop(columns.data), None
                if isinstance(data, dict):
                    data, given = data.get("bytes"), data.get("path")
                said = row.pop(columns.uri) if columns.uri is not None else None
                given = said if said and isinstance(said, str) else given
                name = storable(given) if given else str(number)
                if "://" in name or Path(name).is_absolute():
                    uri = name
                else:
                    uri = f"{path}#{number}/{name}" if name in names else f"{path}#{name}"
                names.add(name)
                number += 1
                captions = captions_of(row.pop(columns.caption)) if columns.caption else ()
                if data is not None:
                    yield Pair(uri=uri, data=data, captions=captions, metadata=metadata_of(row))
                elif given:
                    found = Pair(uri=_resolve(given, path.parent), captions=captions, metadata=metadata_of(row))
                    yield _stamped(found, stamp)
                else:
                    yield Skipped(id=uri, reason="no picture in the row")


def _grouped(rows: list[Any], columns: Columns, path: Path, stamp: Callable[[str], str]) -> list[Pair | Skipped]:
    """One pair for each picture that the rows name, in order of first mention; the first row's metadata counts.

    When none of them is there, the table itself is reported too, and nothing of it is taken for deleted.
    """
    records: dict[str, Pair | Skipped] = {}
    for number, row in enumerate(rows):
        if isinstance(row, Skipped):
            records[row.id] = row
            continue
        name = row.get(columns.uri)
        if not isinstance(name, str) or not name.strip():
            at = f"{path}#{number}"
            records[at] = Skipped(id=at, reason="no picture in the row")
            continue
        uri = _resolve(name.strip(), path.parent)
        captions = captions_of(row.get(columns.caption)) if columns.caption else ()
        before = records.get(uri)
        if isinstance(before, Pair):
            captions = tuple(dict.fromkeys((*before.captions, *captions)))
            records[uri] = Pair(uri=uri, captions=captions, metadata=before.metadata, stamp=before.stamp)
        elif before is None:
            rest = {k: v for k, v in row.items() if k not in (columns.uri, columns.caption)}
            records[uri] = _stamped(Pair(uri=uri, captions=captions, metadata=metadata_of(rest)), stamp)
    found = list(records.values())
    if found and all(isinstance(record, Skipped) and record.reason == NO_SUCH_FILE for record in found):
        found.append(Skipped(id=str(path), reason=ALL_GONE, detail="is a disk not mounted?"))
    return found


def _stamped(pair: Pair, stamp: Callable[[str], str]) -> Pair | Skipped:
    if "://" in pair.uri:
        return pair
    try:
        return Pair(uri=pair.uri, captions=pair.captions, metadata=pair.metadata, stamp=stamp(pair.uri))
    except OSError as error:
        return Skipped(id=storable(pair.uri), reason=why_unreadable(error))
    except ValueError as error:  # a NUL, or half a surrogate pair: no path has them
        return Skipped(id=storable(pair.uri), reason=NO_SUCH_FILE, detail=str(error))


def _resolve(name: str, folder: Path) -> str:
    if name.startswith("file://"):
        name = unquote(name.removeprefix("file://"))
    return storable(name) if "://" in name else os.path.normpath(folder / name)


def _text_rows(path: Path) -> list[dict[str, Any] | Skipped]:
    return _csv_rows(path) if path.suffix.lower() in {".csv", ".tsv"} else _json_rows(path)


def _csv_rows(path: Path) -> list[dict[str, Any] | Skipped]:
    rows: list[dict[str, Any] | Skipped] = []
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not header:
            return []
        for fields in reader:
            if len(fields) > len(header):
                rows.append(Skipped(id=f"{path}:{reader.line_num}", reason="row does not fit the header",
                                    detail=f"{len(header)} columns, {len(fields)} fields"))
            elif fields:
                rows.append(dict(zip(header, fields, strict=False)))
    good = [row for row in rows if not isinstance(row, Skipped)]
    for name in header:
        if name.lower() in {*_URI_COLUMNS, *_CAPTION_COLUMNS}:
            continue
        convert = _column_type([row[name] for row in good if row.get(name)])
        for row in good:
            row[name] = convert(row[name]) if row.get(name) else None
    return rows


def _column_type(texts: list[str]) -> Callable[[str], Scalar]:
    """Numbers where the whole column is numbers; "007" stays text, for it is a name and not seven."""
    if all(t.lower() in {"true", "false"} for t in texts):
        return lambda t: t.lower() == "true"
    if any(len(t.lstrip("+-")) > 1 and t.lstrip("+-")[0] == "0" and t.lstrip("+-")[1].isdigit() for t in texts):
        return str
    for kind in (int, float):
        try:
            if all(math.isfinite(kind(t)) and "_" not in t for t in texts):
                return kind
        except (ValueError, OverflowError):
            continue
    return str


def _json_rows(path: Path) -> list[dict[str, Any] | Skipped]:
    rows: list[dict[str, Any] | Skipped] = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                rows.append(Skipped(id=f"{path}:{number}", reason="line is not JSON", detail=str(error)))
                continue
            fits = isinstance(row, dict)
            rows.append(row if fits else Skipped(id=f"{path}:{number}", reason="line is not a JSON object"))
    return rows
