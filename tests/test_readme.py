"""The Python in the README and the guides runs as printed, the README's on a sliver of the bundled corpus."""

import dataclasses
import itertools
import re
import shlex
from pathlib import Path

import pytest

from diptych.cli.main import parser
from diptych.data import pictograms
from diptych.evaluation.tasks import DECIDING, HEADLINES
from diptych.recipes.family.config import DataConfig, Recipe, Stage
from diptych.recipes.reproduce.table import EXPERIMENTS
from diptych.recipes.suites import SUITES
from diptych.recipes.table import FAMILY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
def test_the_five_lines(monkeypatch, capsys):
    everything = pictograms.pairs
    monkeypatch.setattr(pictograms, "pairs", lambda vendors=None: itertools.islice(everything(["noto"]), 300))
    [code] = blocks("README.md")
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(0 <= float(line.split()[-1]) <= 1 for line in lines)


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_of_the_models_guide(number, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(blocks("docs/models.md")[number], "docs/models.md", "exec"), names)
    assert len(blocks("docs/models.md")) == 2
    if number == 0:
        assert names["vectors"].shape == (2, 256) and names["larger"].spec.image_size == 192
    else:
        assert (tmp_path / "where.png").is_file() and names["found"].cosines.ndim == 2
        assert abs(float((names["vector"] ** 2).sum()) - 1) < 1e-5


def test_the_python_of_the_training_guide():
    [code] = blocks("docs/training.md")
    names: dict = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    assert names["loss"].detach() > 0 and names["image"].grad.abs().sum() > 0


def test_every_recipe_and_every_field_is_in_the_training_guide():
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in FAMILY if not name.endswith("_tiny"))
    assert all(f"`{field.name}`" in text for kind in (Recipe, Stage, DataConfig) for field in dataclasses.fields(kind))
    claims = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
    assert all(name in claims for name in EXPERIMENTS)


@pytest.mark.slow
def test_the_python_of_the_comparing_guide(capsys):
    [code] = blocks("docs/compare.md")
    exec(compile(code, "docs/compare.md", "exec"), {})
    name, value, low, high = capsys.readouterr().out.split()
    assert name == "diptych-tiny" and float(low) < float(value) < float(high)


def test_every_suite_and_its_tasks_are_in_the_comparing_guide():
    text = (ROOT / "docs/compare.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in SUITES)
    assert all(f"`{name}`" in text for name in DECIDING)
    assert all(f"`{task}`" in text for task, _ in HEADLINES)


@pytest.mark.parametrize("page", ["docs/compare.md", "docs/training.md"])
def test_every_command_of_a_guide_is_one(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    said = [line for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    commands = [line.partition("diptych ")[2].partition(" || ")[0] for line in said
                if re.search(r"(^|[ /])diptych ", line)]
    assert len(commands) >= 5
    for command in commands:
        parser().parse_args(shlex.split(command.replace(" …", ""), comments=True))  # exits on what it does not know


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_file_is_there(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}, which is not there"
