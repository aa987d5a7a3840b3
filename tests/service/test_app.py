"""Readiness, metrics, headers, host names and documentation."""

import pytest
from starlette.testclient import TestClient

from diptych.core import telemetry
from diptych.core.errors import CollectionBusy, IndexMismatch
from diptych.index import store
from diptych.index.search import Searcher
from diptych.service.app import create_app
from diptych.service.shelf import Shelf
from fakes import ColourEmbedder

LOCAL = "http://127.0.0.1"


def test_not_ready_until_everything_is_loaded(searcher):
    shelf = Shelf(["colours", "later"])
    with TestClient(create_app(shelf), base_url=LOCAL) as client:
        assert client.get("/livez").status_code == 200
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.json()["ready"]) == (503, False)
        answer = client.get("/api/search", params={"q": "red"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "is being loaded" in answer.json()["detail"]
        shelf.put("colours", searcher, notice="It only knows colours.")
        assert client.get("/readyz").json() == {"ready": False, "collections": {"colours": "ready", "later": "loading"}}
        assert client.get("/api/search", params={"q": "red"}).status_code == 200
        shelf.fail("later", "the weights are damaged; pull them again")
        assert client.get("/readyz").status_code == 503
        states = {state["name"]: state for state in client.get("/api/collections").json()}
        assert (states["colours"]["rows"], states["colours"]["notice"]) == (40, "It only knows colours.")
        assert (states["later"]["state"], states["later"]["problem"]) == (
            "failed", "the weights are damaged; pull them again")
        shelf.put("later", searcher)
        assert client.get("/readyz").json() == {"ready": True, "collections": {"colours": "ready", "later": "ready"}}


def test_a_shelf_has_only_its_own_places(searcher):
    with pytest.raises(ValueError, match="no place for 'trips' on this shelf; it has colours"):
        Shelf(["colours"]).put("trips", searcher)
    with pytest.raises(ValueError, match="at least one collection"):
        Shelf([])


def test_collections_facets_and_progress(client, searcher):
    one = client.get("/api/collections/colours").json()
    assert (one["state"], one["rows"], one["languages"]) == ("ready", 40, ["en"])
    facets = client.get("/api/collections/colours/facets").json()
    assert {value["value"]: value["count"] for value in facets["colour"]} == dict.fromkeys(
        ["red", "green", "blue", "yellow", "cyan", "magenta", "white", "black"], 5)
    assert facets["bright"] == [{"value": False, "count": 20}, {"value": True, "count": 20}]
    assert list(client.get("/api/collections/colours/facets", params={"column": "size"}).json()) == ["size"]
    refused = client.get("/api/collections/colours/facets", params={"column": "taste"})
    assert (refused.status_code, "'taste' has no values to count" in refused.json()["detail"]) == (422, True)
    progress = client.get("/api/collections/colours/progress").json()
    assert (progress["state"], progress["done"], progress["total"]) == ("done", 40, 40)
    for path in ("", "/facets", "/progress", "/pictures/x", "/pictures/x/thumbnail"):
        assert client.get(f"/api/collections/trips{path}").status_code == 404


def test_metrics_count_what_happened(client):
    for query in ("red", "blue"):
        client.get("/api/search", params={"q": query})
    client.get("/api/search", params={"k": "many"})
    client.get("/nothing/here/at/all")
    said = client.get("/metrics").text
    for line in ('diptych_http_requests_total{method="GET",route="/api/search",status="200"} 2.0',
                 'diptych_http_requests_total{method="GET",route="/api/search",status="422"} 1.0',
                 'diptych_http_requests_total{method="GET",route="none",status="404"} 1.0',
                 'diptych_http_request_seconds_count{method="GET",route="/api/search"} 3.0',
                 'diptych_search_seconds_count{collection="colours"} 2.0',
                 'diptych_indexed_pictures{collection="colours"} 40.0'):
        assert line in said.splitlines()


def test_metrics_take_over_what_indexing_reports(client):
    telemetry.count("index_skipped", reason="truncated")
    telemetry.count("index_skipped", reason="truncated")
    telemetry.observe("search_ms", 3.0, collection="somebody else's")
    said = client.get("/metrics").text
    assert 'diptych_index_skipped_total{reason="truncated"} 2.0' in said.splitlines()
    assert "somebody" not in said


def test_two_apps_do_not_share_numbers(searcher):
    apps = [TestClient(create_app(Shelf.of({"colours": searcher})), base_url=LOCAL) for _ in range(2)]
    with apps[0] as first, apps[1] as second:
        first.get("/livez")
        assert 'route="/livez"' in first.get("/metrics").text
        assert 'route="/livez"' not in second.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/docs", "/api/collections", "/nothing", "/pages/search.js", "/metrics"])
def test_every_answer_keeps_the_browser_here(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1", 200), ("127.0.0.1:8765", 200), ("localhost:80", 200), ("LOCALHOST", 200), ("[::1]:8765", 200),
    ("[::1]", 200), ("evil.example", 421), ("evil.example:8765", 421), ("127.0.0.1.evil.example", 421), ("", 421)])
def test_only_local_names_are_answered(client, host, status):
    assert client.get("/livez", headers={"Host": host}).status_code == status


def test_any_name_is_answered_when_told_so(searcher):
    with TestClient(create_app(Shelf.of({"colours": searcher}), hosts=None)) as client:
        assert client.get("/livez", headers={"Host": "pictures.example"}).status_code == 200


@pytest.mark.parametrize(("error", "status"), [(CollectionBusy("wait"), 503), (IndexMismatch("another model"), 409)])
def test_the_worlds_errors_are_sentences(client, searcher, monkeypatch, error, status):
    def fail(*_, **__):
        raise error
    monkeypatch.setattr(searcher, "search", fail)
    answer = client.get("/api/search")
    assert (answer.status_code, answer.json()) == (status, {"detail": str(error)})


def test_documentation_needs_nobody_elses_server(client):
    page = client.get("/docs").text
    assert "//" not in page.replace("<!doctype", "")
    described = client.get("/openapi.json").json()
    assert {"/api/search", "/api/collections/{name}/pictures/{id}/thumbnail", "/livez", "/readyz", "/metrics"} <= set(
        described["paths"])
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path


def test_an_embedder_of_another_model_is_refused_in_the_first_place(searcher):
    from diptych.index.search import Searcher

    with pytest.raises(IndexMismatch):
        Searcher(searcher.collection, ColourEmbedder("other"))


def test_a_collection_removed_meanwhile_leaves_the_others_in_service(searcher, tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path))
    gone = Searcher(store.open_or_create("gone", searcher.embedder.spec), searcher.embedder)
    with TestClient(create_app(Shelf.of({"colours": searcher, "gone": gone})), base_url=LOCAL) as client:
        assert client.get("/readyz").status_code == 200
        store.remove("gone")
        here, missing = client.get("/api/collections").json()
        assert (here["state"], missing["state"]) == ("ready", "failed") and "no collection 'gone'" in missing["problem"]
        assert client.get("/readyz").json() == {"ready": False, "collections": {"colours": "ready", "gone": "failed"}}
        assert client.get("/metrics").status_code == 200
        assert client.get("/api/search?q=red").status_code == 200
