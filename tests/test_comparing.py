"""Comparing on a live collection: its own vectors, what it serves, what has changed since the last time."""

import functools
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coloured import classes, index, pictures
from diptych import comparing
from diptych.cli.main import main
from diptych.core.errors import CollectionError, DiptychError, IndexMismatch, PictureError, SourceError
from diptych.core.types import Pair
from diptych.data.sources import file_stamp
from diptych.evaluation import live, probes
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.matching import MatchingConfig
from diptych.evaluation.probes import LinearProbeConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import QueriesConfig
from diptych.evaluation.served import ServedConfig
from diptych.evaluation.sets import Columns
from diptych.evaluation.suite import Entrant
from diptych.evaluation.tasks import Suite
from diptych.evaluation.zero_shot import ZeroShotConfig
from diptych.index import jobs
from diptych.index.contents import read_contents
from diptych.index.store import Collection, open_or_create
from fakes import COLOURS, ColourEmbedder, ConstantEmbedder, CountingEmbedder

SUITE = Suite(name="small", retrieval=RetrievalConfig(), served=ServedConfig(), queries=QueriesConfig(), draws=200)
KINDS = {"colours": CountingEmbedder, "constant": ConstantEmbedder,
         "again": functools.partial(CountingEmbedder, "colours")}


@pytest.fixture
def made(monkeypatch):
    """The embedders that were opened, by name."""
    opened = {}

    def entrants(names):
        opened.update({name: KINDS[name]() for name in names})
        return [Entrant(embedder=opened[name], open_model=KINDS[name], runtime="numpy fp32", weights_bytes=1000)
                for name in names]

    monkeypatch.setattr(comparing, "_entrants", entrants)
    monkeypatch.setattr(comparing, "_find", lambda name: KINDS[name])
    return opened


@pytest.fixture
def gold(tmp_path):
    """A collection of 8 colours × 5 shapes, and a query for every colour and every picture."""
    index(pictures(tmp_path / "photos"))
    rows = [{"query": colour, "expected": [f"photos/{path.name}" for path in sorted((tmp_path / "photos").glob(
        f"{colour}-*"))], "language": "en"} for colour in COLOURS]
    rows += [{"query": path.stem.replace("-", " "), "expected": [str(path)], "language": "en"}
             for path in sorted((tmp_path / "photos").iterdir())]
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def figures(found):
    return {(f.model, f.task, f.name): f.value for f in found.comparison.figures if not f.slice}


def test_the_collections_own_vectors_are_asked_among_all_its_pictures(made, gold):
    found = comparing.compare([], "collection:colours", suite=SUITE, gold=gold)
    assert made["colours"].pictures == 0  # nothing is embedded again
    data, said = found.comparison.data, figures(found)
    assert data.counts["pictures"] == 40 and data.counts["captions"] == 48 and data.name == "collection:colours"
    fingerprint = ColourEmbedder().spec.fingerprint[:12]
    assert data.revision == f"version {read_contents(Collection('colours')).version} of {fingerprint}"
    assert ("colours", "image_to_text", "hit@1") not in said  # nobody says what else is true of a picture
    assert said["colours", "served", "hit@1"] == said["colours", "served", "answered"] == 1.0
    assert said["colours", "text_to_image", "hit@1"] < 0.5  # colours alone do not tell a square from a tall one
    assert 0 < said["colours", "served", "p50_ms"] <= said["colours", "served", "p95_ms"]
    row = found.outcomes["served"]["colours"].details
    assert row["rank"][0] == 1 and row["found"][0][0] in row["expected"][0] and len(row["found"][0]) == 10


def test_pictures_that_nobody_asks_for_are_in_the_way(made, gold):
    gold.write_text(json.dumps({"query": "red", "expected": ["photos/red-noisy.png"]}))
    found = comparing.compare([], "collection:colours", suite=SUITE, gold=gold)
    assert found.outcomes["text_to_image"]["colours"].details["rank"][0] > 1  # the only one would be the first
    assert figures(found)["colours", "queries", "clean_hit@1"] == 0.0


def test_a_candidate_is_embedded_and_compared_on_the_same_queries(made, gold, tmp_path):
    found = comparing.compare(["constant", "again"], "collection:colours", suite=SUITE, gold=gold)
    assert [model.name for model in found.comparison.models] == ["colours", "constant"]  # "again" has its fingerprint
    said = figures(found)
    assert said["constant", "text_to_image", "hit@1"] == 0.0 and ("constant", "served", "hit@1") not in said
    [told] = [d for d in found.comparison.differences if (d.task, d.name) == ("text_to_image", "hit@1")]
    assert (told.model, told.verdict) == ("colours", "better")


def test_a_candidate_sees_the_originals_and_thumbnails_where_they_are_gone(made, gold, tmp_path):
    for path in (tmp_path / "photos").glob("red-*"):
        path.unlink()
    (tmp_path / "photos" / "blue-square.png").write_bytes((tmp_path / "photos" / "cyan-square.png").read_bytes())
    data, _ = comparing._live("colours", [], gold, None, None, None)
    number = {id_.rsplit("/", 1)[-1]: at for at, id_ in enumerate(data.ids)}
    assert data.read(number["cyan-square.png"]) == (tmp_path / "photos" / "cyan-square.png").read_bytes()
    for name in ("red-tall.png", "blue-square.png"):  # gone, and another picture by now
        assert data.read(number[name]) == Collection("colours").thumbnail(read_contents(
            Collection("colours")).ids[number[name]])
    found = comparing.compare(["constant"], "collection:colours", suite=SUITE, gold=gold)
    assert found.comparison.data.counts["pictures"] == 40 and found.comparison.data.skipped == ()


def test_a_candidates_vectors_outlive_a_version_but_a_thumbnails_do_not(made, gold, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "other", functools.partial(CountingEmbedder, "other"))
    photos = tmp_path / "photos"
    renewed = [Pair(uri=str(path), stamp=file_stamp(str(path))) for path in sorted(photos.iterdir())]
    jobs.index_pairs({"": renewed}, Collection("colours"), ColourEmbedder(), total=len(renewed))
    original = (photos / "red-tall.png").read_bytes()
    (photos / "red-tall.png").unlink()
    comparing.compare(["other"], "collection:colours", suite=SUITE, gold=gold)
    assert made["other"].pictures == 39  # two black ones are the same
    Image.new("RGB", (9, 9), "red").save(photos / "new.png")
    (photos / "red-tall.png").write_bytes(original)
    renewed = [Pair(uri=str(path), stamp=file_stamp(str(path))) for path in sorted(photos.iterdir())]
    jobs.index_pairs({"": renewed}, Collection("colours"), ColourEmbedder(), total=len(renewed))
    comparing.compare(["other"], "collection:colours", suite=SUITE, gold=gold)
    assert made["other"].pictures == 2  # the new one, and the one that a thumbnail stood for


def test_no_thumbnail_is_kept_as_the_original_that_could_not_be_read(made, gold, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "other", functools.partial(CountingEmbedder, "other"))
    renewed = [Pair(uri=str(path), stamp=file_stamp(str(path))) for path in sorted((tmp_path / "photos").iterdir())]
    jobs.index_pairs({"": renewed}, Collection("colours"), ColourEmbedder(), total=len(renewed))

    def out_of_reach(uri):
        raise PictureError("timed out", uri)

    with monkeypatch.context() as away, pytest.raises(ValueError, match="no picture of collection:colours can be"):
        away.setattr(live, "read_picture", out_of_reach)
        comparing.compare(["other"], "collection:colours", suite=SUITE, gold=gold)
    comparing.compare(["other"], "collection:colours", suite=SUITE, gold=gold)
    assert made["other"].pictures == 39  # two black ones are the same


def test_vectors_of_another_model_are_refused(made, gold, monkeypatch):
    monkeypatch.setitem(KINDS, "colours", functools.partial(CountingEmbedder, "another"))
    with pytest.raises(IndexMismatch, match="holds vectors of"):
        comparing.compare([], "collection:colours", suite=SUITE, gold=gold)
    contents = read_contents(Collection("colours"))
    with pytest.raises(IndexMismatch, match="version"):
        contents.vectors_of(ConstantEmbedder().spec)
    assert contents.vectors_of(ColourEmbedder().spec).shape == (40, 4)


@pytest.mark.parametrize(("changes", "error", "says"), [
    ({"gold": None}, ValueError, "--gold FILE"), ({"limit": 5}, ValueError, "leave --limit out"),
    ({"on": "collection:empty"}, CollectionError, "empty is empty; `diptych index FOLDER --to empty` fills it"),
    ({"on": "collection:nothing"}, CollectionError, "no collection 'nothing'"),
    ({"on": "photos"}, ValueError, "a gold set asks a collection"),
    ({"languages": ["fr"]}, SourceError, "no query in fr")])
def test_mistakes_are_told(made, gold, changes, error, says):
    open_or_create("empty", ColourEmbedder().spec)
    given = {"on": "collection:colours", "gold": gold, "suite": SUITE} | changes
    with pytest.raises(error, match=says):
        comparing.compare([], given.pop("on"), **given)


def test_speed_and_classes_of_a_collection(made, gold, tmp_path):
    (tmp_path / "photos" / "red-tall.png").unlink()
    suite = replace(SUITE, zero_shot=ZeroShotConfig(templates=("{}",)), groups=("shape",),
                    efficiency=EfficiencyConfig(batches=(1,), rounds=1, least=1))
    found = comparing.compare([], "collection:colours", suite=suite, gold=gold, columns=Columns(label="colour"))
    assert figures(found)["colours", "zero_shot", "acc@1"] == 1.0 and found.comparison.costs[0].rates
    assert "shape" in {f.slice.partition("=")[0] for f in found.comparison.figures}
    with pytest.raises(ValueError, match="no column 'color' for the label"):
        comparing.compare([], "collection:colours", suite=suite, gold=gold, columns=Columns(label="color"))


@pytest.mark.slow
def test_a_job_tells_what_has_changed_by_its_exit_status(made, gold, tmp_path, capsys):
    history = tmp_path / "history"
    command = ["compare", "--on", "collection:colours", "--gold", str(gold), "--suite", "quick", "--set",
               "efficiency=null", "--set", "draws=200", "--history", str(history)]
    assert main(command) == 0 and "This is the first run" in capsys.readouterr().out
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "served hit@1 100.0%" in out and ": as on " in out
    photos = tmp_path / "photos"
    wrong = [Pair(uri=str(path), captions=("red square",)) for path in sorted(photos.iterdir())]
    # somebody has spoiled the captions: words of all queries but one find nothing any more
    jobs.index_pairs({"": wrong}, Collection("colours"), ColourEmbedder(), total=len(wrong))
    assert main([*command, "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    [served] = [d for d in said["history"]["differences"] if d["task"] == "served"]
    assert served["verdict"] == "worse" and served["value"] < 0 and served["count"] == 48
    assert any("points less than on" in sentence for sentence in said["sentences"])
    assert len(list(history.iterdir())) == 3
    newest = sorted(history.iterdir())[-1]
    assert "Run by run" in (newest / "report.html").read_text()
    assert pq.read_table(newest / "predictions" / "served.parquet").num_rows == 48
    assert main(command) == 0  # the run before was as bad


def test_languages_are_those_of_every_task(made, tmp_path):
    folder = classes(tmp_path / "pictures", each=2)
    rows = ["image,caption_en,caption_de", *(f"{c}/{i}.png,{c} {i},{i} auf {c}" for c in COLOURS for i in range(2))]
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    suite = replace(SUITE, matching=MatchingConfig())
    both = comparing.compare(["colours"], folder / "pairs.csv", suite=suite)
    assert set(both.outcomes["matching"]["colours"].slices["language"]) == {"de", "en"}
    found = comparing.compare(["colours"], folder / "pairs.csv", suite=suite, languages=["de"])
    assert {id_.split("|")[1] for id_ in found.outcomes["matching"]["colours"].ids} == {"de"}
    assert found.comparison.data.counts["captions"] == 16
    with pytest.raises(ValueError, match="no captions in 'fr'; it has 'de', 'en'"):
        comparing.compare(["colours"], folder / "pairs.csv", suite=suite, languages=["fr"])


def test_a_limit_leaves_all_classes_to_be_answered(made, tmp_path):
    folder = classes(tmp_path / "pictures", each=3)
    suite = Suite(name="small", zero_shot=ZeroShotConfig(), draws=200)
    found = comparing.compare(["colours"], folder, suite=suite, limit=4)
    assert found.comparison.data.counts == {"pictures": 4, "captions": 0, "classes": len(COLOURS), "languages": 0}
    assert {f.chance for f in found.comparison.figures if f.name == "acc@1"} == {1 / len(COLOURS)}


def test_an_evaluator_says_before_training_what_is_missing(tmp_path, monkeypatch):
    folder = classes(tmp_path / "pictures", each=2)
    monkeypatch.setattr(probes, "find_spec", lambda _: None)
    with pytest.raises(DiptychError, match="need scikit-learn"):
        comparing.evaluator(folder, suite=Suite(name="probe", linear_probe=LinearProbeConfig()))
    with pytest.raises(ValueError, match="no column 'region'"):
        comparing.evaluator(folder, suite=Suite(name="groups", zero_shot=ZeroShotConfig(), groups=("region",)))


def test_an_evaluator_opens_its_data_before_and_keeps_nothing(tmp_path, own_home):
    folder = classes(tmp_path / "pictures", each=4)
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    evaluate = comparing.evaluator(folder, limit=20)
    embedder = CountingEmbedder()
    first = evaluate(embedder)
    assert first["zero_shot/acc@1"] == 1.0 and embedder.pictures in (19, 20)
    assert evaluate(ConstantEmbedder("colours"))["zero_shot/acc@1"] == 0.0  # the same name and fingerprint, learned on
    assert all(np.isfinite(value) for value in first.values()) and not (own_home / "evaluations").exists()
    with pytest.raises(SourceError, match="missing"):
        comparing.evaluator(tmp_path / "missing")
