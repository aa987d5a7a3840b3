"""Thumbnails and originals: cached rightly, and only of rows; a client never names a path."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

import coloured
from diptych.core.types import Pair
from diptych.index import store
from diptych.index.search import Searcher
from diptych.service.app import create_app
from diptych.service.shelf import Shelf
from fakes import COLOURS, ColourEmbedder

NOWHERE = "/api/collections/colours/pictures"


@pytest.fixture
def id_(client):
    return client.get("/api/search", params={"q": "red wide", "k": 1}).json()["hits"][0]["id"]


def test_a_thumbnail_is_kept_for_ever_and_asked_for_once(client, searcher, id_):
    first = client.get(f"{NOWHERE}/{id_}/thumbnail")
    assert first.status_code == 200
    assert first.content == searcher.collection.thumbnail(id_)
    assert first.headers["content-type"] == "image/webp"
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = client.get(f"{NOWHERE}/{id_}/thumbnail", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = client.get(f"{NOWHERE}/{id_}/thumbnail", headers={"If-None-Match": '"something else"'})
    assert other.content == first.content


def test_details_say_what_is_stored(client, searcher, id_):
    details = client.get(f"{NOWHERE}/{id_}").json()
    row = searcher.collection.row(id_)
    assert (details["uri"], details["captions"], details["width"], details["height"], details["metadata"]) == (
        row.uri, ["red wide"], 300, 100, dict(row.metadata))
    assert details["embedded_by"] == searcher.embedder.spec.fingerprint


def test_the_original_is_the_file(client, searcher, id_):
    answer = client.get(f"{NOWHERE}/{id_}/original")
    assert answer.content == Path(searcher.collection.row(id_).uri).read_bytes()
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("id_", ["0" * 64, "nope", "%2e%2e", "../../../../etc/passwd", "..%2F..%2Fetc%2Fpasswd",
                                 "' OR 1=1 --", "%00", "%ff", "/etc/passwd", "a" * 5000])
@pytest.mark.parametrize("of", ["", "/thumbnail", "/original"])
def test_what_is_no_id_is_not_found(client, id_, of):
    answer = client.get(f"{NOWHERE}/{id_}{of}")
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("path", ["/pages/../app.py", "/pages/%2e%2e/app.py", "/pages/..%2fapp.py",
                                  "/pages//etc/passwd", "/pages/%2fetc%2fpasswd", "/pages/..%5capp.py"])
def test_pages_do_not_lead_out_of_their_folder(client, path):
    assert client.get(path).status_code == 404


@pytest.fixture
def small(own_home):
    """A collection of four: a file that is replaced by no picture, one deleted, one from a table, one kept."""
    folder = own_home / "pictures"
    folder.mkdir(parents=True)
    data = coloured.encoded(coloured.drawn(COLOURS["red"], "square"))
    pairs = []
    for name in ("replaced", "deleted", "kept"):
        (folder / f"{name}.png").write_bytes(data)
        pairs.append(Pair(uri=str(folder / f"{name}.png"), captions=(name,)))
    coloured.index([*pairs, Pair(uri="table.parquet#3", data=data, captions=("row",))], "small")
    searcher = Searcher(store.Collection("small"), ColourEmbedder())
    with TestClient(create_app(Shelf.of({"small": searcher})), base_url="http://127.0.0.1") as client:
        ids = {hit.caption: hit.id for hit in searcher.search()}
        yield client, folder, ids


def test_an_original_that_is_gone_or_no_picture_any_more_is_not_sent(small):
    client, folder, ids = small
    secret = folder / "secret.txt"
    secret.write_text("do not send")
    (folder / "replaced.png").unlink()
    (folder / "replaced.png").symlink_to(secret)
    (folder / "deleted.png").unlink()
    for name, redirected in (("replaced", True), ("deleted", True), ("row", True), ("kept", False)):
        answer = client.get(f"/api/collections/small/pictures/{ids[name]}/original")
        assert bool(answer.history) is redirected, name
        assert answer.headers["content-type"] == ("image/webp" if redirected else "image/png")
