"""Files that are whole or absent: atomic writes, sha256, and where Diptych keeps its things.

`DIPTYCH_HOME` (default `~/.cache/diptych`) holds `models/`, `collections/` and `corpora/`.
"""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

_USER_AGENT = "diptych (image-text embeddings workbench)"
_TIMEOUT_S = 30.0


def home() -> Path:
    """The folder for models, collections and corpora: $DIPTYCH_HOME, else ~/.cache/diptych."""
    return Path(os.environ.get("DIPTYCH_HOME") or Path.home() / ".cache" / "diptych")


@contextmanager
def atomic_write(path: str | Path) -> Generator[BinaryIO, None, None]:
    """Open `path` for writing bytes: a reader sees the old file or the whole new one, never a part.

    Writes to a temporary name in the same folder, fsyncs, renames. On an exception the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # mkstemp gives 0600; other users of a shared cache must read it
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Atomically write UTF-8 text."""
    with atomic_write(path) as stream:
        stream.write(text.encode())


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_bytes(uri: str, limit: int = -1) -> bytes:
    """The bytes behind a local path, a web address, or another fsspec URL (s3://, memory:// …); at most `limit` of
    them. Whatever the file system raises, mostly OSError."""
    if uri.startswith(("https://", "http://")):
        request = urllib.request.Request(uri, headers={"User-Agent": _USER_AGENT})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as stream:
            return stream.read(limit if limit >= 0 else None)
    if "://" not in uri:
        with Path(uri).open("rb") as stream:
            return stream.read(limit)
    with cast("Any", fsspec).open(uri, "rb") as stream:  # fsspec ships no types
        return stream.read(limit)
