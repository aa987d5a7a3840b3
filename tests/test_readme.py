"""The README's Python runs as printed, on a sliver of the bundled corpus."""

import itertools
import re
from pathlib import Path

import pytest

from diptych.data import pictograms

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_five_lines(monkeypatch, capsys):
    everything = pictograms.pairs
    monkeypatch.setattr(pictograms, "pairs", lambda vendors=None: itertools.islice(everything(["noto"]), 300))
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(0 <= float(line.split()[-1]) <= 1 for line in lines)


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), f"README.md links to {target}, which is not there"
