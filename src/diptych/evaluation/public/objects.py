"""ImageNet and its family, ObjectNet: pictures in folders of classes, with the names that CLIP's figures are made with.

`imagenet.tsv` is ImageNet's 1,000 synsets in their order, as timm ships them (Apache 2.0), with the names that OpenAI
chose for them (openai/CLIP, MIT, as open_clip ships them). The templates are CLIP's 80.
"""

import functools
import re
from pathlib import Path

from diptych.core.errors import SourceError
from diptych.data.sources import PICTURE_SUFFIXES
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.exports import Beside
from diptych.evaluation.public.files import folder, pair, pictures, read_csv, read_json
from diptych.evaluation.templates import TEMPLATES

_CLASS = re.compile(r"n\d{8}|\d{1,3}")
_SOLUTION = "LOC_val_solution.csv"


@functools.lru_cache(maxsize=1)
def imagenet_names() -> dict[str, str]:
    """Synset → name, in ImageNet's order. Two are called "missile" and two "sunglasses"."""
    lines = Path(__file__).with_name("imagenet.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines)


def open_imagenet(name: str, root: Path) -> Dataset:
    """Classes are those that have a folder, as in the published 200 of ImageNet-A and -R."""
    names = imagenet_names()
    synsets = list(names)
    labelled = _kaggle(root) or [
        (path, synsets[int(place.name)] if place.name.isdigit() else place.name)
        for place in _class_folders(root) for path in sorted(place.iterdir())
        if path.suffix.lower() in PICTURE_SUFFIXES]
    shown = {label for _, label in labelled}
    if unknown := sorted(shown - names.keys()):
        raise SourceError(f"{root} has folders of {len(unknown)} classes that ImageNet-1k does not have, such as "
                          f"{unknown[0]}")
    there = [synset for synset in synsets if synset in shown]
    return pictures(name, root, [pair(path, label=label) for path, label in labelled], found=Beside(
        labels=tuple(there), names=tuple((synset, names[synset]) for synset in there), templates=TEMPLATES["clip80"]))


def _class_folders(root: Path) -> list[Path]:
    """Those of the validation part; in a set without parts those in the root or in the folder that it unpacks to."""
    inner = [place for place in sorted(root.iterdir()) if place.is_dir() and place.name not in {"train", "test"}]
    for place in (root / "val", root / "validation", root, *inner):
        found = [one for one in sorted(place.iterdir()) if one.is_dir() and _CLASS.fullmatch(one.name)
                 ] if place.is_dir() else []
        if found:
            return found
    raise SourceError(f"{root} has no folders of classes (n01440764 … or 0 … 999), in it, in val/ or in a folder below")


def _kaggle(root: Path) -> list[tuple[Path, str]]:
    """As on Kaggle: all pictures in one folder, and their classes in a table."""
    if not (root / _SOLUTION).is_file():
        return []
    place = folder(root, "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val")
    return [(place / f"{row['ImageId']}.JPEG", row["PredictionString"].split()[0])
            for row in read_csv(root / _SOLUTION, ["ImageId", "PredictionString"]) if row["PredictionString"].strip()]


def open_objectnet(name: str, root: Path) -> Dataset:
    """The 113 classes that ImageNet-1k has as well, called by ObjectNet's names. The red frame, one pixel wide, stays,
    as in CLIP_benchmark."""
    root = root / "objectnet-1.0" if (root / "objectnet-1.0").is_dir() else root
    place = folder(root, "images")
    mappings = root / "mappings" if (root / "mappings").is_dir() else root
    label_of = read_json(mappings / "folder_to_objectnet_label.json")
    shared = read_json(mappings / "objectnet_to_imagenet_1k.json")
    labels = sorted((label for label in label_of.values() if label in shared), key=str.lower)
    pairs = [pair(path, label=label_of[one.name]) for one in sorted(place.iterdir())
             if label_of.get(one.name) in shared for path in sorted(one.iterdir())
             if path.suffix.lower() in PICTURE_SUFFIXES]
    return pictures(name, root, pairs, found=Beside(
        labels=tuple(labels), names=tuple((label, label.lower()) for label in labels), templates=TEMPLATES["clip80"]))
