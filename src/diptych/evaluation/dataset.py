"""What a model is tested on: pictures, what is true of them, and in which parts the data fall.

One form for a folder, a table, shards and the bundled corpus. Which tasks it allows follows from what is there: labels,
captions, captions with a hard negative, columns to slice by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A text and the pictures (by their number) that it is true of. `negatives` are texts that look like it and are
    false of those pictures, by the kind of change ("swap colour")."""

    text: str
    pictures: tuple[int, ...]
    language: str = ""
    negatives: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Pictures by number, each with a unique id, and what is known of them. `read(i)` gives picture i's encoded bytes
    or raises PictureError.

    `labels` gives each picture's class, "" where it has none; `classes` all of them in order, and `names` what a class
    is called by language ("" is the language of the data). `columns` are other values of each picture, to slice by.
    `same` numbers pictures so that those with the same pixels have the same number: they are one answer. `skipped` are
    (id, reason) of what could not be used.
    """

    name: str
    sha256: str
    revision: str = ""
    ids: tuple[str, ...]
    read: Callable[[int], bytes]
    labels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    captions: tuple[Caption, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    same: tuple[int, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def languages(self) -> tuple[str, ...]:
        """Of the captions, sorted; "" is unknown."""
        return tuple(sorted({caption.language for caption in self.captions}))

    @property
    def counts(self) -> dict[str, int]:
        """For people."""
        return {"pictures": len(self.ids), "captions": len(self.captions), "classes": len(self.classes),
                "languages": len(self.languages)}


def subset(data: Dataset, numbers: Sequence[int]) -> Dataset:
    """The data set of these pictures alone, in this order. Captions that are left without a picture go, and classes
    without one."""
    new = {old: number for number, old in enumerate(numbers)}
    captions = [replace(c, pictures=tuple(new[p] for p in c.pictures if p in new)) for c in data.captions]
    labels = tuple(data.labels[i] for i in numbers)
    first: dict[int, int] = {}
    return replace(
        data, ids=tuple(data.ids[i] for i in numbers), read=lambda i: data.read(numbers[i]), labels=labels,
        classes=tuple(c for c in data.classes if c in set(labels)), captions=tuple(c for c in captions if c.pictures),
        columns={name: tuple(values[i] for i in numbers) for name, values in data.columns.items()},
        same=tuple(first.setdefault(data.same[i], number) for number, i in enumerate(numbers)) if data.same else ())
