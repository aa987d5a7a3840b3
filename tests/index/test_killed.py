"""Jobs killed with SIGKILL, at chosen and at random moments, and run again: no row lost, none twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

# Indexes a folder in many small commits; "before:upsert:3" dies as the third upsert begins, "after:…" once it is done.
JOB = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fakes import ColourEmbedder
from diptych.core.types import Pair
from diptych.index import jobs, store, write_behind
from diptych.index.writer import Writer

folder, (when, step, number) = Path(sys.argv[2]), sys.argv[3].split(":")
write_behind._FLUSH_ROWS, write_behind._FLUSHES_PER_OPTIMIZE = 3, 4
calls = iter(range(1, 10**6))

def dying(original):
    def wrapped(self, *args):
        at = next(calls)
        if when == "before" and at == int(number):
            os.kill(os.getpid(), 9)
        result = original(self, *args)
        if when == "after" and at == int(number):
            os.kill(os.getpid(), 9)
        return result
    return wrapped

if step:
    setattr(Writer, step, dying(getattr(Writer, step)))

def pairs():
    for path in sorted(folder.glob("*.png")):
        status, number = path.stat(), int(path.stem.split("-")[0])
        half = 0.5 if number % 4 == 0 and (folder / "changed").exists() else 0  # a column of whole numbers is widened
        yield Pair(uri=str(path), stamp=f"{status.st_size}-{status.st_mtime_ns}", captions=(path.stem,),
                   metadata={"number": number + half})

embedder = ColourEmbedder()
collection = store.open_or_create("killed", embedder.spec)
print("begun", flush=True)
jobs.index_pairs({str(folder): pairs()}, collection, embedder, batch=2)
print("done", flush=True)
"""


def job(folder: Path, home: Path, death: str = "::0", seconds: float | None = None) -> int:
    """Run the job; kill it `seconds` after it began. Returns the exit code."""
    command = [sys.executable, "-c", JOB, str(Path(__file__).parent.parent), str(folder), death]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"DIPTYCH_HOME": str(home)}) as child:
        if seconds is not None:
            assert child.stdout.readline() == b"begun\n"
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        child.stdout.read()
        return child.wait()


def draw(folder: Path) -> None:
    """Twenty-four numbered pictures, all different."""
    folder.mkdir()
    for number in range(24):
        Image.new("RGB", (4 + number, 4), (10 * number, 99, 255 - 10 * number)).save(folder / f"{number}-a.png")


def change(folder: Path) -> None:
    """Rename some, delete some, replace some, swap two, describe some differently."""
    (folder / "changed").touch()
    for number in (1, 2, 3):
        (folder / f"{number}-a.png").rename(folder / f"{number}-b.png")
    for number in (4, 5, 6):
        (folder / f"{number}-a.png").unlink()
    for number in (8, 9, 10):
        Image.new("RGB", (50, 50), (number, 0, 0)).save(folder / f"{number}-a.png")
    (folder / "11-a.png").rename(folder / "x")
    (folder / "12-a.png").rename(folder / "11-a.png")
    (folder / "x").rename(folder / "12-a.png")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder that has changed, the home where it was indexed before it did, and one that only saw the change."""
    root = tmp_path_factory.mktemp("killed")
    folder, before, after = root / "numbered", root / "before", root / "after"
    draw(folder)
    assert job(folder, before) == 0
    change(folder)
    assert job(folder, after) == 0
    return folder, before, after


@pytest.fixture
def rows_at(rows, monkeypatch):
    """The rows of the collection in some home."""
    def read(home):
        with monkeypatch.context() as patch:
            patch.setenv("DIPTYCH_HOME", str(home))
            return rows("killed")
    return read


@pytest.mark.parametrize("death", [
    "before:upsert:1", "after:upsert:2", "before:_finish_widening:2", "before:delete:1", "after:delete:1",
    "before:optimize:1", "after:optimize:1"])
def test_killed_at_a_chosen_step(story, rows_at, own_home, death):
    folder, before, after = story
    shutil.copytree(before, own_home)
    assert job(folder, own_home, death) == -signal.SIGKILL
    assert job(folder, own_home) == 0
    assert rows_at(own_home) == rows_at(after)


def test_killed_at_random_moments_from_the_very_first_run(tmp_path, rows_at, own_home):
    folder, rng = tmp_path / "numbered", random.Random(0)
    draw(folder)
    for _ in range(3):
        job(folder, own_home, seconds=rng.uniform(0.0, 0.25))
    change(folder)
    for _ in range(3):
        job(folder, own_home, seconds=rng.uniform(0.0, 0.25))
    assert job(folder, own_home) == 0
    assert job(folder, tmp_path / "undisturbed") == 0
    found = rows_at(own_home)
    assert found == rows_at(tmp_path / "undisturbed")
    assert len({row["uri"] for row in found}) == len(found) == 21
