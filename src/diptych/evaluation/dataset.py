"""What a model is tested on: pictures, what is true of them, and in which parts the data fall.

One form for a folder, a table, shards and the bundled corpus. Which tasks it allows follows from what is there: labels,
captions, captions with a hard negative, columns to slice by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from diptych.data.regions import Region

IGNORED = 255
"""In a mask: a pixel that nobody labelled."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A text and the pictures (by their number) that it is true of. `negatives` are texts that look like it and are
    false of those pictures, by the kind of change ("swap colour")."""

    text: str
    pictures: tuple[int, ...]
    language: str = ""
    negatives: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """What is known of single pixels, by a picture's number; a map may have another size than its picture.

    `mask(i)` numbers what each pixel shows, by `things`, `IGNORED` where nobody says; `depth(i)` is how far away it is,
    in metres, 0 where unknown. None: nothing of the kind is known.
    """

    things: tuple[str, ...] = ()
    mask: Callable[[int], Int[np.ndarray, "height width"]] | None = None
    depth: Callable[[int], Float[np.ndarray, "height width"]] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Pictures by number, each with a unique id, and what is known of them. `read(i)` gives picture i's encoded bytes
    or raises PictureError.

    `labels` gives each picture's class, "" where it has none; `classes` all of them in order. `tags` are all classes of
    each picture, in data where one has several; `labels` then names those with one. `columns` are other values of each
    picture, to slice by.
    `names` is what classes are called by language ("" is that of the data), `descriptions` what is said of each, and
    `templates`, with a {} each, are those that fit the pictures,
    `headline` the task and figure that the set is known by.
    `roles` names columns that play a part in a task under
    another name: "domain", "domain_class" and "thing" (the same in several domains) in `domains`, and "named" (what
    `names` are of, if not of the labels) in `multilingual`.
    `same` numbers pictures so that those with the same pixels have the same number: they are one answer. `contents`
    names each picture's bytes (their SHA-256), so that its vector is known again in other data. `skipped` are (id,
    reason) of what could not be used. `distractors`: pictures without a caption are in the way of every query.

    `maps` and `regions` (parts of pictures with what they show, by number) are what dense tasks and grounding look at;
    `scenes` is a data set for these tasks alone, where the pictures themselves hold one thing each.
    """

    name: str
    sha256: str
    revision: str = ""
    ids: tuple[str, ...]
    read: Callable[[int], bytes]
    labels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    tags: tuple[tuple[str, ...], ...] = ()
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    descriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    templates: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    captions: tuple[Caption, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    same: tuple[int, ...] = ()
    contents: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    headline: tuple[str, str] | None = None
    distractors: bool = False
    maps: Maps = field(default_factory=Maps)
    regions: Mapping[int, tuple[Region, ...]] = field(default_factory=dict[int, tuple[Region, ...]])
    scenes: "Dataset | None" = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def languages(self) -> tuple[str, ...]:
        """Of the captions, sorted; "" is unknown."""
        return tuple(sorted({caption.language for caption in self.captions}))

    @property
    def language(self) -> str:
        """The one for tasks that ask in one: English where captions are in it, else the first. ValueError without
        captions."""
        if not self.captions:
            raise ValueError(f"{self.name} has no captions")
        return next((one for one in self.languages if one.partition("-")[0] == "en"), self.languages[0])

    def gallery(self, captions: Sequence[Caption]) -> Int[np.ndarray, " pictures"]:
        """The numbers of the pictures among which these captions find theirs, sorted."""
        named = range(len(self)) if self.distractors else {picture for one in captions for picture in one.pictures}
        return np.array(sorted(named), np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """For people."""
        return {"pictures": len(self.ids), "captions": len(self.captions), "classes": len(self.classes),
                "languages": len(self.languages)} | ({"scenes": len(self.scenes)} if self.scenes else {})


def as_queries(captions: Sequence[Caption]) -> list[Caption]:
    """Captions that are equal, in one language, are one query, true of all their pictures. Some data hold them apart,
    with the false ones of each."""
    true_of: dict[tuple[str, str], dict[int, None]] = {}
    for caption in captions:
        true_of.setdefault((caption.language, caption.text), {}).update(dict.fromkeys(caption.pictures))
    return [Caption(text=text, language=language, pictures=tuple(pictures))
            for (language, text), pictures in true_of.items()]


def subset(data: Dataset, numbers: Sequence[int]) -> Dataset:
    """The data set of these pictures alone, in this order. Captions that are left without a picture go, and classes
    without one."""
    new = {old: number for number, old in enumerate(numbers)}
    captions = [replace(c, pictures=tuple(new[p] for p in c.pictures if p in new)) for c in data.captions]
    labels, tags = tuple(data.labels[i] for i in numbers), tuple(data.tags[i] for i in numbers) if data.tags else ()
    shown = {*labels, *(tag for each in tags for tag in each)}
    first: dict[int, int] = {}
    mask, depth = data.maps.mask, data.maps.depth
    maps = replace(data.maps, mask=mask and (lambda i: mask(numbers[i])), depth=depth and (lambda i: depth(numbers[i])))
    return replace(
        data, maps=maps, regions={new[i]: parts for i, parts in data.regions.items() if i in new},
        ids=tuple(data.ids[i] for i in numbers), read=lambda i: data.read(numbers[i]), labels=labels,
        tags=tags, classes=tuple(c for c in data.classes if c in shown),
        captions=tuple(c for c in captions if c.pictures),
        contents=tuple(data.contents[i] for i in numbers) if data.contents else (),
        columns={name: tuple(values[i] for i in numbers) for name, values in data.columns.items()},
        same=tuple(first.setdefault(data.same[i], number) for number, i in enumerate(numbers)) if data.same else ())
