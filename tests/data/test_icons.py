"""The icon corpus on a registry of one's own: names, tags, licences, black drawings, stable bytes."""

import io
import json
import os
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import CorpusError
from diptych.core.files import sha256_file
from diptych.data import icons

pytest.importorskip("resvg_py", reason="resvg-py is not installed: pip install 'diptych[corpus]'")


@pytest.mark.parametrize(("slug", "name"), [
    ("apple", "apple"), ("broken-heart-2", "broken heart"), ("abstract-017", ""), ("number-7", "number"),
    ("3d-glasses", "3d glasses"), ("404", "404"),
])
def test_names_are_words_without_variant_numbers(slug, name):
    assert icons.name_of(slug) == name


def svg(path):
    return f'<!-- @license -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" {path}/></svg>'.encode()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Three tiny packages behind an npm that copies them, pinned by their real sha256."""
    stroked = svg('fill="none" stroke="currentColor" stroke-width="2"><path d="M4 4h16v16H4z"')
    filled = svg('fill="currentColor"><path d="M4 4h16v16H4z"')
    packages = {
        "GAME_ICONS": {"icons.json": {"width": 24, "height": 24, "icons": {
            "broken-heart": {"body": '<path fill="currentColor" d="M4 4h16v16H4z"/>'},
            "abstract-017": {"body": '<path fill="currentColor" d="M0 0h24v24H0z"/>'}}}},
        "LUCIDE": {"tags.json": {"apple": ["Fruit", "food", "apple"]}, "icons/apple.svg": stroked,
                   "icons/old-apple.svg": stroked},
        "TABLER": {"icons.json": {
            "heart-2": {"tags": ["love", "like-it", 2, "x", "love"], "category": "Health",
                        "styles": {"outline": {}, "filled": {}}},
            "line": {"tags": [], "category": "", "styles": {"outline": {}}}},
            "icons/outline/heart-2.svg": stroked, "icons/filled/heart-2.svg": filled,
            "icons/outline/line.svg": stroked},
    }
    folder = tmp_path / "registry"
    folder.mkdir()
    for constant, files in packages.items():
        package = getattr(icons, constant)
        path = folder / str(package).replace("/", "-")
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                info = tarfile.TarInfo(f"package/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        monkeypatch.setattr(icons, constant, replace(package, sha256=sha256_file(path)))
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(f"""#!{sys.executable}
import shutil, sys
from pathlib import Path
where = Path(sys.argv[sys.argv.index("--pack-destination") + 1])
shutil.copy(Path({str(folder)!r}) / sys.argv[2].replace("/", "-"), where / "packed.tgz")
""")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)


def test_icons_are_named_tagged_and_drawn_in_black(registry, own_home):
    assert icons.build(own_home / "corpora" / "icons", size=24, workers=1) == 5
    rows = icons.pictures().to_pylist()
    assert [(r["id"], r["name"], r["tags"], r["licence"]) for r in rows] == [
        ("game-icons/broken-heart", "broken heart", ["heart"], "CC-BY-3.0"),
        ("lucide/apple", "apple", ["fruit", "food"], "ISC"),
        ("tabler/heart-2", "heart", ["love", "like it", "health"], "MIT"),
        ("tabler/line", "line", [], "MIT"),
        ("tabler-filled/heart-2", "heart", ["love", "like it", "health"], "MIT"),
    ]
    assert rows[1]["source"] == "lucide-static@1.62.0"
    for row in rows:
        with Image.open(io.BytesIO(row["picture"])) as picture:
            pixels = np.asarray(picture.convert("RGBA"))
        assert pixels.shape == (24, 24, 4)
        assert pixels[..., :3][pixels[..., 3] > 0].max() == 0
        centre = pixels[12, 12, 3]  # only outlines are hollow
        assert centre == (0 if row["vendor"] in ("lucide", "tabler") else 255)


def test_the_same_bytes_come_out_twice(registry, tmp_path):
    for name in ("one", "two"):
        icons.build(tmp_path / name, size=24, workers=1)
    assert (tmp_path / "one" / "icons.parquet").read_bytes() == (tmp_path / "two" / "icons.parquet").read_bytes()


def test_icons_can_be_chosen_by_vendor(registry, own_home):
    icons.build(own_home / "corpora" / "icons", size=24, workers=1)
    assert icons.pictures(["lucide"])["id"].to_pylist() == ["lucide/apple"]
    with pytest.raises(ValueError, match="feather"):
        icons.pictures(["feather"])


def test_without_the_icons_the_error_says_how_to_build_them():
    with pytest.raises(CorpusError, match="diptych corpus icons"):
        icons.pictures()
