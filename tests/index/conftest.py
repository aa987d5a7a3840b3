"""Small collections of plainly coloured pictures, which ColourEmbedder tells apart."""

import io
from pathlib import Path

import pytest
from PIL import Image

from diptych.core.types import Pair
from diptych.index import store
from diptych.index.jobs import index_pairs
from fakes import COLOURS, ColourEmbedder


def png(colour, size=(6, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def picture():
    """Encoded pictures of one colour: `picture("red")`; a size tells two of one colour apart."""
    return png


@pytest.fixture
def embedder():
    return ColourEmbedder()


@pytest.fixture
def folder(tmp_path):
    """A folder with a picture of each colour."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in COLOURS.items():
        (photos / f"{name}.png").write_bytes(png(colour))
    return photos


@pytest.fixture
def listed():
    """Pairs of a folder's files, as `data.sources` would give them; this room does not know that one."""
    def pairs(folder: Path, captions=lambda path: (), metadata=lambda path: {}):
        found = []
        for path in sorted(folder.rglob("*.*")):
            status = path.stat()
            found.append(Pair(uri=str(path), captions=captions(path), metadata=metadata(path),
                              stamp=f"{status.st_size}-{status.st_mtime_ns}"))
        return found
    return pairs


@pytest.fixture
def run(embedder, listed):
    """Index a folder: `run(folder)` gives the report."""
    def index(folder, name="colours", **how):
        kept = {key: how.pop(key) for key in ("captions", "metadata") if key in how}
        return index_pairs({str(folder): listed(folder, **kept)}, store.open_or_create(name, embedder.spec), embedder,
                           **how)
    return index


@pytest.fixture
def rows():
    """What a collection holds, without times: comparable between two of them."""
    def read(name="colours"):
        table = store.Collection(name).pinned().to_arrow().drop_columns(["indexed_at"]).sort_by("id")
        return table.select(sorted(table.column_names)).to_pylist()
    return read
