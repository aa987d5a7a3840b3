"""CLIP_benchmark's shards, on disk and from a hub that runs in the test."""

import functools
import hashlib
import http.server
import json
import re
import threading

import pytest
from layouts import classified, drawn, export, put

from diptych.core.errors import SourceError
from diptych.evaluation.public import catalogue, hub, opening
from diptych.evaluation.public.opening import found_in, listed, open_named
from diptych.evaluation.sets import Columns, open_dataset
from diptych.evaluation.zero_shot import ZeroShotConfig, names_of, templates_of

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


class Answers(http.server.BaseHTTPRequestHandler):
    """What the Hugging Face hub answers of data sets: what is in them, and the files."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append((self.command, self.path))
        found = re.fullmatch(r"/(api/)?datasets/([^/]+/[^/]+)/(resolve|revision|tree)/([^/?]+)/?([^?]*)(?:\?.*)?",
                             self.path)
        folder = self.server.repositories.get(found[2]) if found else None
        if folder is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        if found[3] == "resolve":
            data, etag = files[found[5]], hashlib.sha256(files[found[5]]).hexdigest()
        elif found[3] == "tree":
            data, etag = json.dumps([{"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                                     for name, data in files.items()]).encode(), "tree"
        else:
            about = {"id": found[2], "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            data, etag = json.dumps(about).encode(), "about"
        self.send_response(200)
        for header, value in (("Content-Length", len(data)), ("ETag", f'"{etag}"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(header, str(value))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        return


@pytest.fixture
def a_hub(monkeypatch):
    """Repositories by name, each a folder; what was asked for is remembered. The client is huggingface_hub's own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.repositories, server.asked = {}, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(opening.hub, "fetch", functools.partial(
            hub.fetch, endpoint=f"http://127.0.0.1:{server.server_port}"))
        yield server
        server.shutdown()
        thread.join()


def test_classes_without_a_picture_can_be_answered_and_one_may_have_no_name(tmp_path):
    root = export(tmp_path / "x", [classified(2, 2)], classes=["very nearby", "", "distant"], templates=["{c} shapes."])
    data = open_dataset(root / "test")
    assert data.classes == ("very nearby", "(1)", "distant") and names_of(data) == ["very nearby", "", "distant"]
    assert templates_of(data, ZeroShotConfig()) == ("{} shapes.",)
    assert templates_of(data, ZeroShotConfig(templates="plain")) == ("{}",)


def test_retrieval_exports_have_a_caption_a_line(tmp_path):
    records = [{"webp": drawn(at, "WEBP"), "txt": f"one of {at}\nanother of {at}\\n, broken".encode()}
               for at in range(2)]
    data = open_dataset(export(tmp_path / "x", [records], kind="retrieval") / "test")
    assert [c.text for c in data.captions] == ["one of 0", "another of 0 , broken", "one of 1", "another of 1 , broken"]
    assert [c.pictures for c in data.captions] == [(0,), (0,), (1,), (1,)]
    (tmp_path / "x" / "dataset_type.txt").unlink()
    assert len(open_dataset(tmp_path / "x" / "test").captions) == 2


def test_what_the_hub_has_is_downloaded_once_and_found_by_name(tmp_path, a_hub):
    a_hub.repositories["clip-benchmark/wds_vtab-cifar100"] = export(
        tmp_path / "there", [classified(4, 2)], classes=["apple", "aquarium fish"], templates=["a photo of a {c}."])
    put(tmp_path / "there", "train/0.tar", "picture.jpg")
    with pytest.raises(SourceError, match=r"cifar100 is not here: .*data has no folder cifar100 or vtab/cifar100 or "
                                          r"wds_vtab-cifar100; `--on hub:cifar100` downloads it"):
        open_named("cifar100")
    first = open_named("hub:cifar100")
    assert first.name == "cifar100" and first.labels == ("apple", "aquarium fish") * 2
    assert open_named("cifar100").sha256 == open_named("hub:clip-benchmark/wds_vtab-cifar100").sha256 == first.sha256
    got = [path.rpartition("/resolve/")[2] for command, path in a_hub.asked if command == "GET" and "resolve" in path]
    assert sorted(got) == sorted(f"{COMMIT}/{name}" for name in (
        "classnames.txt", "test/0.tar", "test/nshards.txt", "zeroshot_classification_templates.txt"))
    assert next(one for one in listed() if one.entry.name == "cifar100").folder == str(
        tmp_path / "home" / "sets" / "clip-benchmark" / "wds_vtab-cifar100")


def test_any_repository_in_this_layout(tmp_path, a_hub):
    a_hub.repositories["someone/wds_birds"] = export(tmp_path / "there", [classified(4, 2)], classes=["wren", "robin"])
    data = open_named("hub:someone/wds_birds", Columns())
    assert data.name == "someone/wds_birds" and data.labels == ("wren", "robin") * 2


def test_mistakes_are_told(tmp_path, a_hub):
    with pytest.raises(SourceError, match=r"cannot get clip-benchmark/wds_mnist .* \(Rep.*NotFoundError: 404"):
        open_named("hub:mnist")
    with pytest.raises(SourceError, match="xm3600 has no export on the hub that is read here; get it from google"):
        open_named("hub:xm3600")
    with pytest.raises(SourceError, match="the nearest sets are cifar10"):
        open_named("hub:cifar1000")
    there = export(tmp_path / "there", [classified(2, 2), classified(2, 2)], classes=["a", "b"])
    (there / "test" / "1.tar").unlink()
    a_hub.repositories["someone/half"] = there
    with pytest.raises(SourceError, match=r"someone/half is no whole export .* has 1 shards"):
        open_named("hub:someone/half")
    with pytest.raises(SourceError, match="lacks some of the shards"):
        open_named(f"mnist={there}")
    with pytest.raises(SourceError, match="several classes each"):
        open_dataset(export(tmp_path / "many", [classified(2, 2)], classes=["a", "b"], kind="multilabel") / "test")
    with pytest.raises(SourceError, match=r"has 'a photo'; a template has one \{c\}"):
        open_dataset(export(tmp_path / "bad", [classified(2, 2)], classes=["a", "b"], templates=["a photo"]) / "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty is not mnist as it is read: expected test/0\.tar"):
        open_named(f"mnist={tmp_path / 'empty'}")


def test_half_a_download_is_not_found(tmp_path, home):
    export(home / "sets" / "clip-benchmark" / "wds_mnist", [classified(2, 2), classified(2, 2)])
    assert found_in(catalogue.get("mnist"))
    (home / "sets" / "clip-benchmark" / "wds_mnist" / "test" / "1.tar").unlink()
    assert found_in(catalogue.get("mnist")) is None


def test_names_paths_and_what_is_neither(tmp_path, monkeypatch):
    (tmp_path / "data" / "ILSVRC2012").mkdir(parents=True)
    assert found_in(catalogue.get("imagenet")) == tmp_path / "data" / "ILSVRC2012"
    for path in ("pairs.csv", "some/folder", "shards/{000..009}.tar", "s3://bucket/x", str(tmp_path)):
        assert open_named(path) is None
    with pytest.raises(SourceError, match=r"no .* public set 'winogruond'; the nearest sets are winoground"):
        open_named("winogruond")
    with pytest.raises(SourceError, match=r"winoground is not here: .*nowhere is no folder"):
        open_named(f"winoground={tmp_path / 'nowhere'}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    assert open_named("pets") is None  # one's own; nothing there says otherwise
    export(tmp_path / "mnist", [classified(2, 2)], classes=["0", "1"])
    put(tmp_path / "imagenet-a", "n01440764/a.JPEG")
    assert open_named("mnist").labels == ("0", "1") and open_named("imagenet-a").labels == ("n01440764",)
    assert open_named("./imagenet-a") is None
    monkeypatch.delenv("DIPTYCH_DATA")
    with pytest.raises(SourceError, match=r"\$DIPTYCH_DATA names no folder of sets"):
        open_named("xm3600")


def test_the_catalogue():
    names = [each for one in catalogue.SETS for each in {one.name, *one.aliases}]
    assert len(set(names)) == len(names) and sum(one.vtab_plus for one in catalogue.SETS) == 35
    hubs = [one.hub for one in catalogue.SETS if one.hub]
    assert len(set(hubs)) == len(hubs) and "clip-benchmark/wds_vtab-dsprites_label_x_position" in hubs
    assert {one.layout for one in catalogue.SETS} == set(catalogue.LAYOUTS)
    assert catalogue.get("VTAB/Cifar10").name == "cifar10" and catalogue.get("COCO").name == "mscoco_captions"
