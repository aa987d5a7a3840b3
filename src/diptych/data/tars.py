"""Tars of pictures, as WebDataset has them, read at random access through an index of their members.

Files with the same path up to the name's first dot are one record: `000/boat.jpg`, `000/boat.txt`, `000/boat.json`.
The picture is the member with a picture's suffix; `.txt` is one caption, or one a line where the shard says so;
`.json` holds captions (`caption`, `text` …) and metadata; whatever else there is comes along as bytes, but for maps
(`pictures.MAPS`), which are read when asked for. An index lists where the members lie. It is made once, kept in
`$DIPTYCH_HOME`, and can be put beside the tar (`write_index`), so that a cluster need not read every shard to count it.
A compressed tar cannot be read at random access.
"""

import functools
import io
import itertools
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from diptych.core import telemetry
from diptych.core.errors import PictureError, SourceError
from diptych.core.files import atomic_write, home, sha256_bytes, write_text
from diptych.core.types import Scalar
from diptych.data import tables
from diptych.data.copies import File
from diptych.data.pictures import MAPS, NO_PICTURE
from diptych.data.records import Record
from diptych.data.sources import PICTURE_SUFFIXES
from diptych.inputs.image import MAX_BYTES, TOO_LARGE, TRUNCATED, UNREADABLE, of_allowed_size, sniff

INDEX = ".index"
"""What is added to a tar's name for its index."""

BAD_CAPTION = "caption cannot be read"

_VERSION = 1
_LARGEST_RECORD = 1 << 30
_INDICES_KEPT = 40
"""Two windows and some: 6 MB each of ten thousand records."""

Members: TypeAlias = list[tuple[str, int, int]]
"""(suffix without its first dot, offset, size) of each member of a record."""


@dataclass(frozen=True, kw_only=True)
class TarShard:
    """One tar. Its index stays on disk; `_Indices` keeps those in memory that are being read. With `lines` each line of
    a `.txt` is a caption, as CLIP_benchmark exports retrieval sets."""

    file: File
    index: str
    count: int
    fingerprint: str
    lines: bool = False

    @property
    def name(self) -> str:
        """The tar's path or URL."""
        return self.file.url

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Record:
        """Record `index` in the tar's own order."""
        key, members = _members(self.index)[index]
        by_suffix: dict[str, bytes] = {}
        for are_maps, run in itertools.groupby(members, lambda member: member[0] in MAPS):
            if not are_maps:  # members of a record lie side by side: one read for all
                by_suffix |= _read(self.file, key, list(run), _LARGEST_RECORD)
        record = _record(f"{self.name}#{key}", by_suffix, self.lines)
        maps = {member[0]: member for member in members if member[0] in MAPS}
        return replace(record, read_map=functools.partial(_read_map, self.file, key, maps)) if maps else record


def open_tar(file: File) -> TarShard:
    """A tar as a shard: by the index beside it, the one in the cache, or one that is made now.

    SourceError when it is no tar, is compressed, or holds no complete record.
    """
    beside = f"{file.url}{INDEX}"
    own = home() / "indices" / f"{sha256_bytes(f'{file.url} {file.size} {file.stamp}'.encode())[:32]}{INDEX}"
    for place in (str(own), beside):
        head = _head(place)
        if head and head["version"] == _VERSION and head["bytes"] == file.size:
            if place == beside:  # a copy of it, so that a remote one is read once and not by every worker
                write_text(own, _text(place))
            return TarShard(file=file, index=str(own), count=head["count"], fingerprint=head["fingerprint"])
    lines = _indexed(file)
    write_text(own, lines)
    head = json.loads(lines.partition("\n")[0])
    return TarShard(file=file, index=str(own), count=head["count"], fingerprint=head["fingerprint"])


def write_index(file: File) -> str:
    """Put the index beside a local tar; returns its path."""
    if "://" in file.url:
        raise ValueError(f"{file.url} is remote; make the index of the local tar and upload both")
    target = f"{file.url}{INDEX}"
    write_text(target, _indexed(file))
    return target


def write_tar(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as a WebDataset tar and return their number. Keys become 8-digit numbers; the record's own is in
    its metadata as `key`. Whole or absent, see `atomic_write`."""
    count = 0
    with atomic_write(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for record in records:
            said: dict[str, object] = {"captions": list(record.captions), "key": record.key, **record.metadata}
            suffix = (sniff(record.data[:32]) or "bin").lower().replace("jpeg", "jpg")
            members = {suffix: record.data, "json": json.dumps(said, ensure_ascii=False).encode(), **record.parts,
                       **{kind: data for kind in MAPS if (data := record.read_map(kind)) is not None}}
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{count:08}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            count += 1
    return count


def _read(file: File, key: str, members: Members, largest: int) -> dict[str, bytes]:
    """Members that lie side by side, by their suffix."""
    (_, first, _), (_, last, length) = members[0], members[-1]
    size = last + length - first
    if size > largest:
        raise PictureError(TOO_LARGE, f"{file.url}#{key} spans {size} bytes")
    try:
        data = file.read(first, size)
    except EOFError as error:
        raise PictureError(TRUNCATED, str(error)) from error
    except OSError as error:
        raise PictureError(UNREADABLE, f"{file.url}: {error}") from error
    return {suffix: data[offset - first : offset - first + length] for suffix, offset, length in members}


def _read_map(file: File, key: str, maps: dict[str, tuple[str, int, int]], kind: str) -> bytes | None:
    return _read(file, key, [maps[kind]], MAX_BYTES)[kind] if kind in maps else None


def _record(key: str, members: dict[str, bytes], lines: bool) -> Record:
    kinds = {suffix: f".{suffix.rpartition('.')[2]}" for suffix in members}
    # `boat.jpg` before `boat.seg.png`: a plain suffix is the picture itself
    pictures = sorted((suffix for suffix, kind in kinds.items() if kind in PICTURE_SUFFIXES),
                      key=lambda suffix: suffix.count("."))
    if not pictures:
        raise PictureError(NO_PICTURE, f"{key} has {', '.join(members) or 'maps alone'}")
    data = of_allowed_size(members.pop(pictures[0]))
    captions: tuple[str, ...] = ()
    metadata: dict[str, Scalar] = {}
    try:
        if "txt" in members:
            text = members.pop("txt").decode("utf-8-sig")
            texts = text.replace(r"\n", " ").splitlines() if lines else [text]
            captions = tables.captions_of([" ".join(t.split()) for t in texts])
        if "json" in members:
            more, metadata = tables.said_in(json.loads(members.pop("json")))
            captions = tuple(dict.fromkeys((*captions, *(" ".join(caption.split()) for caption in more))))
    except ValueError as error:
        raise PictureError(BAD_CAPTION, f"{key}: {error}") from error
    return Record(key=key, data=data, captions=captions, metadata=metadata, parts=members)


def _indexed(file: File) -> str:
    """The index as text: a line that says what it is of, a line with the members of every record."""
    try:
        return file.using(lambda path: _index_of(path, file))
    except OSError as error:
        raise SourceError(f"{file.url} cannot be read: {error}") from error


def _index_of(path: Path, file: File) -> str:
    records: list[tuple[str, Members]] = []
    broken = ""
    with path.open("rb") as stream:
        _refuse_compressed(stream, file.url)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    if member.isreg() and member.offset_data + member.size <= file.size:
                        _add(records, member)
                    tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # else it remembers every member, 1 kB each
                stream.seek(tar.offset)
                if stream.read(512).strip(b"\0"):  # tarfile takes a damaged header for the end
                    broken = f"its header at byte {tar.offset} is damaged"
        except tarfile.TarError as error:
            broken = str(error)
    if not records:
        raise SourceError(f"{file.url} is an empty shard, or not a tar{f' ({broken})' if broken else ''}: expected "
                          f"records such as 0.jpg with 0.txt, found none in {file.size} bytes; leave it out")
    if broken:
        telemetry.count("data_damaged_shards")
        telemetry.notice(f"{file.url} is damaged ({broken}); the {len(records)} records before that are used")
    entries = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
    head = {"version": _VERSION, "bytes": file.size, "count": len(records), "damage": broken,
            "fingerprint": sha256_bytes(entries.encode())}
    return f"{json.dumps(head)}\n{entries}\n"


def _refuse_compressed(stream: BinaryIO, url: str) -> None:
    kinds = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
    head = stream.read(8)
    for signature, kind in kinds.items():
        if head.startswith(signature):
            raise SourceError(f"{url} is compressed with {kind}: its records cannot be read at random access; "
                              "unpack it to a plain .tar (pictures are compressed already)")
    stream.seek(0)


def _add(records: list[tuple[str, Members]], member: tarfile.TarInfo) -> None:
    """Members of one record are neighbours, as WebDataset has it; a name that comes again later is another record."""
    path = PurePosixPath(member.name)
    stem, dot, suffix = path.name.partition(".")
    if not stem or not dot:  # hidden files, and files without a suffix
        return
    key = (path.parent / stem).as_posix().encode("utf-8", "replace").decode()
    suffix = suffix.lower().encode("utf-8", "replace").decode()
    if not records or records[-1][0] != key or any(suffix == known for known, _, _ in records[-1][1]):
        records.append((key, []))
    records[-1][1].append((suffix, member.offset_data, member.size))


def _text(place: str) -> str:
    with cast("Any", fsspec).open(place, "rt", encoding="utf-8") as stream:  # fsspec ships no types
        return stream.read()


def _head(place: str) -> dict | None:
    """The first line of an index, or None if there is none that can be read."""
    try:
        with cast("Any", fsspec).open(place, "rt", encoding="utf-8") as stream:
            head = json.loads(stream.readline())
    except Exception:  # no index there, or none that can be read: every file system has exceptions of its own
        return None
    return head if isinstance(head, dict) and head.keys() >= {"version", "bytes", "count", "fingerprint"} else None


@functools.lru_cache(maxsize=_INDICES_KEPT)
def _members(place: str) -> list[tuple[str, Members]]:
    """The records of an index. Those of the latest shards stay in memory: an order reads a window of them at a time."""
    return [(key, [tuple(m) for m in members]) for key, members in json.loads(_text(place).partition("\n")[2])]
