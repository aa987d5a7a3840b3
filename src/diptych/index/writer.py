# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# pyarrow has no stubs.
"""The one writer of a collection: upserts by key, deletes, widens columns, and clears old versions away.

Every method is one commit or a series of commits each of which leaves the table whole; a process killed between two
of them is made good by the next run.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
from lancedb.table import Table

from diptych.index import schema, store
from diptych.index.schema import WIDENED, PictureRow
from diptych.index.store import Collection

_IDS_PER_QUERY = 1000
_KEPT = timedelta(milliseconds=1)  # 0 means the same, with a warning; readers look again when a version is gone


@dataclass(frozen=True, slots=True)
class Known:
    """What a job needs to know of a stored picture to leave it alone."""

    id: str
    uri: str
    source: str
    content_hash: str
    stamp: str | None
    described: str


class Writer:
    """Changes a collection's table. Made by `writing`, which holds the lease."""

    def __init__(self, collection: Collection):
        self._table: Table = collection.pinned()
        self._fingerprint = collection.manifest().fingerprint
        self._finish_widening()

    def known(self) -> list[Known]:
        """Every stored picture, the latest indexed last."""
        names = [*Known.__slots__, "indexed_at"]
        table = self._table.search().select(names).limit(None).to_arrow().sort_by("indexed_at")
        return [Known(*values) for values in zip(*(table[name].to_pylist() for name in Known.__slots__), strict=True)]

    def fetch(self, ids: Iterable[str]) -> dict[str, PictureRow]:
        """Whole rows by id; ids that are not there are left out."""
        found: dict[str, PictureRow] = {}
        for some in _in_parts(list(ids)):
            table = self._table.search().where(some).limit(None).to_arrow()
            found.update((row.id, row) for row in schema.from_arrow(table))
        return found

    def upsert(self, rows: Sequence[PictureRow]) -> None:
        """Insert or replace rows by id, in one commit; before it, columns are added or widened for their metadata."""
        if not rows:
            return
        self._fit_columns(schema.metadata_types(rows))
        table = schema.to_arrow(rows, self._table.schema, self._fingerprint)
        self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(table)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows by id."""
        for some in _in_parts(ids):
            self._table.delete(some)

    def optimize(self) -> None:
        """Merge small files and remove old versions, and what killed writers left behind."""
        # "unverified" files may be another writer's in flight; the lease says that there is none
        self._table.optimize(cleanup_older_than=_KEPT, delete_unverified=True)

    def _fit_columns(self, needed: dict[str, pa.DataType]) -> None:
        have = {column.name: column.type for column in self._table.schema}
        new = [pa.field(name, kind) for name, kind in needed.items() if name not in have]
        if new:
            self._table.add_columns(new)
        for name, kind in needed.items():
            if name in have and (wide := schema.widen(have[name], kind)) != have[name]:
                sql = "string" if wide == pa.string() else "double"
                self._table.add_columns({f"{name}{WIDENED}": f"cast(`{name}` as {sql})"})
                self._finish_widening()

    def _finish_widening(self) -> None:
        """Put widened columns in the place of the originals, also those of a writer that was killed at it.

        Add, drop, rename: three commits. The widened column is complete whenever it is there, for nothing is
        written before it has its name.
        """
        names = {column.name for column in self._table.schema}
        for name in sorted(names):
            if name.endswith(WIDENED):
                original = name.removesuffix(WIDENED)
                if original in names:
                    self._table.drop_columns([original])
                alteration: Any = {"path": name, "rename": original}  # lancedb annotates a list and takes *args
                self._table.alter_columns(alteration)


@contextmanager
def writing(collection: Collection) -> Generator[Writer, None, None]:
    """The collection's one writer, until the block ends. CollectionBusy if another process or thread has it."""
    with store.lease(collection.name):
        for leftover in collection.folder.glob(".*.part"):  # atomic writes that a kill cut short
            leftover.unlink(missing_ok=True)
        yield Writer(collection)


def _in_parts(ids: Sequence[str]) -> list[str]:
    parts = (ids[i:i + _IDS_PER_QUERY] for i in range(0, len(ids), _IDS_PER_QUERY))
    return [f"id IN ({', '.join(repr(id_) for id_ in part)})" for part in parts]
