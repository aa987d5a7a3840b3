import json

import pytest
from PIL import Image

from diptych import workbench
from diptych.cli.main import main
from diptych.index import store
from fakes import ColourEmbedder


@pytest.fixture(autouse=True)
def trips(tmp_path, monkeypatch, capsys):
    """A collection with one picture."""
    monkeypatch.setattr(workbench, "load_model", ColourEmbedder)
    Image.new("RGB", (6, 4), "red").save(tmp_path / "red.png")
    (tmp_path / "red.json").write_text('{"caption": "red", "year": 1990}')
    (tmp_path / "pairs.jsonl").write_text('{"path": "red.png", "year": 1990}\n')
    assert main(["index", str(tmp_path / "pairs.jsonl"), "--to", "trips", "--model", "colours"]) == 0
    capsys.readouterr()
    return tmp_path


def test_list(capsys):
    assert main(["collections", "list"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("trips ") and "1 pictures" in line and "colours" in line
    main(["collections", "list", "--json"])
    (info,) = json.loads(capsys.readouterr().out)
    assert (info["name"], info["rows"], info["model"], info["dim"]) == ("trips", 1, "colours", 4)


def test_show(capsys, trips):
    assert main(["collections", "show", "trips"]) == 0
    out = capsys.readouterr().out
    assert "year int64" in out and str(trips / "pairs.jsonl") in out and "not finished" not in out
    main(["collections", "show", "trips", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["columns"]["year"] == "int64" and shown["job"]["state"] == "done"
    assert shown["sources"][0]["complete"] is True


def test_show_tells_of_a_job_that_did_not_finish(capsys, trips, monkeypatch):
    def fail(pictures):
        raise RuntimeError("out of memory")

    broken = ColourEmbedder("colours")
    monkeypatch.setattr(broken, "embed_images", fail)
    monkeypatch.setattr(workbench, "load_model", lambda name: broken)
    Image.new("RGB", (6, 4), "blue").save(trips / "red.png")
    with pytest.raises(RuntimeError):
        main(["index", str(trips / "pairs.jsonl"), "--to", "trips"])
    main(["collections", "show", "trips"])
    out = capsys.readouterr().out
    assert "not finished" in out and "last job failed" in out and "out of memory" in out


def test_remove(capsys):
    assert main(["collections", "remove", "trips"]) == 0
    assert capsys.readouterr().out == "removed trips\n" and store.list_names() == []
    assert main(["collections", "remove", "trips"]) == 1
    assert "no collection 'trips'" in capsys.readouterr().err
    assert main(["collections", "list"]) == 0
    assert "no collections yet" in capsys.readouterr().out


def test_a_broken_collection_can_be_removed(capsys, own_home):
    for path in (own_home / "collections" / "trips" / "pictures.lance" / "_versions").iterdir():
        path.unlink()
    assert main(["collections", "show", "trips"]) == 1
    assert "diptych collections remove trips" in capsys.readouterr().err
    assert main(["collections", "remove", "trips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": "trips"}
