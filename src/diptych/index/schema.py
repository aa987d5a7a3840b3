# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# pyarrow has no stubs.
"""The columns of a collection, and how metadata becomes typed columns of its own that SQL can filter by.

A metadata column takes the type of the first value it sees and is widened when a later one does not fit:
whole number → floating point → text, true/false → text. Nothing is dropped, and nothing is guessed from text.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from diptych.core.types import Scalar

FIXED = ("id", "uri", "source", "content_hash", "stamp", "described", "captions", "caption", "width", "height",
         "format", "file_bytes", "thumbnail", "vector", "embedded_by", "indexed_at")
"""The columns that every collection has; metadata of the same name is stored as `meta_<name>`."""

WIDENED = "__widened"
"""Suffix of a column that is being widened; it replaces the original in the next step."""

_INT64 = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One stored picture. `vector` has unit norm; `thumbnail` is WebP; `stamp` None means "always look again"."""

    id: str
    uri: str
    source: str
    content_hash: str
    stamp: str | None
    described: str
    captions: tuple[str, ...]
    width: int
    height: int
    format: str
    file_bytes: int
    thumbnail: bytes
    vector: Float[np.ndarray, " dim"]
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])


def picture_id(content_hash: str, uri: str) -> str:
    """The primary key: sha256 over content hash and URI. A copy is another row, the same file is the same row."""
    return hashlib.sha256(f"{content_hash}\n{uri}".encode()).hexdigest()


def describe(captions: Sequence[str], metadata: Mapping[str, Scalar]) -> str:
    """A digest of what is said about a picture: it changes when captions or metadata do."""
    said = json.dumps([list(captions), sorted(metadata.items())], ensure_ascii=False)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fixed_schema(dim: int) -> pa.Schema:
    """The columns before any metadata. `id` is declared as the key, so that concurrent upserts cannot double a row."""
    key = {"lance-schema:unenforced-primary-key": "true"}
    return pa.schema([
        pa.field("id", pa.string(), nullable=False, metadata=key),
        pa.field("uri", pa.string()), pa.field("source", pa.string()), pa.field("content_hash", pa.string()),
        pa.field("stamp", pa.string()), pa.field("described", pa.string()),
        pa.field("captions", pa.list_(pa.string())), pa.field("caption", pa.string()),
        pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("format", pa.string()),
        pa.field("file_bytes", pa.int64()), pa.field("thumbnail", pa.binary()),
        pa.field("vector", pa.list_(pa.float32(), dim)), pa.field("embedded_by", pa.string()),
        pa.field("indexed_at", pa.timestamp("us", tz="UTC"))])


def column_name(key: str) -> str:
    """A metadata key as a column name that needs no quoting in SQL: letters, digits and underscores."""
    name = re.sub(r"\W+", "_", key).strip("_") or "unnamed"
    name = f"_{name}" if name[0].isdigit() else name
    return f"meta_{name}" if name.lower() in FIXED else name


def columns_of(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Metadata by column name; integers that no 64-bit column holds become text."""
    return {column_name(key): str(value) if isinstance(value, int) and value not in _INT64 else value
            for key, value in metadata.items()}


def column_type(value: Scalar) -> pa.DataType:
    """The column type that holds a value."""
    match value:
        case bool():
            return pa.bool_()
        case int():
            return pa.int64()
        case float():
            return pa.float64()
        case str():
            return pa.string()


def widen(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The narrowest type that holds values of both."""
    if a == b:
        return a
    return pa.float64() if {str(a), str(b)} == {"int64", "double"} else pa.string()


def metadata_types(rows: Iterable[PictureRow]) -> dict[str, pa.DataType]:
    """The column types that these rows' metadata need."""
    types: dict[str, pa.DataType] = {}
    for row in rows:
        for name, value in columns_of(row.metadata).items():
            types[name] = widen(types.get(name, column_type(value)), column_type(value))
    return types


def to_arrow(rows: Sequence[PictureRow], schema: pa.Schema, embedded_by: str) -> pa.Table:
    """Rows as a table of this schema, whose metadata columns are wide enough."""
    now = datetime.now(UTC)
    metadata = [columns_of(row.metadata) for row in rows]
    columns: list[Any] = []
    for column in schema:
        match column.name:
            case "vector":
                flat = pa.array(np.concatenate([row.vector for row in rows]).astype(np.float32))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, type=column.type))
            case "caption":
                columns.append(pa.array([row.captions[0] if row.captions else None for row in rows], column.type))
            case "embedded_by":
                columns.append(pa.array([embedded_by] * len(rows), column.type))
            case "indexed_at":
                columns.append(pa.array([now] * len(rows), column.type))
            case name if name in FIXED:
                columns.append(pa.array([getattr(row, name) for row in rows], column.type))
            case name:
                fit = _as_text if column.type == pa.string() else _as_float if column.type == pa.float64() else _as_is
                columns.append(pa.array([fit(values.get(name)) for values in metadata], column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def from_arrow(table: pa.Table) -> list[PictureRow]:
    """Stored rows back as records."""
    return [PictureRow(**{name: values[name] for name in FIXED if name in PictureRow.__dataclass_fields__
                          and name not in ("captions", "vector")},
                       captions=tuple(values["captions"]), vector=np.array(values["vector"], dtype=np.float32),
                       metadata=metadata_in(values))
            for values in table.to_pylist()]


def metadata_in(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """The metadata columns among a row's values that hold something."""
    return {name: value for name, value in values.items()
            if name not in FIXED and not name.endswith(WIDENED) and name != "_rowid" and value is not None}


def _as_is(value: Scalar | None) -> Scalar | None:
    return value


def _as_float(value: Scalar | None) -> float | None:
    """A whole number among fractions; one above 2⁵³ is rounded, as LanceDB's own widening rounds it."""
    return None if value is None else float(value)


def _as_text(value: Scalar | None) -> str | None:
    """Text as LanceDB casts it, so that a value reads the same whether it came before or after the widening."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
