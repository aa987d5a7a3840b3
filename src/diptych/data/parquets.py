"""Parquet files of pairs: every row group is a shard, read whole and kept while its window is being read.

Columns play the parts that `tables` says: encoded pictures in one (`image`, `bytes` …) or their paths and URLs, a
caption or a list of them, metadata in the rest. A row group is the least that Parquet can read: of some hundred to a
few thousand pictures it serves well; a file with a single huge one needs the memory of all its pictures.
"""

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core.errors import PictureError, SourceError
from diptych.core.files import sha256_bytes
from diptych.data import tables
from diptych.data.copies import File
from diptych.data.pictures import NO_PICTURE, map_beside, read_picture
from diptych.data.records import Record, no_map
from diptych.inputs.image import UNREADABLE, of_allowed_size

MAX_BYTES = 2 << 30
"""Row groups in memory, of each process: 2 GiB, above what sixteen shards of a thousand photographs take."""


class RowGroups:
    """The row groups that were read last, up to `max_bytes`; those of one set of files share it. Goes to another
    process empty."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self.max_bytes = max_bytes
        self._kept: dict[tuple[str, int], pa.Table] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> int:
        return self.max_bytes

    def __setstate__(self, max_bytes: int) -> None:
        RowGroups.__init__(self, max_bytes)

    def get(self, file: File, number: int) -> pa.Table:
        """Row group `number` of the file. OSError or ArrowException when it cannot be read."""
        key = file.url, number
        with self._lock:  # held while reading: two threads that need a row group must not both decode it
            table = self._kept.pop(key, None)
            if table is None:
                table = file.using(lambda path: _read_row_group(path, number))
            self._kept[key] = table  # last in the order of use
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self.max_bytes:
                self._kept.pop(next(iter(self._kept)))
            return table


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """One row group of a Parquet file."""

    file: File
    number: int
    first: int
    count: int
    fingerprint: str
    columns: tables.Columns
    groups: RowGroups

    @property
    def name(self) -> str:
        """The file and the row group's number."""
        return f"{self.file.url}[{self.number}]"

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Record:
        """Row `index` of the row group."""
        try:
            row: dict[str, Any] = self.groups.get(self.file, self.number).slice(index, 1).to_pylist()[0]
        except (OSError, pa.ArrowException) as error:
            raise PictureError(UNREADABLE, f"{self.name}: {error}") from error
        key, data, given = f"{self.file.url}#{self.first + index}", None, None
        if self.columns.data is not None:
            data = row.pop(self.columns.data)
            if isinstance(data, dict):  # as the Hugging Face libraries write pictures
                data, given = data.get("bytes"), data.get("path")
        if self.columns.uri is not None:
            given = row.pop(self.columns.uri) or given
        read_map = no_map
        if data is None:
            if not isinstance(given, str) or not given.strip():
                raise PictureError(NO_PICTURE, key)
            uri = self.file.beside(given.strip())
            data, read_map = read_picture(uri), partial(map_beside, uri)
        captions = tables.captions_of(row.pop(self.columns.caption)) if self.columns.caption else ()
        return Record(key=key, data=of_allowed_size(data), captions=captions, metadata=tables.metadata_of(row),
                      read_map=read_map)


def open_parquet(file: File, groups: RowGroups) -> list[RowGroup]:
    """The row groups of a file. SourceError when it is not Parquet, has no rows, or no column of pictures."""
    try:
        metadata, schema = file.using(_read_footer)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{file.url} cannot be read as Parquet: {error}") from error
    columns = tables.columns_of(file.url, {field.name: tables.kind_of(field.type) for field in schema})
    found, first = [], 0
    for number in range(metadata.num_row_groups):
        described = metadata.row_group(number)
        count = described.num_rows
        if count:
            # sizes, offsets and each column's least and greatest value: rewritten contents show in them
            fingerprint = sha256_bytes(repr(described.to_dict()).encode())
            found.append(RowGroup(file=file, number=number, first=first, count=count, fingerprint=fingerprint,
                                  columns=columns, groups=groups))
        first += count
    if not found:
        raise SourceError(f"{file.url} is an empty shard: expected rows with pictures, found none; leave it out")
    return found


def _read_footer(path: Any) -> tuple[pq.FileMetaData, pa.Schema]:
    with pq.ParquetFile(path) as parquet:
        return parquet.metadata, parquet.schema_arrow


def _read_row_group(path: Any, number: int) -> pa.Table:
    with pq.ParquetFile(path) as parquet:
        return parquet.read_row_group(number)
