"""What training data is made of: records, and shards that give each of theirs at random access.

A shard is the unit of reading: a tar, a row group of a Parquet file, some thousand rows of a table, some thousand files
of a folder. It can be pickled to a worker process, and says by its fingerprint whether it is still the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from diptych.core.files import sha256_bytes
from diptych.core.types import Scalar


def no_map(kind: str) -> None:
    """What a record without maps gives."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One encoded picture and what is said about it.

    `key` names it to people, and nothing else is told by it. `parts` are a tar's other members of the same key, by
    their suffix without the dot (stored embeddings, boxes). `read_map(kind)` is a map of its pixels (`pictures.MAPS`),
    read now, because training asks for none; None where it has none of the kind, PictureError when it cannot be read.
    """

    key: str
    data: bytes
    captions: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    parts: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    read_map: Callable[[str], bytes | None] = field(default=no_map, compare=False)


@runtime_checkable
class Shard(Protocol):
    """Records, read one at a time by their number."""

    @property
    def name(self) -> str:
        """Where it lies, for people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Another one when the contents changed; the same one on another machine or in another folder."""
        ...

    def __len__(self) -> int:
        """Number of records, at least 1."""
        ...

    def read(self, index: int) -> Record:
        """Record `index`, from 0. PictureError, whose reason can be counted, when it cannot be read."""
        ...


@dataclass(frozen=True, kw_only=True)
class MemoryShard:
    """Records that are in memory anyway, such as those of the bundled corpus."""

    name: str
    records: tuple[Record, ...]

    @property
    def fingerprint(self) -> str:
        """A sha256 of the pictures and what is said about them."""
        parts = [f"{sha256_bytes(r.data)} {r.captions} {dict(r.metadata)}" for r in self.records]
        return sha256_bytes("\n".join(parts).encode("utf-8", "replace"))

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> Record:
        """Record `index`."""
        return self.records[index]
