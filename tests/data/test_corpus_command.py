"""`diptych corpus`: what it prints, and that errors become sentences with an exit code."""

import shutil

import pytest

from diptych.cli.main import main
from diptych.data import pictograms


def test_verify_says_what_the_corpus_holds_and_which_build_it_is(capsys):
    assert main(["corpus", "pictograms", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "21,715 pictures of 3,953 pictograms, named in 124 languages" in out
    assert pictograms.manifest().sha256 in out


def test_verify_fails_on_a_damaged_copy(capsys, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(pictograms.folder() / "manifest.json", copy)
    assert main(["corpus", "pictograms", "--verify", "--to", str(copy)]) == 1
    assert "noto.parquet is missing" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["8", "300"])
def test_a_size_beyond_the_drawings_is_the_callers_mistake(capsys, size):
    assert main(["--quiet", "corpus", "pictograms", "--size", size]) == 2
    assert "16 to 256" in capsys.readouterr().err
