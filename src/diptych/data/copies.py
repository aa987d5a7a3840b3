"""Files of training data, here or far away: listed, copied whole, read at any offset.

A file behind a URL (s3://, gs://, https:// … whatever fsspec opens) is copied to a local folder when it is first read,
and the copies that were not used for longest make room. The order of training stays within a window of shards, so that
a machine copies each once an epoch; reading single records over the network costs a round trip each. But where many
machines train together, every one of them needs a few records of every shard: `pieces=True` reads just those.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from diptych.core.errors import SourceError
from diptych.core.files import atomic_write, home, sha256_bytes

MAX_BYTES = 64 << 30
"""Copies take at most this much disk, unless the caller says otherwise: 64 GiB, about a hundred shards of a cluster."""

_ATTEMPTS, _PAUSE_S = 4, 0.5
_BLOCK = 8 << 20
_AT_ONCE = 16
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Copies:
    """A folder of copies that holds at most `max_bytes`, but always the file that was asked for last. Processes on one
    machine share it. With `pieces`, what can be read by its offset (records of a tar with an index, rows of a table) is
    not copied but requested, piece by piece; that wants many workers."""

    folder: Path
    max_bytes: int = MAX_BYTES
    pieces: bool = False

    def path(self, file: "File") -> Path:
        """The local copy of a remote file, made now if it is not there. SourceError when it cannot be had."""
        target = self.folder / sha256_bytes(f"{file.url}\n{file.size}\n{file.stamp}".encode())[:32]
        if not _touched(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file, or with the process
                if not _touched(target):
                    _copy(file, target)
                    self._make_room(target)
        return target

    def _make_room(self, newest: Path) -> None:
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            if path.suffix != ".lock" and not path.name.startswith("."):  # hidden: another process is writing it
                with contextlib.suppress(FileNotFoundError):  # another process has made room
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        used = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used > self.max_bytes and path != newest:
                path.unlink(missing_ok=True)
                used -= size


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of `size` bytes; `stamp` changes when it may have changed. `copies` is where a remote one is copied to."""

    url: str
    size: int
    stamp: str
    copies: Copies

    @property
    def suffix(self) -> str:
        """Its last suffix in lower case, with the dot."""
        return Path(self.url).suffix.lower()

    def path(self) -> Path:
        """The file itself if it is local, else its copy."""
        return self.copies.path(self) if "://" in self.url else Path(self.url)

    def using(self, read: Callable[[Path], T]) -> T:
        """What `read` makes of the local file. It may be called again when a copy has just made room for another."""
        for attempt in range(_ATTEMPTS):
            try:
                return read(self.path())
            except FileNotFoundError:
                if "://" not in self.url or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def read(self, offset: int = 0, size: int = -1) -> bytes:
        """`size` bytes from `offset` on, or all. OSError when they cannot be read, EOFError when there are fewer."""

        def piece(path: Path) -> bytes:
            with path.open("rb") as stream:  # opening costs 10 µs, and nothing has to be closed or pickled
                stream.seek(offset)
                return stream.read(size)

        data = self._requested(offset, size) if self.copies.pieces and "://" in self.url else self.using(piece)
        if len(data) < size:
            raise EOFError(f"{self.url} ends at byte {offset + len(data)}, expected {size} bytes from {offset} on")
        return data

    def _requested(self, offset: int, size: int) -> bytes:
        system, path = cast("Any", fsspec).url_to_fs(self.url)
        return _again(lambda: system.cat_file(path, offset, offset + size if size >= 0 else None), self.url)

    def beside(self, name: str) -> str:
        """The path or URL of `name`, which may be relative to this file's folder."""
        if "://" in name or "://" not in self.url:
            return name if "://" in name else os.path.normpath(Path(self.url).parent / name)
        return f"{self.url.rsplit('/', 1)[0]}/{name}"


def find_files(pattern: str, copies: Copies | None = None) -> list[File]:
    """The files that a path or a URL names, sorted: one file, `{000..127}` and `{a,b}` written out, `*` and `?` looked
    up. Copies are made in `$DIPTYCH_HOME/shards` unless others are given. SourceError names what is not there."""
    copies = copies or Copies(folder=home() / "shards")
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # of ten thousand remote shards, each takes a round trip
        return [file for found in pool.map(lambda name: _matching(name, copies), expand(pattern)) for file in found]


def expand(pattern: str) -> list[str]:
    """`a-{08..10}.tar` → `a-08.tar`, `a-09.tar`, `a-10.tar`; `{x,y}` → `x`, `y`; several braces multiply."""
    return ["".join(parts) for parts in itertools.product(*_alternatives(pattern))]


def _alternatives(pattern: str) -> Iterator[list[str]]:
    end = 0
    for match in _BRACES.finditer(pattern):
        yield [pattern[end : match.start()]]
        numbers = _NUMBERS.fullmatch(match[1])
        if numbers:
            low, high = numbers.groups()
            yield [str(n).zfill(len(low)) for n in range(int(low), int(high) + 1)]
        else:
            yield match[1].split(",") if "," in match[1] else [match[0]]
        end = match.end()
    yield [pattern[end:]]


def _matching(pattern: str, copies: Copies) -> list[File]:
    try:
        if "://" not in pattern:
            return _local(pattern, copies)
        system, path = cast("Any", fsspec).url_to_fs(pattern)
        if any(c in path for c in "*?["):
            return [_remote(system, info, copies) for _, info in sorted(system.glob(path, detail=True).items())]
        return [_remote(system, system.info(path), copies)]
    except (OSError, ImportError, ValueError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise SourceError(f"{pattern} cannot be read ({why}); expected a file, a pattern "
                          "with *, or a list in braces such as {000..099}") from error


def _local(pattern: str, copies: Copies) -> list[File]:
    path = Path(pattern).absolute()
    named = path.exists() or not any(c in path.name for c in "*?[")
    stats = [(found, found.stat()) for found in ([path] if named else sorted(path.parent.glob(path.name)))]
    return [File(url=str(found), size=s.st_size, stamp=str(s.st_mtime_ns), copies=copies) for found, s in stats]


def _remote(system: Any, info: dict[str, Any], copies: Copies) -> File:
    stamp = next((str(info[key]) for key in ("ETag", "etag", "mtime", "LastModified", "created") if info.get(key)), "")
    if info.get("size") is None:
        raise OSError(errno.EIO, "the server does not say how large it is", info["name"])
    return File(url=system.unstrip_protocol(info["name"]), size=int(info["size"]), stamp=stamp, copies=copies)


def _touched(path: Path) -> bool:
    """Whether the copy is there; its time of use is now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _copy(file: File, target: Path) -> None:
    def copy() -> None:
        with cast("Any", fsspec).open(file.url, "rb") as source, atomic_write(target) as stream:
            while block := source.read(_BLOCK):
                stream.write(block)
            if stream.tell() != file.size:
                raise OSError(errno.EIO, f"{stream.tell()} bytes arrived, expected {file.size}", file.url)

    _again(copy, f"{file.url}, to be copied to {target.parent},")


def _again(read: Callable[[], T], what: str) -> T:
    """Try again when the network fails, after half a second, one, two. SourceError when it does not help."""
    for attempt in range(_ATTEMPTS):
        try:
            return read()
        except Exception as error:  # every file system has exceptions of its own
            if attempt == _ATTEMPTS - 1 or isinstance(error, FileNotFoundError | PermissionError | ImportError):
                raise SourceError(f"{what} cannot be read ({type(error).__name__}: {error}); is it reachable, and is "
                                  "there room?") from error
            time.sleep(_PAUSE_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
