"""Winoground and SugarCrepe: captions with false ones of nearly the same words.

A caption is of one picture here, and is not put together with an equal one of another: each has its own false one.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core.errors import SourceError
from diptych.core.files import sha256_bytes
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.public.files import first, folder, pair, pictures, read_json, read_json_lines

KINDS = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
"""SugarCrepe's files."""


def open_winoground(name: str, root: Path) -> Dataset:
    """Pairs of pictures; `tag` is what the captions exchange ("Object", "Relation", "Both"). An example is left out
    unless both of its pictures can be read."""
    listed = first(root, "data/examples.jsonl", "examples.jsonl", "data/metadata.jsonl", "metadata.jsonl")
    if listed is None:
        raise SourceError(f"{root} has no examples.jsonl, in it or in data/")
    if not any((place / "images").is_dir() for place in (root, listed.parent)):
        packed = first(listed.parent, "images.zip")
        raise SourceError(f"{root} has no folder images/" + (f"; unpack {packed} there" if packed else ""))
    place = folder(root if (root / "images").is_dir() else listed.parent, "images")
    examples = read_json_lines(listed)
    file_of = {example[image]: _file(place, example[image]) for example in examples for image in ("image_0", "image_1")}
    tag_of = {example[image]: _tag(example) for example in examples for image in ("image_0", "image_1")}
    data = pictures(name, root, [pair(file, tag=tag_of[image]) for image, file in file_of.items()])
    number = {id_: at for at, id_ in enumerate(data.ids)}
    captions: list[Caption] = []
    for example in examples:
        images = [number.get(file_of[example[image]].relative_to(root).as_posix()) for image in ("image_0", "image_1")]
        texts = [example["caption_0"], example["caption_1"]]
        if None not in images:
            captions += [
                Caption(text=texts[at], pictures=(int(images[at] or 0),), language="en",
                        negatives=((_tag(example).lower(), texts[1 - at]),)) for at in (0, 1)]
    return _saying(data, captions, ("winoground", "group"))


def _file(place: Path, image: str) -> Path:
    return next((place / f"{image}{suffix}" for suffix in (".png", ".jpg") if (place / f"{image}{suffix}").exists()),
                place / f"{image}.png")


def _tag(example: dict[str, Any]) -> str:
    return str(example.get("collapsed_tag") or example.get("tag") or "swap")


def open_sugarcrepe(name: str, root: Path) -> Dataset:
    """All seven kinds together, each a slice ("kind"). COCO's pictures lie in val2017/, here or in a folder coco/ in or
    beside this one."""
    place = root / "data" if (root / "data").is_dir() else root
    known = {kind: list(read_json(place / f"{kind}.json").values()) for kind in KINDS
             if (place / f"{kind}.json").is_file()}
    if missing := [kind for kind in KINDS if kind not in known]:
        raise SourceError(f"{place} has no {', '.join(f'{kind}.json' for kind in missing)}; they are in data/ of "
                          "github.com/RAIVNLab/sugar-crepe")
    coco = folder(root, "val2017", "images/val2017", "coco/val2017", "../coco/val2017", "../mscoco_captions/val2017",
                  "../coco/images/val2017").resolve()
    files = dict.fromkeys(row["filename"] for rows in known.values() for row in rows)
    data = pictures(name, coco, [pair(coco / file) for file in files])
    number = {id_: at for at, id_ in enumerate(data.ids)}
    false: dict[tuple[int, str], dict[tuple[str, str], None]] = {}
    for kind, rows in known.items():
        for row in rows:
            if (at := number.get(row["filename"])) is not None:
                false.setdefault((at, row["caption"]), {})[kind, row["negative_caption"]] = None
    return _saying(data, [Caption(text=text, pictures=(at,), language="en", negatives=tuple(negatives))
                          for (at, text), negatives in false.items()], ("hard_negatives", "true_over_negative"))


def _saying(data: Dataset, captions: Sequence[Caption], headline: tuple[str, str]) -> Dataset:
    """The pictures with these captions; what is kept of the data is found by their hash."""
    return replace(data, captions=tuple(captions), headline=headline,
                   sha256=sha256_bytes(f"{data.sha256} {captions}".encode()))
