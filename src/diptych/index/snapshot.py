# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportUnknownLambdaType=false
# pyarrow has no stubs.
"""One version of a collection in memory: vectors, ids and the words of its captions. Immutable, shared by threads.

Everything shown of a hit (URI, caption, metadata) stays on disk and is taken for the few rows that are asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64
from lancedb.table import Table

from diptych.core.errors import FilterError
from diptych.index import lexical
from diptych.index.lexical import LexicalIndex
from diptych.index.schema import FIXED, WIDENED
from diptych.index.store import Collection

MAX_OPERATORS = 200
"""In one condition. DataFusion descends into each chain of them: some 700 overflow its stack and end the process."""

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_OPERATOR = re.compile(r"[-+*/%|&^<>=!~(\[]|\b(?:AND|OR|NOT|IS|LIKE|ILIKE|BETWEEN|CASE|WHEN|IN)\b", re.IGNORECASE)


class StaleSnapshotError(Exception):
    """The files of this version have been cleared away; load the newest one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """Rows are sorted by id, so that ties by row are ties by id. Not for pickling: it holds an open table."""

    ids: np.ndarray
    row_ids: UInt64[np.ndarray, " n"]
    vectors: Float[np.ndarray, "n dim"]
    words: LexicalIndex
    table: Table

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def metadata_columns(self) -> list[str]:
        """The columns that came from metadata."""
        return [name for name in self.table.schema.names if name not in FIXED and not name.endswith(WIDENED)]

    def find(self, id_: str) -> int | None:
        """The row of an id, or None."""
        wanted = id_.encode("utf-8", "replace")
        row = int(np.searchsorted(self.ids, wanted)) if len(wanted) == 64 else len(self)
        return row if row < len(self) and self.ids[row] == wanted else None

    def where(self, condition: str) -> Bool[np.ndarray, " n"]:
        """Which rows satisfy a SQL condition. FilterError lists the columns."""
        operators = len(_OPERATOR.findall(_LITERAL.sub("''", condition)))
        if operators > MAX_OPERATORS:
            raise FilterError(f"the condition has {operators} operators, {MAX_OPERATORS} is the limit; a long list of "
                              "alternatives is written column IN ('a', 'b', …)")
        try:
            found = self.table.search().where(condition).select(["id"]).with_row_id(True).limit(None).to_arrow()
        except (ValueError, RuntimeError) as error:
            if _is_missing_file(error):
                raise StaleSnapshotError from error
            columns = ", ".join(f"{column.name} ({column.type})" for column in self.table.schema
                                if column.name not in ("vector", "thumbnail") and not column.name.endswith(WIDENED))
            reason = re.split(r", /\S+\.rs:", str(error).removeprefix("Invalid input, "))[0]
            raise FilterError(f"{condition!r} is not a condition over this collection: {reason} Its columns are "
                              f"{columns}; one that is also a word of SQL goes in `backticks`") from error
        return np.isin(self.row_ids, found["_rowid"].to_numpy())

    @cached_property
    def by_uri(self) -> Int[np.ndarray, " n"]:
        """Rows sorted by URI, ties by id."""
        values = self._take(lambda: self.table.search().select(["uri"]).with_row_id(True).limit(None).to_arrow())
        texts = dict(zip(values["_rowid"].to_pylist(), values["uri"].to_pylist(), strict=True))
        return np.array(sorted(range(len(self)), key=lambda row: texts[int(self.row_ids[row])]), dtype=np.int64)

    def fetch(self, rows: Sequence[int] | Int[np.ndarray, " m"], columns: Sequence[str]) -> list[dict[str, Any]]:
        """These columns of these rows, in their order."""
        if len(rows) == 0:
            return []
        row_ids = [int(self.row_ids[row]) for row in rows]
        table = self._take(
            lambda: self.table.take_row_ids(row_ids).select(list(columns)).with_row_id().to_arrow())
        found = {values["_rowid"]: values for values in table.to_pylist()}
        if len(found) != len(set(row_ids)):
            raise StaleSnapshotError
        return [found[row_id] for row_id in row_ids]

    def _take(self, read: Any) -> Any:
        try:
            return read()
        except (RuntimeError, OSError, ValueError) as error:
            raise StaleSnapshotError from error


def load(collection: Collection) -> Snapshot:
    """The newest version of a collection, in memory."""
    table = collection.pinned()
    try:
        data = table.search().select(["id", "vector", "captions"]).with_row_id(True).limit(None).to_arrow()
    except (RuntimeError, OSError) as error:
        raise StaleSnapshotError from error
    data = data.sort_by("id").combine_chunks()
    dim = table.schema.field("vector").type.list_size
    flat = data["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Snapshot(
        ids=np.array(data["id"].to_pylist(), dtype="S64"),
        row_ids=data["_rowid"].to_numpy().astype(np.uint64),
        vectors=np.ascontiguousarray(flat, dtype=np.float32).reshape(-1, dim),
        words=lexical.build(data["captions"].to_pylist()), table=table)


def _is_missing_file(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "Not found: " in str(error)
