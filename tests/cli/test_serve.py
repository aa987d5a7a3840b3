"""`diptych demo` and `diptych serve` as processes: up at once, searching while it indexes, clean at Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

import coloured
from diptych.cli.main import main

# the command line with an embedder that needs no weights
COMMAND = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from fakes import ColourEmbedder
from diptych import workbench
from diptych.cli.main import main
from diptych.models.checkpoints import folders
workbench.load_model = lambda name: ColourEmbedder(name)
folders.find = lambda name: None
sys.exit(main(sys.argv[1:]))
"""


class Running:
    """A command whose URL has been printed."""

    def __init__(self, process):
        self.process = process
        self.url = process.stdout.readline().strip()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return json.load(answer)

    def wait_for(self, path, holds, timeout_s=60):
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            try:
                if holds(said := self.get(path)):
                    return said
            except urllib.error.HTTPError as error:
                error.close()
            time.sleep(0.1)
        raise AssertionError(f"{path} never became what it should be")

    def interrupt(self):
        """Ctrl-C; the exit code and what was said on stderr."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def running(*arguments):
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen([sys.executable, "-c", COMMAND, tests, *arguments], text=True, env=os.environ.copy(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_demo_is_up_at_once_and_goes_on_after_ctrl_c():
    with running("demo", "--no-open", "--port", "0", "--model", "colours") as demo:
        assert demo.get("/livez") == {"alive": True}
        job = demo.wait_for("/api/collections/pictograms/progress", lambda p: p["done"] > 500)
        assert (job["state"], job["total"] > 20_000) == ("running", True)
        assert demo.wait_for("/api/search?q=red", lambda found: found["hits"])["answered"]
        code, said = demo.interrupt()
        assert (code, "diptych: stopped" in said, "Traceback" in said) == (0, True, False), said
    with running("demo", "--no-open", "--port", "0", "--model", "colours") as again:
        assert again.wait_for("/readyz", lambda r: r["ready"])
        assert again.get("/api/collections/pictograms")["rows"] > 300  # what was done is kept
        assert again.interrupt()[0] == 0


def test_serve_offers_the_collections_named(own_home):
    coloured.index(coloured.pictures(own_home / "pictures"), "trips")
    coloured.index(coloured.pictures(own_home / "more")[:8], "more")
    with running("serve", "trips", "more", "--port", "0") as served:
        served.wait_for("/readyz", lambda r: r["ready"])
        assert [(c["name"], c["rows"]) for c in served.get("/api/collections")] == [("trips", 40), ("more", 8)]
        assert served.get("/api/search?q=red&collection=more&k=1")["hits"][0]["caption"].startswith("red")
        assert served.interrupt()[0] == 0


def test_serve_names_what_is_not_there(own_home):
    coloured.index(coloured.pictures(own_home / "pictures")[:2], "trips")
    with running("serve", "trip", "--port", "0") as refused:
        _, said = refused.process.communicate(timeout=60)
        assert refused.process.returncode == 1
        assert "no collection 'trip' (there are: trips)" in said


def test_a_collection_of_another_model_is_not_served_and_says_why(own_home):
    coloured.index(coloured.pictures(own_home / "pictures")[:2], "trips")
    with running("serve", "trips", "--port", "0", "--model", "other") as served:
        failed = served.wait_for("/api/collections/trips", lambda c: c["state"] == "failed")
        assert "use --model colours" in failed["problem"]
        assert served.interrupt()[0] == 0


def test_a_model_that_is_not_here_is_told_before_anything_is_started(own_home, capsys):
    coloured.index(coloured.pictures(own_home / "pictures")[:2], "trips")
    assert main(["serve", "trips", "--port", "0", "--model", "siglip2-base-patch16-256"]) == 1
    assert "get it with `diptych models pull siglip2-base-patch16-256`" in capsys.readouterr().err
