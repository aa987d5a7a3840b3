"""A live collection with a gold set as a data set: its pictures as they are now, and what queries must find.

Every picture is in the way of every query, whether a query expects it or not. Pictures of other models are read from
where they came from; one that is gone from there, or is another one now, from the collection's thumbnail.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from diptych.core import telemetry
from diptych.core.errors import CollectionError, PictureError
from diptych.core.files import sha256_bytes
from diptych.data.pictures import read_picture
from diptych.data.sources import file_stamp
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.gold import read_gold
from diptych.evaluation.sets import LABELS, parted
from diptych.index.contents import Contents
from diptych.index.store import Collection

GONE = "removed from the collection"


def open_live(
    collection: Collection, contents: Contents, gold: str | Path, *, languages: Sequence[str] | None = None,
    label: str | None = None, others: bool = False,
) -> Dataset:
    """The data set of one version of a collection; classes come from the metadata column `label`, or from one that is
    called so. `others`: models are coming that have to look at the pictures. CollectionError when it is empty,
    SourceError for a gold set that cannot be used, ValueError for a column that is not there."""
    if not len(contents):
        raise CollectionError(f"{collection.name} is empty; `diptych index FOLDER --to {collection.name}` fills it")
    if label is not None and label not in contents.metadata:
        raise ValueError(f"{collection.name} has no column {label!r} for the label; its columns are "
                         f"{', '.join(contents.metadata) or 'none'}")
    places: dict[str, list[int]] = {}
    for number, (id_, uri) in enumerate(zip(contents.ids, contents.uris, strict=True)):
        places.setdefault(id_, []).append(number)
        places.setdefault(uri, []).append(number)
    asked = read_gold(gold, lambda name: places.get(name, ()), languages)
    columns = dict(contents.metadata)
    column = label or next((name for name in LABELS if name in columns), None)
    labels, tags, classes = parted(columns.pop(column) if column else ("",) * len(contents))
    first: dict[str, int] = {}
    said = [(caption.language, caption.text, caption.pictures) for caption in asked.captions]
    told = json.dumps([contents.fingerprint, contents.version, contents.ids, said], ensure_ascii=False)
    # a job that is replacing a picture has both under one URI for a moment
    ids = [uri if len(places[uri]) == 1 else f"{uri}#{id_[:12]}"
           for id_, uri in zip(contents.ids, contents.uris, strict=True)]
    sha256 = sha256_bytes(told.encode("utf-8", "replace"))
    kept = _names(contents, sha256) if others else ()
    return Dataset(
        name=f"collection:{collection.name}", sha256=sha256, contents=kept,
        revision=f"version {contents.version} of {contents.fingerprint[:12]}", ids=tuple(ids),
        read=_reader(collection, contents, kept), labels=labels, tags=tags, classes=classes,
        captions=asked.captions, columns=columns, skipped=asked.skipped, distractors=True,
        same=tuple(first.setdefault(content, number) for number, content in enumerate(contents.hashes)))


def _names(contents: Contents, sha256: str) -> tuple[str, ...]:
    """By which the vectors of pictures are kept: the content of files that are as they were when they were indexed. Of
    others nobody knows yet whether the thumbnail will stand for them, so those vectors are this version's alone."""
    def unchanged(number: int) -> bool:
        try:
            uri = contents.uris[number]
            return file_stamp(uri) == contents.stamps[number] and os.access(uri, os.R_OK)
        except (OSError, ValueError):
            return False

    return tuple(content if unchanged(number) else f"{sha256} {contents.ids[number]}"
                 for number, content in enumerate(contents.hashes))


def _reader(collection: Collection, contents: Contents, kept: Sequence[str]) -> Callable[[int], bytes]:
    """No thumbnail stands for a file whose vector will be `kept` by the file's content."""
    told = False

    def read(number: int) -> bytes:
        nonlocal told
        uri = contents.uris[number]
        try:
            data = read_picture(uri)
            if sha256_bytes(data) == contents.hashes[number]:
                return data
            reason = "it has changed since it was indexed"
            if kept and kept[number] == contents.hashes[number]:
                raise PictureError(reason, uri)
        except PictureError as error:
            if kept and kept[number] == contents.hashes[number]:
                raise
            reason = str(error)
        if not told:
            telemetry.notice(f"thumbnails of {collection.name} stand for pictures that cannot be read where they came "
                             f"from; the first is {uri}: {reason}")
        told = True
        if (thumbnail := collection.thumbnail(contents.ids[number])) is None:
            raise PictureError(GONE, uri)
        return thumbnail

    return read
