"""What lies beside the shards of a public set as CLIP_benchmark exports it, on disk and on the Hugging Face hub.

    classnames.txt                          a class a line; a `.cls` member is the number of its line, from 0
    zeroshot_classification_templates.txt   a template a line, {c} where the class's name goes
    things.txt                              what the numbers of masks mean, a thing a line (ours)
    dataset_type.txt                        "retrieval" where each line of a `.txt` member is a caption
    test/0.tar, test/1.tar …, test/nshards.txt

The layout: clip_benchmark/webdataset_builder.py of LAION-AI/CLIP_benchmark.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from diptych.core.errors import SourceError

SHARDS, CLASSES = "nshards.txt", "classnames.txt"
_TEMPLATES, _KIND = "zeroshot_classification_templates.txt", "dataset_type.txt"
_THINGS = "things.txt"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """`labels` number the classes and are all different; `names` is what those are called whose label is another word.
    `lines`: a `.txt` member holds a caption a line. `things` are what masks show, by their numbers."""

    labels: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    templates: tuple[str, ...] = ()
    lines: bool = False
    things: tuple[str, ...] = ()


def beside(path: str | Path) -> Beside:
    """What lies in the folder of these shards, or in the one above; nothing behind a URL. SourceError for a set whose
    pictures have several classes each, and for a template without one {c}."""
    if "://" in str(path):
        return Beside()
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    kind = "".join(_lines(folder, _KIND)).lower()
    if kind == "multilabel":
        raise SourceError(f"{folder} is of the type \"multilabel\" ({_KIND}): its pictures have several classes each, "
                          "and one is read; take the export with one class a picture")
    templates = [line for line in _lines(folder, _TEMPLATES) if line]
    if wrong := [line for line in templates if line.count("{c}") != 1]:
        raise SourceError(f"{_TEMPLATES} of {folder} has {wrong[0]!r}; a template has one {{c}} where the name goes")
    classes = _lines(folder, CLASSES)
    counts = Counter(classes)
    # ImageNet has two classes "missile", CLEVR one without a name: their numbers tell them apart
    labels = [name if name and counts[name] == 1 else f"{name} ({number})".strip()
              for number, name in enumerate(classes)]
    return Beside(labels=tuple(labels), templates=tuple(line.replace("{c}", "{}") for line in templates),
                  names=tuple((label, name) for label, name in zip(labels, classes, strict=True) if label != name),
                  lines=kind == "retrieval", things=tuple(_lines(folder, _THINGS)))


def lines(path: Path) -> list[str]:
    """Without what stands around them. Only a line's end ends one: U+2028 is part of a text."""
    with path.open(encoding="utf-8") as stream:
        return [line.strip() for line in stream]


def find(folder: Path, name: str) -> Path | None:
    """The file of this name in the folder of the shards, or in the one above."""
    return next((path for path in (folder / name, folder.parent / name) if path.is_file()), None)


def _lines(folder: Path, name: str) -> list[str]:
    return lines(found) if (found := find(folder, name)) else []
