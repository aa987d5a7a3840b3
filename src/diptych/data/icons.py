"""Line drawings with English names and tags, from three open icon sets: more to train on, not committed.

`diptych corpus icons` builds `home()/corpora/icons/icons.parquet` from pinned npm packages, the same bytes each time.
They are black on transparent. Variants of a drawing ("heart-2") keep the plain name; numbered abstracts are left out.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from diptych.core import telemetry
from diptych.core.errors import CorpusError
from diptych.core.files import atomic_write, home
from diptych.data.npm import Contents, Package, contents
from diptych.data.pictograms_draw import draw_all, svg_of

GAME_ICONS = Package(
    name="@iconify-json/game-icons", version="1.2.4", licence="CC-BY-3.0",
    credit="Game-icons.net by Lorc, Delapouite and contributors, https://game-icons.net",
    sha256="f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4")
LUCIDE = Package(
    name="lucide-static", version="1.62.0", licence="ISC",
    credit="Lucide, © Lucide Icons and Contributors, in part Feather, © Cole Bemis (MIT), https://lucide.dev",
    sha256="386f9080c440d6f5049cefe3456ae8357f7a0c7f76e59670cd1cb83bc7050a44")
TABLER = Package(
    name="@tabler/icons", version="3.51.0", licence="MIT",
    credit="Tabler Icons, © Paweł Kuna, https://tabler.io/icons",
    sha256="b30108713d3fa60aee862c2a133225da8e0f309be0708fe2925763ff810c766c")

VENDORS = ("game-icons", "lucide", "tabler", "tabler-filled")

SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False), pa.field("vendor", pa.string(), nullable=False),
    pa.field("name", pa.string(), nullable=False), pa.field("tags", pa.list_(pa.string()), nullable=False),
    pa.field("picture", pa.binary(), nullable=False), pa.field("licence", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
])


@dataclass(frozen=True, kw_only=True)
class Icon:
    """One drawing of a set, not yet rendered. `slug` is its file name, `svg` a whole document."""

    vendor: str
    slug: str
    tags: tuple[str, ...]
    svg: bytes
    package: Package


def folder() -> Path:
    """Where the built corpus lies. CorpusError says how to build it."""
    path = home() / "corpora" / "icons"
    if not (path / "icons.parquet").exists():
        raise CorpusError("the icons are not on this machine; build them with `diptych corpus icons`")
    return path


def pictures(vendors: Sequence[str] | None = None) -> pa.Table:
    """id, vendor, name, tags, picture (WebP), licence, source, sorted by vendor and file name."""
    for vendor in vendors or ():
        if vendor not in VENDORS:
            raise ValueError(f"no vendor {vendor!r} among the icons; there are {', '.join(VENDORS)}")
    filters = pc.field("vendor").isin(list(vendors)) if vendors is not None else None
    return pq.read_table(folder() / "icons.parquet", filters=filters)


def build(target: Path, size: int = 96, workers: int | None = None) -> int:
    """Write `target/icons.parquet` and return the number of icons in it."""
    found: list[Icon] = []
    for package, read in ((GAME_ICONS, _game_icons), (LUCIDE, _lucide), (TABLER, _tabler)):
        with contents(package) as files:
            found += read(files)
    found = sorted((i for i in found if name_of(i.slug)), key=lambda i: (i.vendor, i.slug))
    with telemetry.progress("icons", len(found), "pictures") as bar:
        drawings = draw_all([i.svg for i in found], size, workers or min(2, os.cpu_count() or 1), bar.advance)
    table = pa.Table.from_pylist([{
        "id": f"{icon.vendor}/{icon.slug}", "vendor": icon.vendor, "name": name_of(icon.slug), "tags": _tags(icon),
        "picture": drawing.picture, "licence": icon.package.licence, "source": str(icon.package),
    } for icon, drawing in zip(found, drawings, strict=True)], SCHEMA)
    with atomic_write(target / "icons.parquet") as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=1024)
    return table.num_rows


def name_of(slug: str) -> str:
    """A name for people: "broken-heart-2" → "broken heart", "abstract-017" → "" (it shows nothing that has a name)."""
    if re.fullmatch(r"abstract-\d+", slug):
        return ""
    words = slug.split("-")
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    return " ".join(words)


def _tags(icon: Icon) -> list[str]:
    """Tags as words, once each, without the name, numbers and single letters."""
    name = name_of(icon.slug)
    words = (" ".join(tag.lower().replace("-", " ").split()) for tag in icon.tags)
    return list(dict.fromkeys(w for w in words if w != name and len(w) > 1 and not w.isdigit()))


def _game_icons(files: Contents) -> Iterator[Icon]:
    icons = files.json("icons.json")
    for slug, icon in icons["icons"].items():
        head = name_of(slug).split(" ")[-1]  # the set has no tags: "broken heart" is a heart
        yield Icon(vendor="game-icons", slug=slug, tags=(head,), svg=_black(svg_of(icon, icons)), package=GAME_ICONS)


def _lucide(files: Contents) -> Iterator[Icon]:
    for slug, tags in files.json("tags.json").items():  # other files are old names of the same drawings
        svg = _black(files.read(f"icons/{slug}.svg").decode())
        yield Icon(vendor="lucide", slug=slug, tags=tuple(tags), svg=svg, package=LUCIDE)


def _tabler(files: Contents) -> Iterator[Icon]:
    for slug, entry in files.json("icons.json").items():
        tags = tuple(str(tag) for tag in (*entry["tags"], entry["category"]) if tag)  # some tags are numbers
        for style in entry["styles"]:
            vendor = "tabler" if style == "outline" else f"tabler-{style}"
            svg = _black(files.read(f"icons/{style}/{slug}.svg").decode())
            yield Icon(vendor=vendor, slug=slug, tags=tags, svg=svg, package=TABLER)


def _black(svg: str) -> bytes:
    return svg.replace("currentColor", "#000").encode()
