"""A public set by its name: `imagenet1k`, `imagenet1k=/data/ILSVRC2012`, `hub:imagenet1k`, `hub:OWNER/REPOSITORY`.

A bare name is looked for here, in $DIPTYCH_DATA (a folder of that name or of one of its aliases), and among what was
downloaded; nothing is downloaded but by `hub:`. A set that lies in CLIP_benchmark's shards is read from them, whatever
it is; else in the layout of its authors (`catalogue.LAYOUTS`). `./imagenet1k` is any folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.core.errors import SourceError
from diptych.evaluation.classes import with_texts
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.exports import SHARDS
from diptych.evaluation.public import captions, catalogue, compositional, hub, objects, people
from diptych.evaluation.public.catalogue import LAYOUTS, SETS, Layout, PublicSet
from diptych.evaluation.sets import Columns, open_dataset

DATA, HUB = "DIPTYCH_DATA", "hub:"

_NO_NAME = frozenset("/\\.*?{}[]:")
_READERS: dict[Layout, Callable[[str, Path], Dataset]] = {
    "imagenet": objects.open_imagenet, "objectnet": objects.open_objectnet, "coco": captions.open_coco,
    "flickr30k": captions.open_flickr30k, "xm3600": captions.open_xm3600,
    "winoground": compositional.open_winoground, "sugarcrepe": compositional.open_sugarcrepe}
_LABELLED: dict[Layout, Callable[[str, Path, Columns], Dataset]] = {
    "dollar_street": people.open_dollar_street, "geode": people.open_geode, "fairface": people.open_fairface}
"""Of sets in which `--label` chooses what is told."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A set, and the folder it was found in."""

    entry: PublicSet
    folder: str | None


def open_named(on: str, columns: Columns | None = None) -> Dataset | None:
    """The public set that `on` names, or None where it is a path, a pattern or a URL. SourceError for a name that is
    none, for a set that is not here, and for one in another layout than those that are read."""
    name, equals, path = on.partition("=")
    if on.startswith(HUB):
        repo = on.removeprefix(HUB)
        entry = catalogue.find(repo) or (None if "/" in repo else catalogue.get(repo))
        if entry and not entry.hub:
            raise SourceError(f"{entry.name} has no export on the hub that is read here; get it from {entry.home}: "
                              f"{LAYOUTS[entry.layout]}")
        return _export(entry.name if entry else repo, hub.fetch(entry.hub if entry else repo), columns)
    entry = catalogue.find(on)
    if Path(on).exists():  # a folder "pets" may be of one's own pictures, one "imagenet1k" is hardly
        public = entry and Path(on).is_dir() and (entry.layout != "export" or _shards(Path(on)))
        return open_public(entry, Path(on), columns) if entry and public else None
    if equals and (named := catalogue.find(name)):
        return open_public(named, Path(path).expanduser(), columns)
    if not entry and _NO_NAME & {*on}:
        return None
    return open_public(entry or catalogue.get(on), None, columns)


def open_public(entry: PublicSet, root: Path | None = None, columns: Columns | None = None) -> Dataset:
    """The set in this folder, or in the one where it is found. SourceError when it is not there as `LAYOUTS` says,
    ValueError for columns where there is nothing to choose."""
    found = root or found_in(entry)
    if found is None or not found.is_dir():
        get = f"`--on {HUB}{entry.name}` downloads it" if entry.hub else f"get it from {entry.home} ({entry.licence})"
        read = dict.fromkeys((LAYOUTS[entry.layout], LAYOUTS["export"]))
        raise SourceError(f"{entry.name} is not here: {_looked(entry, root)}; {get}, or say where it lies, `--on "
                          f"{entry.name}=FOLDER`. It is read as {'; or '.join(read)}")
    if _shards(found):
        return _export(entry.name, found, columns)
    if entry.layout == "export":
        raise SourceError(f"{found} is not {entry.name} as it is read: expected {LAYOUTS['export']}; "
                          f"`--on {HUB}{entry.name}` downloads it so")
    columns = columns or Columns()
    if entry.layout in _READERS and columns != Columns():
        raise ValueError(f"{entry.name} has its own classes and captions; columns are chosen in tables")
    try:
        if entry.layout in _READERS:
            data = _READERS[entry.layout](entry.name, found)
        else:
            data = _LABELLED[entry.layout](entry.name, found, replace(columns, label=columns.label or entry.label))
    except (KeyError, IndexError, TypeError, AttributeError) as error:  # a file of that name with another content
        raise SourceError(f"{found} is not {entry.name} as its authors publish it ({type(error).__name__}: {error}); "
                          f"expected {LAYOUTS[entry.layout]}") from error
    return with_texts(data, found)


def listed() -> list[Listed]:
    """Every set, and where it is on this machine."""
    found = ((entry, found_in(entry)) for entry in SETS)
    return [Listed(entry=entry, folder=str(folder) if folder else None) for entry, folder in found]


def found_in(entry: PublicSet) -> Path | None:
    """The first of its places that is there, and whole if it was downloaded."""
    return next((place for place in places(entry) if place.is_dir() and (
        place != hub.place_of(entry.hub) or hub.is_whole(place))), None)


def places(entry: PublicSet) -> list[Path]:
    """Where a set is looked for."""
    data = os.environ.get(DATA)
    own = [Path(data).expanduser() / name for name in _names(entry)] if data else []
    return [*own, *([hub.place_of(entry.hub)] if entry.hub else [])]


def _names(entry: PublicSet) -> tuple[str, ...]:
    """Of its folder."""
    return (entry.name, *entry.aliases, *([entry.hub.partition("/")[2]] if entry.hub else []))


def _looked(entry: PublicSet, root: Path | None) -> str:
    if root is not None:
        return f"{root} is no folder"
    data = os.environ.get(DATA)
    return f"{data} has no folder {' or '.join(_names(entry))}" if data else f"${DATA} names no folder of sets"


def _shards(folder: Path) -> Path | None:
    return next((place for place in (folder / "test", folder) if any(place.glob("*.tar"))), None)


def _export(name: str, folder: Path, columns: Columns | None) -> Dataset:
    place = _shards(folder)
    if place is None:
        raise SourceError(f"{folder} has no shards; expected {LAYOUTS['export']}")
    if (place / SHARDS).is_file() and place.name == "test" and not hub.is_whole(folder):
        raise SourceError(f"{place} lacks some of the shards that its {SHARDS} counts; complete it, or name the tars "
                          f"alone: --on '{place}/*.tar'")
    return open_dataset(place, columns, name=name, merge=False)
