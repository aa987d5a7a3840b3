"""English nouns with a definition: ImageNet's synsets from WordNet 3.0, as extra text for the text tower.

`corpora/nouns/nouns.parquet` (synset, lemmas, definition, imagenet: the class number 0–999 or null) is rebuilt by
`diptych corpus nouns` from the lists that the PyPI package `timm` ships. WordNet's licence lies beside it.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core.errors import CorpusError
from diptych.core.files import atomic_write, home

PACKAGE = "timm==1.0.29"
_LISTS = "timm/data/_info/imagenet_{}.txt"


def folder() -> Path:
    """Where the file lies: in the installed package, else the checkout, else the cache."""
    here = Path(__file__).resolve().parents[1]
    for candidate in (root / "corpora" / "nouns" for root in (here, here.parents[1], home())):
        if (candidate / "nouns.parquet").exists():
            return candidate
    raise CorpusError("the noun list is not here; build it with `diptych corpus nouns`")


def read() -> pa.Table:
    """All nouns, sorted by synset."""
    return pq.read_table(folder() / "nouns.parquet")


def build(target: Path) -> int:
    """Download the pinned package, write `target/nouns.parquet`, and return the number of nouns."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", temporary, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("timm-*.whl"))
        if done.returncode or not wheels:
            raise CorpusError(f"pip could not download {PACKAGE}: {done.stderr.strip()[-300:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            lists = {name: wheel.read(_LISTS.format(name)).decode().splitlines()
                     for name in ("synsets", "synset_to_lemma", "synset_to_definition")}
    classes = {synset: i for i, synset in enumerate(lists["synsets"])}
    lemmas = dict(line.split("\t", 1) for line in lists["synset_to_lemma"])
    definitions = dict(line.split("\t", 1) for line in lists["synset_to_definition"])
    synsets = sorted(lemmas)
    table = pa.table({
        "synset": synsets,
        "lemmas": [[part.strip() for part in lemmas[s].split(",")] for s in synsets],
        "definition": [definitions.get(s, "") for s in synsets],
        "imagenet": pa.array([classes.get(s) for s in synsets], pa.int16()),
    })
    with atomic_write(target / "nouns.parquet") as stream:
        pq.write_table(table, stream, compression="zstd", compression_level=19)
    return len(synsets)
