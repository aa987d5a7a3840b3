"""`diptych compare` on a folder of one's own, and what it says of mistakes."""

import json
from dataclasses import replace

import pytest

from coloured import classes
from comparisons import comparison
from diptych import comparing
from diptych.cli.main import main
from diptych.evaluation.report import record


@pytest.mark.slow
def test_a_report_on_a_folder(tmp_path, capsys):
    folder = classes(tmp_path / "pictures", each=4)
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    command = ["compare", "diptych-tiny", "--on", str(folder), "--suite", "quick", "--to", str(tmp_path / "report"),
               "--set", "efficiency.least=1", "--set", "efficiency.rounds=1", "--set", "draws=200"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "diptych-tiny reaches" in out and str(tmp_path / "report" / "report.html") in out
    said = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert said["data"]["counts"]["classes"] == 8 and said["data"]["skipped"][0][0] == "red/broken.png"
    assert (tmp_path / "report" / "predictions" / "zero_shot.parquet").exists()
    assert main([*command, "--json"]) == 0 and json.loads(capsys.readouterr().out)["headline"] == ["zero_shot", "acc@1"]


def test_the_suite_can_be_seen(capsys):
    assert main(["compare", "diptych-tiny", "--on", "x", "--set", "queries=null", "--show"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["name"] == "standard" and said["queries"] is None and said["corruptions"]["pictures"] == 100


def test_a_recommendation_tells_measured_from_published(tmp_path, capsys):
    made = comparison()
    made = replace(made, models=(*made.models, replace(made.models[0], name="my run", languages=("ko", "en"))))
    (tmp_path / "reports" / "a").mkdir(parents=True)
    (tmp_path / "reports" / "a" / "comparison.json").write_text(record.to_json(made))
    ask = ["compare", "--recommend", "--to", str(tmp_path / "reports")]
    assert main([*ask, "--languages", "ko,en", "--max-memory-gb", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("published: ImageNet" in line and "memory not measured here" in line for line in lines)
    assert lines[0].startswith(("fits", "unknown")) and "models do not fit" in lines[-1]
    assert main([*ask, "--json"]) == 0
    said = {one["candidate"]["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert said["diptych-tiny"]["candidate"]["measured"]["data"] == made.data.name
    assert said["my run"]["candidate"]["languages"] == ["ko", "en"]  # a run's model is in no catalogue
    assert main([*ask, "--languages", "xx"]) == 1 and "no model knows xx" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "says"), [
    (["diptych-tiny"], "which models, on what?"),
    (["diptych-tiny", "--recommend"], "leave the models out"),
    (["--recommend", "--max-memory-gb", "0"], "must be above 0"),
    (["diptych-tiny", "--on", "nowhere.csv"], "nowhere.csv"),
    (["diptych-tiny", "--on", "imagnet1k"], "the nearest sets are imagenet1k"),
    (["diptych-tinny", "--on", "pictograms"], "the nearest is 'diptych-tiny'"),
    (["diptych-tiny", "--on", "pictograms", "--suite", "quik"], "the nearest is 'quick'"),
    (["diptych-tiny", "--on", "pictograms", "--set", "corruption.pictures=3"], "corruptions"),
    (["diptych-tiny", "--on", "pictograms", "--languages", "en,xx"], "no language 'xx'"),
    (["diptych-tiny", "--on", "pictograms", "--limit", "1"], "limit is at least 2"),
])
def test_mistakes_are_told(arguments, says, capsys):
    assert main(["compare", *arguments]) in (1, 2)
    assert says in capsys.readouterr().err


def test_a_limit_draws_pictures_and_keeps_the_classes(tmp_path):
    folder = classes(tmp_path / "pictures", each=2)
    few = comparing._dataset(folder, None, None, 3, 0)
    assert len(few) == 3 and len(set(few.labels)) < len(few.classes) == 8


def test_the_public_sets_are_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path))
    (tmp_path / "crossmodal3600").mkdir()
    assert main(["compare", "--sets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("here")] == ["xm3600"]
    assert any(line.split()[:2] == ["imagenet1k", "zero-shot"] and line.endswith("hub:imagenet1k") for line in lines)
    assert main(["compare", "--sets", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["entry"]["name"]: one["folder"] for one in found}["xm3600"] == str(tmp_path / "crossmodal3600")
