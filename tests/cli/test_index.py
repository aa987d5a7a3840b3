import json

import pytest
from PIL import Image

from diptych import workbench
from diptych.cli.main import main
from diptych.core.types import Pair
from diptych.data import pictograms
from diptych.index import store
from fakes import COLOURS, ColourEmbedder


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    """The only model there is tells colours apart."""
    monkeypatch.setenv("DIPTYCH_MODEL", "colours")
    monkeypatch.setattr(workbench, "load_model", ColourEmbedder)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (6, 4), colour).save(folder / f"{name}.jpg")
        (folder / f"{name}.txt").write_text(f"{name} picture")
    (folder / "cut.jpg").write_bytes(b"")
    (folder / "logo.svg").write_text("<svg/>")
    return folder


def test_a_folder_with_captions(photos, capsys):
    assert main(["index", str(photos), "--to", "trips"]) == 0
    out = capsys.readouterr().out
    assert "trips: 8 pictures (8 added)" in out
    assert "pictures/s" in out and "decode" in out and "embed" in out and "write" in out
    assert "skipped 2: " in out and "1 empty file" in out and f"{photos}/logo.svg: SVG is not read" in out
    assert main(["index", str(photos), "--to", "trips"]) == 0
    assert "8 pictures (8 unchanged)" in capsys.readouterr().out


def test_the_report_as_json(photos, capsys):
    assert main(["index", str(photos), "--to", "trips", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["collection"], report["rows"], report["added"], report["embedded"]) == ("trips", 8, 8, 8)
    assert report["skipped_by_reason"] == {"empty file": 1, "SVG is not read": 1}
    assert {item["reason"] for item in report["skipped"]} == set(report["skipped_by_reason"])
    assert report["pictures_per_s"] > 0 and set(report["seconds_by_phase"]) >= {"decode", "embed", "write"}


def test_pruning_can_be_left_out(photos, capsys):
    main(["index", str(photos), "--to", "trips"])
    (photos / "red.jpg").unlink()
    main(["index", str(photos), "--to", "trips", "--no-prune"])
    assert store.Collection("trips").count() == 8
    main(["index", str(photos), "--to", "trips"])
    assert store.Collection("trips").count() == 7
    assert "1 removed" in capsys.readouterr().out


def test_several_paths_of_several_kinds(photos, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("path,caption,year\nphotos/red.jpg,ein rotes Bild,1990\n")
    paths = [str(tmp_path / "pairs.csv"), str(photos / "blue.jpg"), str(photos / "green.jpg")]
    assert main(["index", *paths, "--to", "some"]) == 0
    assert store.Collection("some").count() == 3
    assert store.Collection("some").metadata_columns() == {"year": "int64"}
    assert [source.root for source in store.Collection("some").info.sources] == [paths[0]]


@pytest.mark.parametrize("arguments, code, words", [
    (["nowhere", "--to", "trips"], 1, "no such file"),
    (["https://example.org", "--to", "trips"], 1, "not a local path"),
    ([".", "--to", "../trips"], 2, "a collection's name"),
    ([".", "--to", "pictograms"], 2, "is the bundled collection")])
def test_mistakes_leave_nothing_behind(arguments, code, words, capsys):
    assert main(["index", *arguments]) == code
    assert words in capsys.readouterr().err
    assert store.list_names() == []


def test_another_model_than_the_collections_own(photos, capsys):
    main(["index", str(photos), "--to", "trips"])
    assert main(["index", str(photos), "--to", "trips", "--model", "other"]) == 1
    assert "trips holds vectors of colours" in capsys.readouterr().err


def test_the_collections_own_model_goes_before_the_default(photos, monkeypatch):
    main(["index", str(photos), "--to", "trips", "--model", "first"])
    (photos / "red.jpg").unlink()
    assert main(["index", str(photos), "--to", "trips"]) == 0
    assert store.Collection("trips").manifest().model == "first"


@pytest.fixture
def small_corpus(monkeypatch):
    """Two pictures instead of the 21,715 bundled ones; the manifest is the real one."""
    import io

    def pairs(vendors=None):
        for name in ("red", "blue"):
            stream = io.BytesIO()
            Image.new("RGB", (96, 96), name).save(stream, "WEBP")
            yield Pair(uri=f"pictograms://noto/{name}", data=stream.getvalue(), captions=(name,), stamp=name)

    monkeypatch.setattr(pictograms, "pairs", pairs)


def test_the_bundled_corpus_by_name(small_corpus, capsys):
    assert main(["index", "pictograms", "--to", "pictograms"]) == 0
    assert "pictograms: 2 pictures (2 added)" in capsys.readouterr().out
    (source,) = store.Collection("pictograms").info.sources
    assert source.root.startswith("pictograms@") and source.complete
    assert main(["index", "pictograms", "--to", "mine"]) == 0
    assert store.Collection("mine").count() == 2


def test_the_bundled_collection_is_built_when_first_opened(small_corpus, monkeypatch):
    assert len(workbench.open_collection("pictograms")) == 2
    monkeypatch.setattr(pictograms, "pairs", lambda vendors=None: pytest.fail("it was complete"))
    assert len(workbench.open_collection("pictograms")) == 2


def test_a_bundled_collection_of_an_older_build_is_made_anew(small_corpus, monkeypatch):
    workbench.open_collection("pictograms")
    born = store.Collection("pictograms").manifest().created_at
    newer = ColourEmbedder("colours")
    newer.spec = store.replace(newer.spec, fingerprint="f" * 64)  # the same model, trained again
    monkeypatch.setattr(workbench, "load_model", lambda name: newer)
    assert len(workbench.open_collection("pictograms")) == 2
    assert store.Collection("pictograms").manifest().fingerprint == "f" * 64
    monkeypatch.setattr(workbench, "_pictograms_root", lambda: "pictograms@another-build")
    assert len(workbench.open_collection("pictograms")) == 2
    assert [s.root for s in store.Collection("pictograms").manifest().sources] == ["pictograms@another-build"]
    assert born <= store.Collection("pictograms").manifest().created_at


def test_a_killed_build_is_gone_on_with(small_corpus):
    workbench.open_collection("pictograms")
    manifest = store.Collection("pictograms").manifest()
    store.write_manifest(store.with_source(manifest, manifest.sources[0].root, complete=False))
    report = workbench.index_pictograms(ColourEmbedder("colours"))
    assert report.unchanged == 2 and report.added == 0
    assert workbench.index_pictograms(ColourEmbedder("colours")) is None


def test_the_bundled_collection_can_be_searched_while_another_fills_it(small_corpus):
    collection = workbench.pictograms_collection(ColourEmbedder("colours"))
    with store.lease(collection.name):
        assert workbench.index_pictograms(ColourEmbedder("colours")) is None
        assert len(workbench.open_collection("pictograms")) == 0


def test_a_disk_that_is_not_mounted_empties_no_collection(photos, tmp_path, capsys):
    """A table of which no picture is there may be on a disk that is gone for now; of which some are, they are gone."""
    table = tmp_path / "pairs.csv"
    table.write_text("path\n" + "".join(f"{photos}/{name}.jpg\n" for name in COLOURS))
    assert main(["index", str(table), "--to", "trips"]) == 0
    away = photos.rename(tmp_path / "away")
    assert main(["index", str(table), "--to", "trips"]) == 0
    assert "none of its pictures is there" in capsys.readouterr().out
    assert store.Collection("trips").count() == len(COLOURS)
    away.rename(photos)
    (photos / "red.jpg").unlink()
    assert main(["index", str(table), "--to", "trips"]) == 0
    assert "1 removed" in capsys.readouterr().out and store.Collection("trips").count() == len(COLOURS) - 1
