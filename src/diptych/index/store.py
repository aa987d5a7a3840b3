# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportUnknownLambdaType=false
# pyarrow has no stubs.
"""Collections on disk: a LanceDB table and a `collection.json` in a folder below `DIPTYCH_HOME/collections`.

Reading needs no lock: every commit is a version, a reader sees one version whole. Writing goes through `writer.py`,
which holds the lease. A reader that meets files which compaction has just cleared away looks again at the newest
version.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import lancedb
import pyarrow as pa
from lancedb.table import Table

from diptych.core import config, files
from diptych.core.errors import CollectionError, CollectionNotFound, IndexMismatch
from diptych.core.types import EmbedderSpec, Scalar
from diptych.index import schema
from diptych.index.lease import writer_lease

T = TypeVar("T")
Facet: TypeAlias = tuple[tuple[Scalar, int], ...]
"""The values of a column, each with how many pictures have it."""

TABLE = "pictures"
MOST_VALUES = 50
"""A column with more distinct values is nothing to filter by clicking."""

_NAME = re.compile(r"\w[\w.-]{0,99}")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """A root that was indexed into a collection. `complete` is False from a job's start to its end."""

    root: str
    complete: bool
    indexed_at: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `collection.json` holds. All vectors of a collection are of one embedder, named by its fingerprint."""

    name: str
    model: str
    fingerprint: str
    dim: int
    created_at: str
    indexed_at: str
    sources: tuple[SourceState, ...] = ()
    format_version: int = 1


@dataclass(frozen=True, kw_only=True)
class CollectionInfo:
    """A collection at a glance. Times are ISO 8601, UTC; `disk_bytes` counts every file, old versions too."""

    name: str
    rows: int
    model: str
    fingerprint: str
    dim: int
    created_at: str
    indexed_at: str
    sources: tuple[SourceState, ...]
    disk_bytes: int
    path: str


@dataclass(frozen=True, kw_only=True)
class PictureInfo:
    """One picture of a collection, for people. `width` and `height` are the original's, upright."""

    id: str
    uri: str
    caption: str
    captions: tuple[str, ...]
    width: int
    height: int
    format: str
    file_bytes: int
    embedded_by: str
    indexed_at: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])


class Collection:
    """An existing collection, for reading. Safe to share between threads."""

    def __init__(self, name: str):
        """Open it. CollectionNotFound names those that exist."""
        self.name = name
        self.folder = collection_folder(name)
        self.manifest()
        self._latest = self._open(timedelta(0))

    def manifest(self) -> Manifest:
        """`collection.json` as it is now."""
        try:
            values = (self.folder / "collection.json").read_text(encoding="utf-8")
        except OSError as error:
            known = ", ".join(list_names()) or "none yet"
            raise CollectionNotFound(f"no collection {self.name!r} (there are: {known}); "
                                     f"make it with `diptych index FOLDER --to {self.name}`") from error
        return config.from_dict(Manifest, json.loads(values))

    def require(self, spec: EmbedderSpec) -> None:
        """IndexMismatch unless this embedder made the collection's vectors."""
        manifest = self.manifest()
        if manifest.fingerprint != spec.fingerprint:
            raise IndexMismatch(
                f"{self.name} holds vectors of {manifest.model} ({manifest.fingerprint[:12]}), not of {spec.name} "
                f"({spec.fingerprint[:12]}); use --model {manifest.model}, or index the pictures into another "
                f"collection with --model {spec.name} --to NAME")

    @property
    def info(self) -> CollectionInfo:
        """Rows, model, sources and size, as they are now."""
        manifest = self.manifest()
        disk = sum(map(_size, self.folder.rglob("*")))
        return CollectionInfo(
            name=self.name, rows=self.count(), model=manifest.model, fingerprint=manifest.fingerprint,
            dim=manifest.dim, created_at=manifest.created_at, indexed_at=manifest.indexed_at, sources=manifest.sources,
            disk_bytes=disk, path=str(self.folder))

    def count(self) -> int:
        """How many pictures it holds now."""
        return self.read(lambda table: table.count_rows())

    def state(self) -> tuple[int, int]:
        """What changes whenever the collection does: cheap enough (0.2 ms) to ask before every search."""
        try:
            born = (self.folder / "collection.json").stat().st_ctime_ns
        except OSError:
            self.manifest()  # raises CollectionNotFound with the names that exist
            raise
        return born, self.read(lambda table: table.version)

    def pinned(self) -> Table:
        """A handle on the newest version that stays on it, whatever is written later."""
        return self._open(None)

    def thumbnail(self, id: str) -> bytes | None:  # noqa: A002  the record's own name for it
        """The WebP thumbnail of a picture; it may be transparent. None if there is no such picture."""
        found = self._rows_of(id, ["thumbnail"])
        return found[0]["thumbnail"] if found else None

    def row(self, id: str) -> PictureInfo | None:  # noqa: A002
        """What is known of a picture. None if there is no such picture."""
        names = [name for name in self.column_types() if name not in ("vector", "thumbnail")]
        found = self._rows_of(id, names)
        if not found:
            return None
        values = found[0]
        return PictureInfo(
            id=values["id"], uri=values["uri"], caption=values["caption"] or "", captions=tuple(values["captions"]),
            width=values["width"], height=values["height"], format=values["format"], file_bytes=values["file_bytes"],
            embedded_by=values["embedded_by"], indexed_at=values["indexed_at"].isoformat(timespec="seconds"),
            metadata=schema.metadata_in(values))

    def column_types(self) -> dict[str, str]:
        """The columns that `where` can name, with their types, metadata last."""
        return {column.name: str(column.type) for column in self.read(lambda table: table.schema)
                if not column.name.endswith(schema.WIDENED)}

    def metadata_columns(self) -> dict[str, str]:
        """The columns that came from metadata, with their types."""
        return {name: kind for name, kind in self.column_types().items() if name not in schema.FIXED}

    def facets(self, columns: Sequence[str] | None = None, limit: int = MOST_VALUES) -> dict[str, Facet]:
        """Values of these columns with how many pictures have them, most frequent first, at most `limit` each.

        Without `columns`: the format and the metadata of text or true/false that have at most MOST_VALUES, which are
        what filters are made of. An unknown column is a ValueError.
        """
        types = self.column_types()
        chosen = list(columns) if columns is not None else [
            "format", *(name for name, kind in self.metadata_columns().items() if kind in ("string", "bool"))]
        for name in chosen:
            if name not in types or types[name] not in ("string", "bool", "int64", "int32", "double"):
                raise ValueError(f"{name!r} has no values to count; the columns are {', '.join(types)}")
        data: pa.Table = self.read(lambda table: table.search().select(chosen).limit(None).to_arrow())
        found: dict[str, Facet] = {}
        for name in chosen:
            counted = data[name].drop_null().value_counts()
            pairs = [(item["values"], item["counts"]) for item in counted.to_pylist()]
            if columns is not None or 1 <= len(pairs) <= MOST_VALUES:
                found[name] = tuple(sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))[:limit])
        return found

    def read(self, query: Callable[[Table], T]) -> T:
        """Ask the newest version; once more if a writer has cleared away the files that were being read."""
        for attempt in (1, 2):
            try:
                return query(self._latest)
            except (RuntimeError, OSError) as error:
                self.manifest()  # raises CollectionNotFound if it is gone
                if attempt == 2:
                    raise CollectionError(f"{self.name} cannot be read: {error}") from error
                self._latest = self._open(timedelta(0))
        raise AssertionError("unreachable")

    def _rows_of(self, id_: str, columns: list[str]) -> list[dict[str, Any]]:
        if not _ID.fullmatch(id_):
            return []
        return self.read(lambda table: table.search().where(f"id = '{id_}'").select(columns).limit(1).to_list())

    def _open(self, interval: timedelta | None) -> Table:
        try:
            return lancedb.connect(self.folder, read_consistency_interval=interval).open_table(TABLE)
        except (ValueError, RuntimeError, OSError) as error:
            self.manifest()
            raise CollectionError(f"{self.name} cannot be opened ({error}); remove it with "
                                  f"`diptych collections remove {self.name}` and index again") from error


def collection_folder(name: str) -> Path:
    """Where the collection of that name lives. ValueError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a collection's name is letters, digits, '.', '_' or '-' (at most 100, the first a letter or "
                         f"digit), got {name!r}")
    return files.home() / "collections" / name


def open_or_create(name: str, spec: EmbedderSpec) -> Collection:
    """The collection of that name, made for this embedder if there is none. IndexMismatch if it is of another."""
    folder = collection_folder(name)
    if not (folder / "collection.json").exists():
        with lease(name):
            if not (folder / "collection.json").exists():  # or another process was faster
                shutil.rmtree(folder, ignore_errors=True)  # what a killed creation left
                folder.mkdir(parents=True)
                lancedb.connect(folder).create_table(TABLE, schema=schema.fixed_schema(spec.dim))
                now = timestamp()
                write_manifest(Manifest(name=name, model=spec.name, fingerprint=spec.fingerprint, dim=spec.dim,
                                        created_at=now, indexed_at=now))
    collection = Collection(name)
    collection.require(spec)
    return collection


def list_names() -> list[str]:
    """The names of all collections, sorted."""
    return sorted(path.parent.name for path in (files.home() / "collections").glob("*/collection.json")
                  if _NAME.fullmatch(path.parent.name))


def remove(name: str) -> None:
    """Delete a collection: at once and whole. CollectionBusy while someone writes to it."""
    folder = collection_folder(name)
    with lease(name):
        if not folder.exists():
            Collection(name)  # raises CollectionNotFound with the names that exist
        doomed = folder.with_name(f".removed-{name}-{os.getpid()}")
        folder.rename(doomed)
        for leftover in folder.parent.glob(".removed-*"):  # this one, and what a killed removal left
            shutil.rmtree(leftover, ignore_errors=True)


def lease(name: str) -> AbstractContextManager[None]:
    """The writer's lease of a collection, as a context manager."""
    return writer_lease(collection_folder(name).parent / ".leases" / name, name)


def write_manifest(manifest: Manifest) -> None:
    """Replace `collection.json` atomically. Only whoever holds the lease may."""
    files.write_text(collection_folder(manifest.name) / "collection.json", config.to_json(manifest))


def with_source(manifest: Manifest, root: str, *, complete: bool) -> Manifest:
    """The manifest with this root's state changed, and the time of now."""
    now = timestamp()
    this = SourceState(root=root, complete=complete, indexed_at=now)
    others = tuple(source for source in manifest.sources if source.root != root)
    return replace(manifest, indexed_at=now, sources=(*others, this))


def timestamp() -> str:
    """Now, ISO 8601 with seconds, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:  # a job has just replaced it
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
