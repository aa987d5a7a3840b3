"""Where pictures come from: folders, single files, and tables of pairs. Records stream out, undecoded.

A folder is walked in a fixed order, links are followed once, hidden files are left alone. What lies beside pictures
and plainly is none (text, video, archives) is passed over in silence; what a person could have meant as a picture
(SVG, camera raw, an unknown kind, a broken link) is reported as Skipped. A caption may lie beside its picture:
`boat.txt` (one a line) or `boat.json` (`caption` or `captions`; its other values are metadata). A map beside its
picture, `boat.mask.png`, is no picture of its own.
"""

import errno
import itertools
import json
import mimetypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.core.errors import SourceError
from diptych.core.types import Pair, Scalar, Skipped
from diptych.data import tables
from diptych.data.pictures import MAPS
from diptych.inputs.image import SVG, sniff, why_unreadable

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp",
                    ".dib", ".avif", ".heic", ".heif", ".hif"}

NO_PICTURES = "no pictures found"
NOT_READ = "format is not read"
UNKNOWN = "unknown kind of file"
TABLE = "table of pairs"
LOOP = "symlink loop"
NOT_UTF8 = "file name is not UTF-8"
BAD_SIDECAR = "caption file cannot be read"

_OTHER_PICTURES = (".psd", ".psb", ".ai", ".eps", ".jp2", ".j2k", ".jxl", ".ico", ".tga", ".xcf", ".exr", ".hdr",
                   ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
_REPORTED = {".svg": SVG, **dict.fromkeys(tables.SUFFIXES, TABLE), **dict.fromkeys(_OTHER_PICTURES, NOT_READ)}
_SILENT = {*mimetypes.MimeTypes().types_map[True], ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub",
           ".mkv", ".m4v", ".mts", ".m2ts", ".3gp", ".lrv", ".thm", ".flac", ".srt", ".vtt", ".aae", ".xmp", ".db",
           ".ini", ".lnk", ".url", ".log", ".yaml", ".yml", ".toml", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar",
           ".pyc", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".part", ".tmp", ".bak"}
_SIDECAR_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that pictures come from. `root` is its resolved path: a later run over the same root knows which
    pictures are gone. `records` can be read once; `total` is how many they are."""

    root: str
    total: int
    records: Iterable[Pair | Skipped]


def open_sources(paths: Sequence[str | Path]) -> list[Source]:
    """The sources behind these paths, each once; all single pictures together are one, with the root "".

    SourceError names a path that is no folder, picture or table.
    """
    sources: dict[str, Source] = {}
    pictures: dict[str, Source] = {}
    for source in map(open_source, paths):
        is_picture = Path(source.root).suffix.lower() not in tables.SUFFIXES and Path(source.root).is_file()
        (pictures if is_picture else sources)[source.root] = source
    if pictures:
        records = itertools.chain.from_iterable(source.records for source in pictures.values())
        sources[""] = Source(root="", total=len(pictures), records=records)
    return list(sources.values())


def open_source(path: str | Path) -> Source:
    """A folder (recursive), one picture, or a table (Parquet, CSV, TSV, JSON Lines). Lists, reads nothing yet."""
    if "://" in str(path):
        raise SourceError(f"{path} is not a local path; list remote pictures in a table with a `url` column")
    root = Path(path).resolve()
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise SourceError(f"{path}: {why_unreadable(error)}; expected a folder, a picture or a table") from error
    if stat.S_ISDIR(mode):
        found = list(_walk(str(root))) or [Skipped(id=str(root), reason=NO_PICTURES)]
        return Source(root=str(root), total=len(found), records=_folder_records(found))
    if not stat.S_ISREG(mode):
        raise SourceError(f"{path} is neither a folder nor a regular file")
    if root.suffix.lower() in tables.SUFFIXES:
        total, records = tables.read_table(root, file_stamp)
        return Source(root=str(root), total=total, records=records)
    siblings = {entry.name for entry in root.parent.iterdir()} if os.access(root.parent, os.R_OK) else set[str]()
    found = [_Found(str(root), _sidecars(root.name, siblings))]
    return Source(root=str(root), total=1, records=_folder_records(found))


def file_stamp(path: str) -> str:
    """Size and modification time of a file: what changes when it may have changed. OSError if it is not there."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return f"{status.st_size}-{status.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    sidecars: tuple[str, ...]


def _walk(root: str) -> Iterator[_Found | Skipped]:
    """Pictures below `root`: a folder's files by name, then its folders by name. Each folder once."""
    visited: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = Path(folder).stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(id=_printable(folder), reason=why_unreadable(error))
            continue
        visited.add((status.st_dev, status.st_ino))
        names = {entry.name for entry in entries}
        inner: list[str] = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                reason = LOOP if error.errno == errno.ELOOP else why_unreadable(error)
                detail = "broken link" if isinstance(error, FileNotFoundError) else ""
                yield Skipped(id=_printable(entry.path), reason=reason, detail=detail)
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield from _file(entry, names, stat.S_ISREG(status.st_mode))
            elif (status.st_dev, status.st_ino) not in visited:
                visited.add((status.st_dev, status.st_ino))
                inner.append(entry.path)
            elif f"{os.path.realpath(folder)}/".startswith(f"{os.path.realpath(entry.path)}/"):
                yield Skipped(id=_printable(entry.path), reason=LOOP)
        pending += reversed(inner)


def _file(entry: os.DirEntry[str], siblings: set[str], regular: bool) -> Iterator[_Found | Skipped]:
    suffix = Path(entry.name).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        reason = _why_passed_over(entry.path, suffix) if regular else ""
        if reason:
            yield Skipped(id=_printable(entry.path), reason=reason, detail=suffix)
        if reason is not None:
            return
    if _is_map(entry.name, siblings):
        return
    if _printable(entry.path) != entry.path:
        yield Skipped(id=_printable(entry.path), reason=NOT_UTF8, detail="rename it")
        return
    yield _Found(entry.path, _sidecars(entry.name, siblings))


def _why_passed_over(path: str, suffix: str) -> str | None:
    """Of a file without a picture's suffix: a reason to report, "" for silence, or None if it is a picture."""
    if suffix in _REPORTED:
        return _REPORTED[suffix]
    if suffix in _SILENT:
        return ""
    try:
        with Path(path).open("rb") as stream:
            if sniff(stream.read(32)):
                return None
    except OSError as error:
        return why_unreadable(error)
    return UNKNOWN if suffix else ""


def _is_map(name: str, siblings: set[str]) -> bool:
    stem = next((name.removesuffix(f".{ending}") for ending in MAPS if name.endswith(f".{ending}")), None)
    endings = (ending for suffix in PICTURE_SUFFIXES for ending in (suffix, suffix.upper()))
    return stem is not None and any(f"{stem}{ending}" in siblings for ending in endings)


def _printable(path: str) -> str:
    """The path as text that can be stored and shown: undecodable bytes become �."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _sidecars(name: str, siblings: set[str]) -> tuple[str, ...]:
    stem = Path(name).stem
    names = (f"{stem}.txt", f"{name}.txt", f"{stem}.json", f"{name}.json")
    return tuple(sidecar for sidecar in names if sidecar in siblings)


def _folder_records(found: Iterable[_Found | Skipped]) -> Iterator[Pair | Skipped]:
    for item in found:
        if isinstance(item, Skipped):
            yield item
            continue
        captions: tuple[str, ...] = ()
        metadata: dict[str, Scalar] = {}
        unread: Skipped | None = None
        for name in item.sidecars:
            sidecar = str(Path(item.path).with_name(name))
            try:
                said, more = _read_sidecar(sidecar)
            except IsADirectoryError:
                continue
            except OSError as error:  # a caption that cannot be read now must not erase the one that is stored
                unread = Skipped(id=item.path, reason=BAD_SIDECAR, detail=str(error))
                break
            except ValueError as error:
                yield Skipped(id=sidecar, reason=BAD_SIDECAR, detail=str(error))
                continue
            # Google Takeout's "title" is the file's own name, which says nothing
            said = tuple(caption for caption in said if caption != Path(item.path).name)
            captions, metadata = (*captions, *said), {**metadata, **more}
        if unread is not None:
            yield unread
            continue
        try:
            stamp = file_stamp(item.path)
        except OSError as error:
            yield Skipped(id=item.path, reason=why_unreadable(error))
            continue
        yield Pair(uri=item.path, captions=tuple(dict.fromkeys(captions)), metadata=metadata, stamp=stamp)


def _read_sidecar(path: str) -> tuple[tuple[str, ...], dict[str, Scalar]]:
    """Captions and metadata of a .txt or .json beside a picture. ValueError if it is not what its name says."""
    with Path(path).open(encoding="utf-8-sig") as stream:
        text = stream.read(_SIDECAR_BYTES + 1)
    if len(text) > _SIDECAR_BYTES:
        raise ValueError("larger than 1 MiB")
    if path.endswith(".txt"):
        return tables.captions_of(text.splitlines()), {}
    return tables.said_in(json.loads(text))
