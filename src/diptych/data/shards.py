"""Training data by its name: tars, Parquet, CSV, TSV, JSON Lines and folders of pictures, here or behind a URL.

`open_shards("s3://bucket/train-{000..999}.tar")`, `open_shards("pairs.parquet")`, `open_shards("photos/")`.
Opening lists and counts; pictures are read when an order asks for them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diptych.core import telemetry
from diptych.core.errors import SourceError
from diptych.core.files import sha256_bytes
from diptych.core.types import Pair, Skipped
from diptych.data import lines
from diptych.data.copies import Copies, File, find_files
from diptych.data.lines import open_lines
from diptych.data.parquets import RowGroups, open_parquet
from diptych.data.pictures import map_beside, read_picture
from diptych.data.records import Record, Shard
from diptych.data.sources import open_source
from diptych.data.tars import open_tar

FILES = 1024
"""Pictures of a folder's shard."""

_AT_ONCE = 16
"""Files that are opened at a time: what is far away answers late."""


@dataclass(frozen=True, kw_only=True)
class FolderShard:
    """Some pictures of a folder, with the captions that lie beside them."""

    root: str
    first: int
    pairs: tuple[Pair, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """The folder and the pictures' numbers."""
        return f"{self.root}[{self.first}:{self.first + len(self)}]"

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Record:
        """Picture `index` of the shard."""
        pair = self.pairs[index]
        return Record(key=pair.uri, data=read_picture(pair.uri), captions=pair.captions, metadata=pair.metadata,
                      read_map=partial(map_beside, pair.uri))


def open_shards(paths: str | Path | Sequence[str | Path], copies: Copies | None = None) -> tuple[Shard, ...]:
    """The shards of everything that is named, in this order; a pattern's files are sorted by name.

    Patterns have `{000..127}`, `{a,b}` and `*`. A local folder with tars or Parquet files directly in it stands for
    them, else for the pictures below it. SourceError names what is missing, empty, or of no kind that is read.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    groups = RowGroups()
    shards = [shard for path in given for shard in _open(str(path), copies, groups)]
    if not shards:
        raise SourceError(f"{', '.join(map(str, given)) or 'no path'} gives no shard: expected tars, Parquet, CSV, "
                          "TSV, JSON Lines or a folder of pictures")
    return tuple(shards)


def _open(path: str, copies: Copies | None, groups: RowGroups) -> list[Shard]:
    if "://" not in path and Path(path).is_dir():
        inside = sorted(str(p) for p in Path(path).iterdir() if p.suffix in {".tar", ".parquet"} and p.is_file())
        if not inside:
            return list(_folder(path))
        return [shard for name in inside for shard in _open(name, copies, groups)]
    kinds: dict[str, Callable[[File], Sequence[Shard]]] = {
        ".tar": lambda file: [open_tar(file)], ".parquet": lambda file: open_parquet(file, groups),
        **dict.fromkeys(lines.SUFFIXES, open_lines)}
    files = find_files(path, copies)
    if others := [file.url for file in files if file.suffix not in kinds]:
        raise SourceError(f"{others[0]} is of no kind that is read; expected one of {', '.join(kinds)}, or a folder")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [shard for found in pool.map(lambda file: kinds[file.suffix](file), files) for shard in found]


def _folder(path: str) -> list[FolderShard]:
    source = open_source(path)
    pairs: list[Pair] = []
    for record in source.records:
        if isinstance(record, Skipped):
            telemetry.count("data_skipped", reason=record.reason)
        else:
            pairs.append(record)
    if not pairs:
        raise SourceError(f"{path} has no pictures; expected pictures with captions beside them, or tars or Parquet")
    shards = []
    for first in range(0, len(pairs), FILES):
        part = tuple(pairs[first : first + FILES])
        said = repr([(Path(pair.uri).relative_to(source.root).as_posix(), pair.captions, _size(pair)) for pair in part])
        shards.append(FolderShard(root=source.root, first=first, pairs=part, fingerprint=sha256_bytes(said.encode())))
    return shards


def _size(pair: Pair) -> str:
    return (pair.stamp or "").partition("-")[0]  # without the time: another machine's copy is the same data
