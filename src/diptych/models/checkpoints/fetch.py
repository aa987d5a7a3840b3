"""Published weights from the Hugging Face hub, or from their publisher's own address, into the local cache: resumed,
and checked against the hub's hashes and the catalogue's.

A model is the first of its entry's files of weights, its tokenizer, transformers' config.json where there is one, and
`source.json`, which says where they came from; all in `models/NAME` under DIPTYCH_HOME. Parts are kept in
`models/.partial/NAME`, so that a download that was stopped goes on where it was; the weights are moved into place last,
and a folder without them is no model yet. No token is sent: everything in the catalogue is public.
"""

import functools
import hashlib
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from diptych.core.config import to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import sha256_file, write_text
from diptych.core.telemetry import Progress, progress
from diptych.models.checkpoints import catalog, folders
from diptych.models.checkpoints.catalog import Entry, Weights
from diptych.models.checkpoints.folders import Source

TOKENIZER, CONFIG = "tokenizer.json", "config.json"
_MB = 1e6


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """A file at a fixed address. `etag` is its sha256, the git hash of a small file, or what a mirror makes of it;
    `sha256` the catalogue's, where it has one; `commit` the hub's."""

    name: str
    url: str
    commit: str
    size: int
    etag: str
    sha256: str | None = None

    @property
    def part(self) -> str:
        """The name of its unfinished download: of this version of the file."""
        return f"{self.name}.{re.sub('[^0-9A-Za-z]', '', self.etag)[:16]}"


def pull(name: str, endpoint: str | None = None) -> Path:
    """Download a model of the catalogue, unless it is here already; returns its folder.

    `endpoint` is another hub than the public one ($HF_ENDPOINT by default). CheckpointError when the hub cannot be
    reached or its files are not what it says they are; ModelNotFound when the catalogue has no such name.
    """
    entry = catalog.get(name)
    folder = folders.models_folder() / entry.name
    if folders.is_complete(folder, entry):
        return folder
    if folder.is_dir() and folders.read_source(folder) is None and (mine := _in_the_way(entry, folder)):
        raise CheckpointError(f"{folder} holds {', '.join(mine)}, which `pull` did not write; move that away first")
    staging = folders.models_folder() / ".partial" / entry.name
    staging.mkdir(parents=True, exist_ok=True)
    with _explained(entry, folder):
        _pull(entry, folder, staging, endpoint)
    return folder


def files_of(entry: Entry) -> tuple[str, ...]:
    """The files that `pull` gets, the weights first."""
    first = entry.weights[0]
    config = (CONFIG,) if first.repo and first.layout.startswith("huggingface") else ()
    return (first.file, TOKENIZER, *config)


def _pull(entry: Entry, folder: Path, staging: Path, endpoint: str | None) -> None:
    from huggingface_hub.utils import WeakFileLock

    with WeakFileLock(staging.with_name(f"{entry.name}.lock")):  # beside it: others wait while it is removed
        if folders.is_complete(folder, entry):  # another process was faster
            return
        remotes = _remotes(entry, staging, endpoint)
        parts = {remote: staging / remote.part for remote in remotes}
        have = sum(part.stat().st_size for part in parts.values() if part.is_file())
        with progress(f"pulling {entry.name}", sum(r.size for r in remotes) / _MB, "MB", done=have / _MB) as task:
            for remote, part in parts.items():
                _download(remote, part, task)
        first = entry.weights[0]
        source = Source(name=entry.name, repo=first.repo or str(first.url), revision=remotes[0].commit,
                        files={remote.name: sha256_file(part) for remote, part in parts.items()})
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "source.json", to_json(source))
        for remote in reversed(remotes):
            parts[remote].replace(folder / remote.name)
        shutil.rmtree(staging, ignore_errors=True)


def _in_the_way(entry: Entry, folder: Path) -> list[str]:
    return [name for name in files_of(entry) if (folder / name).exists()]


def _remotes(entry: Entry, staging: Path, endpoint: str | None) -> list[_Remote]:
    """The files of an entry, the weights first; a repository's all from one commit."""
    first = entry.weights[0]
    weights = _weights(entry, staging, endpoint)
    home = entry.tokenizer_repo or str(first.repo)
    at = functools.partial(_locate, endpoint=endpoint)
    revision = weights[0].commit if home == first.repo else "main"
    rest = [at(home, TOKENIZER, revision)]
    if CONFIG in files_of(entry):
        rest.append(at(str(first.repo), CONFIG, weights[0].commit))
    return [*weights, *rest]


def _weights(entry: Entry, staging: Path, endpoint: str | None) -> list[_Remote]:
    """One file, or an index and the parts that it names. Of a repository the first that it has of the entry's files:
    some were published as a pickle only, and are offered as safetensors since."""
    from huggingface_hub.errors import EntryNotFoundError

    first = entry.weights[0]
    if first.repo is None:
        return [_elsewhere(first)]
    for weights in (w for w in entry.weights if w.repo == first.repo):
        try:
            found = _locate(first.repo, weights.file, weights.revision, endpoint)
        except EntryNotFoundError:
            continue
        if weights.sha256 and len(found.etag) == len(weights.sha256) and found.etag != weights.sha256:
            raise CheckpointError(f"{first.repo} now has another {weights.file}: its sha256 is {found.etag}, the "
                                  f"catalogue's is {weights.sha256}")
        return [replace(found, sha256=weights.sha256)]
    index = _locate(first.repo, f"{first.file}.index.json", first.revision, endpoint)
    part = staging / index.part
    with progress(index.name, index.size / _MB, "MB") as task:
        _download(index, part, task)
    names = sorted(set(json.loads(part.read_text(encoding="utf-8"))["weight_map"].values()))
    if strange := [name for name in names if Path(name).name != name]:
        raise CheckpointError(f"{index.name} names files outside of its folder: {', '.join(strange[:3])}")
    return [index, *(_locate(first.repo, name, index.commit, endpoint) for name in names)]


def _locate(repo: str, name: str, revision: str, endpoint: str | None) -> _Remote:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    where = functools.partial(hf_hub_url, repo, name, endpoint=endpoint)
    about = get_hf_file_metadata(where(revision=revision), token=False, endpoint=endpoint)
    if about.size is None or about.etag is None or about.commit_hash is None:
        raise CheckpointError(f"{where(revision=revision)} does not answer as a hub: no size, hash or commit")
    return _Remote(name=name, url=where(revision=about.commit_hash), commit=about.commit_hash, size=about.size,
                   etag=about.etag)


def _elsewhere(weights: Weights) -> _Remote:
    """A file at its publisher's own address, whose hash is the catalogue's."""
    request = urllib.request.Request(str(weights.url), method="HEAD")
    with urllib.request.urlopen(request, timeout=30.0) as answer:
        size = int(answer.headers["Content-Length"])
    return _Remote(name=weights.file, url=str(weights.url), commit="", size=size, etag=weights.sha256 or "")


def _download(remote: _Remote, part: Path, task: Progress) -> None:
    # hf_hub_download starts a killed download anew (it writes to a name of its own each time); http_get goes on
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if part.is_file() and part.stat().st_size == remote.size and _is_intact(part, remote):
        return
    meter = cast(Any, functools.partial(_Meter, task))
    with part.open("ab") as stream:
        http_get(remote.url, stream, resume_size=stream.tell(), expected_size=remote.size, tqdm_class=meter,
                 headers=build_hf_headers(token=False))
    if not _is_intact(part, remote):
        part.unlink()
        raise CheckpointError(f"{remote.name} arrived damaged: its hash is not the one that is stated for it")


def _is_intact(path: Path, remote: _Remote) -> bool:
    etag = remote.etag
    if remote.sha256:
        return sha256_file(path) == remote.sha256
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
        if entry.gated:
            reason += "; its repository is behind an account: accept its terms there, and fetch the files yourself"
        raise CheckpointError(
            f"cannot pull {entry.name} from the hub ({type(error).__name__}: {reason}). Run the command again where "
            f"the hub can be reached: it goes on where it stopped. Or copy {', '.join(files_of(entry))} of "
            f"{first.repo or first.url} ({first.revision}) into {folder}") from error
