"""A real browser (Debian's Chromium, headless) before a real server in a thread of this process.

Every page is watched: a console message, a script error, or a request to anyone but the server fails the test.
"""

import os
import shutil
import threading
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

import coloured
from diptych.index import store
from diptych.index.search import Searcher
from diptych.service.app import create_app
from diptych.service.server import listening_socket
from diptych.service.shelf import Shelf
from diptych.service.uploads import Limits
from fakes import ColourEmbedder

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
NOTICE = "It only knows colours."
expect.set_options(timeout=20_000)  # of patience on a busy machine; what comes is seen at once


def pytest_collection_modifyitems(items):
    """Browser tests skip where there is no browser, except in CI, where its absence is a failure."""
    if shutil.which("chromium") or os.environ.get("CI"):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no Chromium here; get it with: apt-get install -y chromium"))


@pytest.fixture(scope="session")
def browser():
    path = shutil.which("chromium")
    assert path, "the browser tests need Chromium: apt-get install -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Server:
    """A running app; `url` is where, `shelf` what it offers."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        socket = listening_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        config = uvicorn.Config(create_app(shelf, limits=Limits(max_bytes=2_000_000)), log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [socket]})
        self._thread.start()

    def stop(self):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve():
    """`serve(shelf)` starts a server that is stopped after the test."""
    running = []

    def start(shelf: Shelf) -> Server:
        running.append(Server(shelf))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory):
    """A DIPTYCH_HOME with the collection `colours`."""
    home = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_HOME", str(home))
        coloured.index(coloured.pictures(home / "pictures"))
    return home


@pytest.fixture
def colours(filled_home, monkeypatch):
    monkeypatch.setenv("DIPTYCH_HOME", str(filled_home))
    return Searcher(store.Collection("colours"), ColourEmbedder())


@pytest.fixture
def site(colours, serve):
    shelf = Shelf(["colours"])
    shelf.put("colours", colours, notice=NOTICE)
    return serve(shelf)


@pytest.fixture
def new_page(browser, serve):
    """`new_page(**settings)`: a page in a fresh profile, watched until the end of the test, before the server goes."""
    contexts, seen = [], []
    expected: list[str] = []

    def create(**settings):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **settings})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"script error: {error}"))
        page.on("request", lambda request: seen.append(f"request to {request.url}")
                if not request.url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:")) else None)
        page.expected = expected
        return page

    yield create
    for context in contexts:
        context.close()
    assert [said for said in seen if not any(part in said for part in expected)] == []


@pytest.fixture
def page(new_page):
    return new_page()
