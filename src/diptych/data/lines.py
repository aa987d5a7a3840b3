"""CSV, TSV and JSON Lines as shards: some thousand rows each, found by their place in the file.

Only where each row begins is in memory, 8 bytes a row; the rows are read and parsed when they are asked for. So each
row is one record, with one or several captions: unlike in a collection's import (`tables`), rows that name the same
picture are not put together. Values of CSV and TSV stay text.
"""

import csv
import hashlib
import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64

from diptych.core.errors import PictureError, SourceError
from diptych.core.files import sha256_bytes
from diptych.data import tables
from diptych.data.copies import File
from diptych.data.pictures import NO_PICTURE, map_beside, read_picture
from diptych.data.records import Record
from diptych.inputs.image import UNREADABLE

SUFFIXES = {".csv", ".tsv", ".jsonl", ".ndjson"}
BAD_ROW = "row cannot be read"

ROWS = 4096
"""Rows of a shard."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, eq=False)
class LineShard:
    """Rows `first` … of a table; row i is the bytes [starts[i], starts[i + 1]). `header` is None for JSON Lines."""

    file: File
    first: int
    starts: Int64[np.ndarray, " rows_and_end"]
    header: tuple[str, ...] | None
    columns: tables.Columns
    fingerprint: str

    @property
    def name(self) -> str:
        """The file and its rows."""
        return f"{self.file.url}[{self.first}:{self.first + len(self)}]"

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read(self, index: int) -> Record:
        """Row `index` of the shard, and the picture that it names."""
        begin, end = int(self.starts[index]), int(self.starts[index + 1])
        key = f"{self.file.url}#{self.first + index}"
        try:
            row = _parse(self.file.read(begin, end - begin), self.header, self.file.suffix)
        except (OSError, EOFError) as error:
            raise PictureError(UNREADABLE, f"{key}: {error}") from error
        except (ValueError, csv.Error) as error:
            raise PictureError(BAD_ROW, f"{key}: {error}") from error
        given = row.pop(self.columns.uri or "", None)
        if not isinstance(given, str) or not given.strip():
            raise PictureError(NO_PICTURE, key)
        captions = tables.captions_of(row.pop(self.columns.caption, None)) if self.columns.caption else ()
        uri = self.file.beside(given.strip())
        return Record(key=key, data=read_picture(uri), captions=captions, metadata=tables.metadata_of(row),
                      read_map=partial(map_beside, uri))


def open_lines(file: File, rows: int = ROWS) -> list[LineShard]:
    """The rows of a table, in shards. SourceError when it has none, or no column that names pictures."""
    try:
        header, starts, names, digest = file.using(lambda path: _scan(path, file.suffix))
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{file.url} cannot be read as a table of pairs: {error}") from error
    if len(starts) < 2:
        raise SourceError(f"{file.url} is an empty shard: expected rows that name pictures, found none; leave it out")
    columns = tables.columns_of(file.url, dict.fromkeys(names, "text"))
    found = []
    for first in range(0, len(starts) - 1, rows):
        part = starts[first : first + rows + 1]
        found.append(LineShard(file=file, first=first, starts=part, header=header, columns=columns,
                               fingerprint=sha256_bytes(f"{digest} {first} {len(part)}".encode())))
    return found


def _scan(path: Path, suffix: str) -> tuple[tuple[str, ...] | None, Int64[np.ndarray, " rows_and_end"], list[str], str]:
    """The header, where each row begins and the last one ends, the names of the columns, and the sha256 of all."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if stream.read(len(_BOM)) != _BOM:
            stream.seek(0)
        if suffix in {".csv", ".tsv"}:
            return *_scan_csv(stream, suffix, digest.update), digest.hexdigest()
        starts, end, names = array("q"), stream.tell(), dict[str, None]()
        for line in stream:
            digest.update(line)
            if line.strip():
                if len(starts) < ROWS:  # names of the first rows: a column that only comes later plays no part
                    names |= dict.fromkeys(_names(line))
                starts.append(end)
            end += len(line)
        starts.append(end)
        return None, np.frombuffer(starts, np.int64), list(names), digest.hexdigest()


def _scan_csv(
    stream: BinaryIO, suffix: str, see: Callable[[bytes], None]
) -> tuple[tuple[str, ...], Int64[np.ndarray, " rows_and_end"], list[str]]:
    read = stream.tell()

    def lines() -> Iterator[str]:
        nonlocal read
        for line in stream:
            read += len(line)
            see(line)
            yield line.decode()

    reader = csv.reader(lines(), delimiter=_delimiter(suffix), strict=True)
    header = tuple(name.strip() for name in next(reader, []))
    starts = array("q", [read])
    try:
        for fields in reader:  # a quoted field may go over several lines
            if fields:
                starts.append(read)
            else:
                starts[-1] = read
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    return header, np.frombuffer(starts, np.int64), list(header)


def _parse(data: bytes, header: tuple[str, ...] | None, suffix: str) -> dict[str, Any]:
    if header is None:
        row = json.loads(data)
        if not isinstance(row, dict):
            raise ValueError("expected a JSON object")
        return row
    fields = next(csv.reader([data.decode()], delimiter=_delimiter(suffix), strict=True))
    if len(fields) > len(header):
        raise ValueError(f"{len(header)} columns, {len(fields)} fields")
    return {name: value for name, value in zip(header, fields, strict=False) if value}


def _names(line: bytes) -> list[str]:
    try:
        row = json.loads(line)
    except ValueError:
        return []
    return list(row) if isinstance(row, dict) else []


def _delimiter(suffix: str) -> str:
    return "\t" if suffix == ".tsv" else ","
