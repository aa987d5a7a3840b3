"""An app over a real collection, indexed once."""

import pytest
from starlette.testclient import TestClient

import coloured
from diptych.index import store
from diptych.index.search import Searcher
from diptych.service.app import create_app
from diptych.service.shelf import Shelf
from diptych.service.uploads import Limits
from fakes import ColourEmbedder


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory):
    """A DIPTYCH_HOME with the collection `colours`."""
    home = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_HOME", str(home))
        coloured.index(coloured.pictures(home / "pictures"))
    return home


@pytest.fixture
def searcher(filled_home, monkeypatch):
    monkeypatch.setenv("DIPTYCH_HOME", str(filled_home))
    return Searcher(store.Collection("colours"), ColourEmbedder())


@pytest.fixture
def client(searcher):
    limits = Limits(max_bytes=200_000, max_pixels=1_000_000)
    with TestClient(create_app(Shelf.of({"colours": searcher}), limits=limits), base_url="http://127.0.0.1") as client:
        yield client
