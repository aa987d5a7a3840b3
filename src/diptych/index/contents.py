# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportUnknownLambdaType=false
# pyarrow has no stubs.
"""One version of a collection, whole: what an evaluation asks, whatever is written meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from diptych.core.errors import IndexMismatch
from diptych.core.types import EmbedderSpec
from diptych.index.schema import FIXED, WIDENED
from diptych.index.store import Collection

_TOLD = ("string", "bool", "int64")


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """Rows sorted by id. All `vectors` are of the embedder with this `fingerprint`; `metadata` are columns of text,
    true/false and whole numbers, as text, "" where a row has none."""

    version: int
    fingerprint: str
    ids: tuple[str, ...]
    uris: tuple[str, ...]
    hashes: tuple[str, ...]
    stamps: tuple[str | None, ...]
    vectors: Float[np.ndarray, "n dim"]
    metadata: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    def vectors_of(self, spec: EmbedderSpec) -> Float[np.ndarray, "n dim"]:
        """The vectors, for the embedder that made them. IndexMismatch for another one."""
        if spec.fingerprint != self.fingerprint:
            raise IndexMismatch(f"version {self.version} holds vectors of {self.fingerprint[:12]}, not of {spec.name} "
                                f"({spec.fingerprint[:12]}); index the pictures anew, or get the model that made them")
        return self.vectors


def read_contents(collection: Collection) -> Contents:
    """The newest version. IndexMismatch when it holds vectors of more than one embedder."""
    columns = [name for name, kind in collection.metadata_columns().items() if kind in _TOLD]
    wanted = ["id", "uri", "content_hash", "stamp", "vector", "embedded_by", *columns]
    version, data = collection.read(lambda _: _rows(collection, wanted))
    fingerprint = collection.manifest().fingerprint
    if others := set(data["embedded_by"].to_pylist()) - {fingerprint}:
        raise IndexMismatch(f"{collection.name} says that it is of {fingerprint[:12]} and holds vectors of "
                            f"{', '.join(sorted(str(other)[:12] for other in others))}; index it anew")
    flat = data["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Contents(
        version=version, fingerprint=fingerprint, ids=tuple(data["id"].to_pylist()),
        uris=tuple(data["uri"].to_pylist()), hashes=tuple(data["content_hash"].to_pylist()),
        stamps=tuple(data["stamp"].to_pylist()),
        vectors=np.ascontiguousarray(flat, np.float32).reshape(len(data), collection.manifest().dim),
        metadata={name: tuple(data[name].cast(pa.string()).fill_null("").to_pylist()) for name in columns
                  if name not in FIXED and not name.endswith(WIDENED)})


def _rows(collection: Collection, columns: list[str]) -> tuple[int, pa.Table]:
    table = collection.pinned()
    return table.version, table.search().select(columns).limit(None).to_arrow().sort_by("id").combine_chunks()
