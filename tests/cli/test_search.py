import json
import shutil

import pytest
from PIL import Image

from diptych import workbench
from diptych.cli.main import main
from fakes import COLOURS, ColourEmbedder


@pytest.fixture(autouse=True)
def trips(tmp_path, monkeypatch, capsys):
    """A collection of coloured pictures, two of them captioned, with a year each."""
    monkeypatch.setenv("DIPTYCH_MODEL", "colours")
    monkeypatch.setattr(workbench, "load_model", ColourEmbedder)
    folder = tmp_path / "photos"
    folder.mkdir()
    for year, (name, colour) in enumerate(COLOURS.items(), 1990):
        Image.new("RGB", (6, 4), colour).save(folder / f"{name}.png")
        caption = {"caption": "a boat\tin the sea"} if name == "blue" else {}
        (folder / f"{name}.json").write_text(json.dumps({"year": year, **caption}))
    main(["index", str(folder), "--to", "trips"])
    capsys.readouterr()
    return folder


def found(capsys, *arguments) -> dict:
    assert main(["search", "trips", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def names(result: dict) -> list[str]:
    return [hit["uri"].rsplit("/", 1)[-1].removesuffix(".png") for hit in result["hits"]]


def test_json_is_as_documented(capsys):
    result = found(capsys, "red", "-k", "2")
    assert list(result) == ["query", "model", "took_ms", "answered", "hits"]
    assert result["query"] == "red" and result["answered"] is True and result["took_ms"] > 0
    assert result["model"] == {"name": "colours", "fingerprint": ColourEmbedder("colours").spec.fingerprint}
    hit = result["hits"][0]
    assert set(hit) >= {"id", "uri", "caption", "score", "probability", "ranks"} and len(result["hits"]) == 2
    assert hit["uri"].endswith("/red.png") and hit["score"] == pytest.approx(1, abs=1e-4)
    assert hit["ranks"] == {"text": 1}
    assert hit["metadata"]["year"] == 1990 and hit["matches"] is True


def test_every_way_to_ask(capsys, trips):
    assert names(found(capsys, "magenta", "--not", "magenta", "-k", "20"))[-1] == "magenta"
    assert names(found(capsys, "red", "--where", "year > 1991 AND year < 1995", "-k", "20")) != []
    assert set(names(found(capsys, "--where", "year > 1995"))) == {"white", "black"}
    assert names(found(capsys, "--image", str(trips / "green.png")))[0] == "green"
    red = found(capsys, "red")["hits"][0]["id"]
    assert "red" not in names(found(capsys, "--like", red, "-k", "20"))
    assert names(found(capsys, "red", "--offset", "1")) == names(found(capsys, "red", "-k", "11"))[1:]
    assert names(found(capsys, "- red"))[0] == "cyan"
    assert found(capsys, "sea boat")["hits"][0]["ranks"]["lexical"] == 1
    assert all("lexical" not in hit["ranks"] for hit in found(capsys, "sea boat", "--no-hybrid")["hits"])


def test_lines_for_programs_when_piped(capsys):
    assert main(["search", "trips", "sea boat", "-k", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in lines] == [5, 5]
    assert [line[0] for line in lines] == ["1", "2"] and lines[0][4] == "a boat in the sea"


def test_a_table_for_people_at_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["search", "trips", "sea boat", "-k", "3"]) == 0
    out = capsys.readouterr().out
    assert "a boat in the sea" in out and "lexical 1" in out and "pictures ranked by colours in" in out


def test_nothing_matches_is_said(capsys):
    assert main(["search", "trips", "grey"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "nothing here matches; the nearest are:\n" and len(captured.out.splitlines()) == 8
    assert found(capsys, "grey")["answered"] is False
    assert main(["search", "trips", "grey", "--where", "year > 3000"]) == 0
    assert capsys.readouterr().err == "nothing here matches\n"


@pytest.mark.parametrize("arguments, code, words", [
    (["nowhere", "red"], 1, "no collection 'nowhere' (there are: trips)"),
    (["trips"], 2, "nothing to look for"),
    (["trips", "red", "--where", "colour = 1"], 1, "year (int64)"),
    (["trips", "red", "--model", "other"], 1, "trips holds vectors of colours"),
    (["trips", "--image", "absent.jpg"], 1, "no such file"),
    (["trips", "--like", "0"], 2, "no picture '0'"),
    (["trips", "red", "-k", "0"], 2, "at least 1")])
def test_mistakes_are_told_in_a_sentence(arguments, code, words, capsys):
    assert main(["search", *arguments]) == code
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""


def test_a_small_model_says_so(capsys, monkeypatch, trips):
    monkeypatch.delenv("DIPTYCH_MODEL")
    shutil.copytree(trips, trips.with_name("again"))
    monkeypatch.setattr(workbench, "best_local_model", lambda: None)
    main(["index", str(trips.with_name("again")), "--to", "small"])
    assert "is a small model" in capsys.readouterr().err
    main(["search", "small", "red"])
    assert "is a small model" in capsys.readouterr().err
    main(["search", "small", "red", "--model", "diptych-tiny"])
    assert "is a small model" not in capsys.readouterr().err
