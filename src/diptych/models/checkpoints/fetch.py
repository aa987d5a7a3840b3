"""Published weights from the Hugging Face hub into the local cache: resumed, checked against the hub's own hashes.

A model is three files in `models/NAME` under DIPTYCH_HOME, and `source.json`, which says where they came from. Parts
are kept in `models/.partial/NAME`, so that a download that was stopped goes on where it was; config.json is moved into
place last, and a folder without it is no model yet. No token is sent: everything in the catalogue is public.
"""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from diptych.core.config import from_dict, to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import home, sha256_file, write_text
from diptych.core.telemetry import Progress, progress
from diptych.models.checkpoints import catalog
from diptych.models.checkpoints.catalog import Entry

FILES = ("model.safetensors", "tokenizer.json", "config.json")
"""What is needed of a repository, in the order in which it is moved into place."""

_MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Source:
    """`source.json`: which catalogue entry a folder holds, from which commit, and each file's sha256."""

    name: str
    repo: str
    revision: str
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """A file on the hub at a fixed commit. `etag` is its sha256, or the git hash of a small file."""

    name: str
    url: str
    commit: str
    size: int
    etag: str


def pull(name: str, endpoint: str | None = None) -> Path:
    """Download a model of the catalogue, unless it is here already; returns its folder.

    `endpoint` is another hub than the public one ($HF_ENDPOINT by default). CheckpointError when the hub cannot be
    reached or its files are not what it says they are; ModelNotFound when the catalogue has no such name.
    """
    entry = catalog.get(name)
    folder = home() / "models" / entry.name
    if is_complete(folder):
        return folder
    staging = home() / "models" / ".partial" / entry.name
    staging.mkdir(parents=True, exist_ok=True)
    with _explained(entry, folder):
        _pull(entry, folder, staging, endpoint)
    shutil.rmtree(staging, ignore_errors=True)
    return folder


def is_complete(folder: Path) -> bool:
    """Whether all files of a published model are in `folder`."""
    return all((folder / name).is_file() for name in FILES)


def read_source(folder: Path) -> Source | None:
    """What `pull` noted beside the files, or None for files that came another way."""
    path = folder / "source.json"
    return from_dict(Source, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _pull(entry: Entry, folder: Path, staging: Path, endpoint: str | None) -> None:
    from huggingface_hub.utils import WeakFileLock

    with WeakFileLock(staging / "lock"):
        if is_complete(folder):  # another process was faster
            return
        first = _locate(entry, FILES[0], entry.weights[0].revision, endpoint)
        remotes = [first, *(_locate(entry, name, first.commit, endpoint) for name in FILES[1:])]
        parts = {remote: staging / f"{remote.name}.{remote.etag[:16]}" for remote in remotes}
        have = sum(part.stat().st_size for part in parts.values() if part.is_file())
        with progress(f"pulling {entry.name}", sum(r.size for r in remotes) / _MB, "MB", done=have / _MB) as task:
            for remote, part in parts.items():
                _download(remote, part, task)
        source = Source(name=entry.name, repo=str(entry.weights[0].repo), revision=first.commit,
                        files={remote.name: sha256_file(part) for remote, part in parts.items()})
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "source.json", to_json(source))
        for remote, part in parts.items():
            part.replace(folder / remote.name)


def _locate(entry: Entry, name: str, revision: str, endpoint: str | None) -> _Remote:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    where = functools.partial(hf_hub_url, str(entry.weights[0].repo), name, endpoint=endpoint)
    about = get_hf_file_metadata(where(revision=revision), token=False, endpoint=endpoint)
    if about.size is None or about.etag is None or about.commit_hash is None:
        raise CheckpointError(f"{where(revision=revision)} does not answer as a hub: no size, hash or commit")
    return _Remote(name=name, url=where(revision=about.commit_hash), commit=about.commit_hash, size=about.size,
                   etag=about.etag)


def _download(remote: _Remote, part: Path, task: Progress) -> None:
    # hf_hub_download starts a killed download anew (it writes to a name of its own each time); http_get goes on
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    meter = cast(Any, functools.partial(_Meter, task))
    with part.open("ab") as stream:
        http_get(remote.url, stream, resume_size=stream.tell(), expected_size=remote.size, tqdm_class=meter,
                 headers=build_hf_headers(token=False))
    if not _is_intact(part, remote.etag):
        part.unlink()
        raise CheckpointError(f"{remote.name} arrived damaged: its hash is not the one that the hub states")


def _is_intact(path: Path, etag: str) -> bool:
    match len(etag):
        case 64:
            return sha256_file(path) == etag
        case 40:  # a small file has git's name of a blob
            data = path.read_bytes()
            return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == etag
        case _:  # a mirror's own tag says nothing about the content
            return True


class _Meter:
    """What huggingface_hub takes for a progress bar: passes the bytes on to ours."""

    def __init__(self, task: Progress, **_: Any):
        self.task = task

    def __enter__(self) -> "_Meter":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, amount: float) -> None:
        """That many more bytes have arrived."""
        self.task.advance(amount / _MB)


@contextmanager
def _explained(entry: Entry, folder: Path) -> Iterator[None]:
    first = entry.weights[0]
    try:
        yield
    except Exception as error:  # what a lost network raises depends on the HTTP library of huggingface_hub's version
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"cannot pull {entry.name} from the hub ({type(error).__name__}: {reason}). Run the command again where "
            f"the hub can be reached: it goes on where it stopped. Or copy {', '.join(FILES)} of {first.repo} "
            f"({first.revision}) into {folder}") from error
