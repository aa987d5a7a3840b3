"""Open a data set to test on: a folder, a table, Parquet, WebDataset shards.

What is read is what training reads (`data.shards`). Columns play their parts by name, and an argument says otherwise:

- class: `label`, `class`, `category`, a WebDataset's `.cls` member (with `classnames.txt` beside the shards, see
  `exports`), or the
  folder a picture lies in; several in `labels` or `tags`, as a JSON list or "sea|boat"; `classes` reads what else is
  said of them
- captions: `caption`, `captions`, `text`, `title`; `caption_de` for those in German, or a column `language`
- false captions that look true: `negative`, `negatives`, or by kind `negative_swap`
- part: `split`, or folders named train, val and test
- id: `id`, else where the picture lies
- regions: `regions`, JSON as `data.regions` writes it: [{"box": [left, top, right, bottom], "text": …}] in shares of 1
- what each pixel shows: `boat.mask.png` beside `boat.jpg`, or a WebDataset's member `mask.png`: palette or grey values
  number the lines of a `things.txt` beside the data, from 0; 255 is nothing that counts
- how far away it is: `boat.depth.png`, 16-bit, in millimetres, or `boat.depth.npy` in metres; 0 is unknown

A map that cannot be read is listed as skipped, and its picture is used without it. Rows with the same picture, class
and part are one picture with all their captions. Every other column can slice.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from diptych.core import telemetry
from diptych.core.errors import PictureError, SourceError
from diptych.core.files import sha256_bytes
from diptych.core.types import Scalar
from diptych.data.lines import LineShard
from diptych.data.parquets import RowGroup
from diptych.data.pictures import MAPS
from diptych.data.records import Record, Shard
from diptych.data.regions import Region, from_json
from diptych.data.shards import open_shards
from diptych.data.tars import TarShard
from diptych.evaluation.classes import with_texts
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.exports import Beside, beside
from diptych.evaluation.maps import decode_map, maps_of

LABELS = ("label", "class", "category", "class_name", "labels", "tags")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "test": "test"}

_LANGUAGE = re.compile(r"(?:caption|captions|text)_([a-z]{2,3}(?:-[A-Za-z]{2,4})?)")
_NEGATIVE = re.compile(r"(?:hard_)?negatives?(?:_caption)?(?:_(\w+))?")
_READERS = 8


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column plays which part; None: the one that has the usual name."""

    label: str | None = None
    caption: str | None = None
    language: str | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One record, without its picture; `maps` are sha256s of what lies beside it, by what follows its name, and
    `unread` (id, reason) of maps that cannot be read."""

    shard: int
    index: int
    id: str
    sha256: str
    label: str
    split: str
    captions: tuple[tuple[str, str], ...]
    negatives: tuple[tuple[str, str], ...]
    columns: Mapping[str, str]
    regions: tuple[Region, ...] = ()
    maps: Mapping[str, str] = field(default_factory=dict[str, str])
    unread: tuple[tuple[str, str], ...] = ()


_Said = dict[tuple[str, str], dict[tuple[str, str], None]]
"""(language, text) of captions, and (kind, text) of what each one's row says is false."""


def open_dataset(
    path: str | Path, columns: Columns | None = None, *, name: str | None = None, merge: bool = True
) -> Dataset:
    """The data set behind a path or a pattern of paths. Every picture's bytes are read once, and only maps are decoded.
    `name` and `merge` as in `dataset_of`.

    SourceError when there is no picture; ValueError for a column that is not there, for ids that occur twice, and for
    captions that are all empty.
    """
    found, shards = beside(path), open_shards(path)
    if found.lines:
        shards = [replace(shard, lines=True) if isinstance(shard, TarShard) else shard for shard in shards]
    return with_texts(dataset_of(name or str(path), shards, columns, found, merge), path)


def dataset_of(
    name: str, shards: Sequence[Shard], columns: Columns | None = None, found: Beside | None = None, merge: bool = True
) -> Dataset:
    """The data set in these shards. Without `merge` every record is a picture of its own, as published figures count
    them; with it, records of the same bytes, class and part are one. Errors are those of `open_dataset`."""
    columns, found = columns or Columns(), found or Beside()
    rows, skipped, there = _rows(shards, columns, found.labels)
    if not rows:
        said = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise SourceError(f"{name} has no picture that can be read{said}")
    _check_columns(name, columns, rows, there)
    read, (rows, texts) = len(rows), _merged(rows, merge)
    if len(rows) < read:
        telemetry.notice(f"{name}: {read:,} records are {len(rows):,} pictures; those with the same bytes, class and "
                         "part are one, with all their captions")
    if all(not row.label for row in rows) and not any(row.captions for row in rows):
        rows = _labelled_by_folder(rows)
    data = _dataset(name, shards, rows, texts, skipped, found.things)
    if found.labels and set(data.classes) <= {*found.labels}:  # all of them can be answered, pictured or not
        data = replace(data, classes=found.labels)
    if found.names:
        data = replace(data, names={**data.names, "": dict(found.names)})
    return replace(data, templates=found.templates)


def _rows(
    shards: Sequence[Shard], columns: Columns, names: Sequence[str]
) -> tuple[list[_Row], list[tuple[str, str]], set[str]]:
    """What the records say, (id, reason) of those that cannot be read, and which columns there are."""
    places = [(s, i) for s, shard in enumerate(shards) for i in range(len(shard))]
    root = _root([shards[s].name for s, _ in places])
    there = {column for shard in shards if (column := _caption_column(shard))}

    def read(place: tuple[int, int]) -> _Row | tuple[str, str]:
        shard, index = place
        try:
            record = shards[shard].read(index)
        except PictureError as error:
            return f"{shards[shard].name}#{index}", str(error)
        there.update(record.metadata)
        own = not columns.caption or columns.caption == _caption_column(shards[shard])
        try:
            return _row(shard, index, record, columns, names, root, own)
        except ValueError as error:
            return record.key, str(error)

    rows: list[_Row] = []
    skipped: list[tuple[str, str]] = []
    with ThreadPoolExecutor(_READERS) as pool, telemetry.progress("reading", len(places), "pictures") as bar:
        for found in pool.map(read, places):
            if isinstance(found, _Row):
                rows.append(found)
                skipped += found.unread
            else:
                skipped.append(found)
            bar.advance()
    return rows, skipped, there


def _caption_column(shard: Shard) -> str | None:
    """The column that a table's captions come from."""
    return shard.columns.caption if isinstance(shard, LineShard | RowGroup) else None


def _row(
    shard: int, index: int, record: Record, columns: Columns, names: Sequence[str], root: str, own: bool
) -> _Row:
    """With the record's own captions, or those of the column that is asked for."""
    values = {name: _text(value) for name, value in record.metadata.items()}
    label_column = columns.label or next((name for name in LABELS if name in values), None)
    label = values.pop(label_column, "") if label_column else ""
    if not label and "cls" in record.parts:
        number = record.parts["cls"].decode("utf-8", "replace").strip()
        label = names[int(number)] if number.isdigit() and int(number) < len(names) else number
    split = values.pop(columns.split or "split", "")
    language = values.pop(columns.language or "language", "")
    regions = from_json(values.pop("regions")) if _are_boxes(values.get("regions", "")) else ()
    captions = [(text, language) for text in (
        record.captions if own else _texts(record.metadata.get(columns.caption or "")))]
    negatives: list[tuple[str, str]] = []
    for name in list(values):
        if not columns.caption and (found := _LANGUAGE.fullmatch(name)):
            captions += [(text, found[1]) for text in _texts(record.metadata[name])]
        elif found := _NEGATIVE.fullmatch(name):
            negatives += [(found[1] or "", text) for text in _texts(record.metadata[name])]
        else:
            continue
        values.pop(name)
    if columns.caption:
        values.pop(columns.caption, None)
    id_ = values.pop("id", "") or record.key.removeprefix(root).lstrip("/")
    maps, unread = _maps(record, id_)
    return _Row(shard=shard, index=index, id=id_, sha256=sha256_bytes(record.data),
                label=label, split=SPLITS.get(split.lower(), split), captions=tuple(captions),
                negatives=tuple(negatives), columns=values, regions=regions, maps=maps, unread=unread)


def _maps(record: Record, id_: str) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    found: dict[str, str] = {}
    unread: list[tuple[str, str]] = []
    for kind in MAPS:
        try:
            if (data := record.read_map(kind)) is not None:
                decode_map(data, kind)
                found[kind] = sha256_bytes(data)
        except (PictureError, ValueError) as error:
            unread.append((f"{kind} of {id_}", str(error)))
    return found, tuple(unread)


def _are_boxes(text: str) -> bool:
    """A JSON list of objects with a box, be it a wrong one; an empty list has none."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, list) and (not found or any(isinstance(one, dict) and "box" in one for one in found))


def _text(value: Scalar) -> str:
    return str(value).strip()


def _texts(value: Scalar | None) -> list[str]:
    """The captions in a metadata value: one, or a JSON list of them."""
    text = "" if value is None else _text(value)
    try:
        many = json.loads(text) if text.startswith("[") else text
    except ValueError:
        many = text
    return [t for t in (str(x).strip() for x in (many if isinstance(many, list) else [many])) if t]


def _check_columns(name: str, columns: Columns, rows: Sequence[_Row], there: Collection[str]) -> None:
    """What was asked for by name has to be there, with values."""
    filled = {"label": any(r.label for r in rows), "caption": any(r.captions for r in rows),
              "split": any(r.split for r in rows),
              "language": any(language for r in rows for _, language in r.captions)}
    for part, found in filled.items():
        column = getattr(columns, part)
        if column is not None and not (found and column in there):
            raise ValueError(f"{name} has no column {column!r} with values for the {part}; there are "
                             f"{', '.join(sorted(there)) or 'none'}")


def _merged(rows: Sequence[_Row], merge: bool) -> tuple[list[_Row], list[_Said]]:
    """One row for each picture, class and part (all of them without `merge`); and, for each, what all its rows say, by
    (language, text), with what that caption's row denies."""
    seen: dict[object, int] = {}
    kept: list[_Row] = []
    said: list[_Said] = []
    ids: set[str] = set()
    for row in rows:
        at = seen.setdefault((row.sha256, row.label, row.split) if merge else len(kept), len(kept))
        if at == len(kept):
            if row.id in ids:
                raise ValueError(f"two pictures, or one with two classes, have the id {row.id!r}; give each row an id "
                                 "of its own, or leave the column out")
            ids.add(row.id)
            kept.append(row)
            said.append({})
        elif row.regions:
            kept[at] = replace(kept[at], regions=tuple(dict.fromkeys((*kept[at].regions, *row.regions))))
        for number, (text, language) in enumerate(row.captions):
            denied = said[at].setdefault((language, text), {})
            denied.update(dict.fromkeys(row.negatives if number == 0 else ()))
    return kept, said


def _labelled_by_folder(rows: Sequence[_Row]) -> list[_Row]:
    """Pictures in folders: their name is the class, below train, val and test if there are such."""
    found = []
    for row in rows:
        *folders, _ = row.id.split("/")
        split = row.split
        if folders and folders[0].lower() in SPLITS:
            split = SPLITS[folders.pop(0).lower()]
        found.append(replace(row, label=folders[0] if folders else "", split=split))
    return found if len({row.label for row in found}) > 1 else list(rows)


def _dataset(
    name: str, shards: Sequence[Shard], rows: Sequence[_Row], said: Sequence[_Said],
    skipped: Sequence[tuple[str, str]], things: Sequence[str],
) -> Dataset:
    true_of: dict[tuple[str, str], list[int]] = {}
    negatives: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
    for number, texts in enumerate(said):
        for text, denied in texts.items():
            true_of.setdefault(text, []).append(number)
            negatives.setdefault(text, {}).update(denied)
    captions = tuple(Caption(text=text, language=language, pictures=tuple(pictures),
                             negatives=tuple(negatives.get((language, text), ())))
                     for (language, text), pictures in true_of.items())
    first: dict[str, int] = {}
    columns = {column: tuple(row.columns.get(column, "") for row in rows)
               for column in sorted({column for row in rows for column in row.columns})}
    if any(row.split for row in rows):
        columns["split"] = tuple(row.split for row in rows)
    contents = [(row.id, row.sha256, row.label, row.split, [(*text, *denied) for text, denied in texts.items()],
                 sorted(row.columns.items()),
                 *([repr(row.regions)] if row.regions else []), *sorted(row.maps.items()))
                for row, texts in zip(rows, said, strict=True)]
    labels = tuple(row.label for row in rows)
    maps = maps_of([row.maps for row in rows], lambda i, kind: shards[rows[i].shard].read(rows[i].index).read_map(kind),
                   [row.id for row in rows], things)
    labels, tags, classes = parted(labels)
    return Dataset(
        name=name, sha256=sha256_bytes(json.dumps(contents, ensure_ascii=False).encode("utf-8", "replace")),
        ids=tuple(row.id for row in rows), read=lambda i: shards[rows[i].shard].read(rows[i].index).data,
        labels=labels, tags=tags, captions=captions, columns=columns,
        classes=classes,
        same=tuple(first.setdefault(row.sha256, number) for number, row in enumerate(rows)),
        contents=tuple(row.sha256 for row in rows), skipped=tuple(skipped), maps=maps,
        regions={number: row.regions for number, row in enumerate(rows) if row.regions})


def parted(
    labels: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Of each picture its class, "" where it has several; all of its classes, nothing where no picture has several; and
    the classes that there are."""
    tags = tuple(_tags(label) for label in labels)
    one = tuple(each[0] if len(each) == 1 else "" for each in tags)
    classes = tuple(sorted({tag for each in tags for tag in each}))
    return one, tags if any(len(each) > 1 for each in tags) else (), classes


def _tags(label: str) -> tuple[str, ...]:
    """The classes in a label: a JSON list of them, or parted by "|"; a plain one is one."""
    several = _texts(label) if label.startswith("[") else label.split("|")
    return tuple(dict.fromkeys(tag for one in several if (tag := one.strip())))


def _root(names: Sequence[str]) -> str:
    """What all shards' names begin with, up to a folder: ids are told apart by the rest."""
    plain = [re.sub(r"\[[\d:]*\]$", "", name) for name in dict.fromkeys(names)]
    shared = plain[0] if len(set(plain)) == 1 else _common(plain)
    return shared if Path(shared).is_dir() else shared.rpartition("/")[0]


def _common(names: Sequence[str]) -> str:
    short, long = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[:length]
