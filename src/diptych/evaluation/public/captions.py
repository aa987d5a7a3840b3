"""Sets of captions: MS-COCO and Flickr30k in Karpathy's test parts, Crossmodal-3600 in 36 languages.

All captions of a picture count: about five, in XM3600 about two in each language, of which CLIP_benchmark takes the
first alone.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.core import telemetry
from diptych.core.errors import SourceError
from diptych.core.types import Pair
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.public.files import first, folder, pair, pictures, read_json, read_json_lines, read_lines

LANGUAGES = {"quz": "qu"}
"""Codes of XM3600 that CLDR writes another way."""

_FLICKR_PICTURES = ("flickr30k-images", "flickr30k_images", "images", "Images")


def open_coco(name: str, root: Path) -> Dataset:
    """Karpathy's 5,000 test pictures where a file names them; else all of val2017 (also 5,000) or val2014."""
    karpathy = first(root, "dataset_coco.json", "annotations/dataset_coco.json")
    if karpathy:
        return pictures(name, root, list(_karpathy(karpathy, root, ("val2014", "images/val2014", "images"))))
    listed = first(root, "coco_karpathy_test.json", "annotations/coco_karpathy_test.json")
    if listed:
        return pictures(name, root, [_listed(row, root) for row in read_json(listed)])
    part = first(root, "coco_test_karpathy.json", "annotations/coco_test_karpathy.json",
                 "annotations/captions_val2017.json", "annotations/captions_val2014.json")
    if part is None:
        raise SourceError(f"{root} has none of dataset_coco.json, coco_test_karpathy.json, coco_karpathy_test.json and "
                          "annotations/captions_val2017.json")
    if "karpathy" not in part.name:
        name = f"{name} ({part.stem})"
        telemetry.notice(f"{part.name} is not Karpathy's test part, which published figures are of; dataset_coco.json "
                         "names that")
    year = "val2017" if "2017" in part.name else "val2014"
    place = folder(root, year, f"images/{year}", "images")
    said: dict[int, list[str]] = defaultdict(list)
    known = read_json(part)
    for row in known["annotations"]:
        said[row["image_id"]].append(row["caption"])
    return pictures(name, root, [pair(place / row["file_name"], {"en": said[row["id"]]}) for row in known["images"]])


def open_flickr30k(name: str, root: Path) -> Dataset:
    """Karpathy's 1,000 test pictures, or those that test.txt names."""
    if karpathy := first(root, "dataset_flickr30k.json", "annotations/dataset_flickr30k.json"):
        return pictures(name, root, list(_karpathy(karpathy, root, _FLICKR_PICTURES)))
    if listed := first(root, "flickr30k_test.json", "annotations/flickr30k_test.json"):
        return pictures(name, root, [_listed(row, root) for row in read_json(listed)])
    said: dict[str, list[str]] = defaultdict(list)
    for file, caption in _flickr_lines(root):
        said[file].append(caption)
    place = next((root / one for one in _FLICKR_PICTURES if (root / one).is_dir()), root)
    return pictures(name, root, [pair(place / file, {"en": texts}) for file, texts in said.items()])


def _flickr_lines(root: Path) -> Iterator[tuple[str, str]]:
    """Each caption of the test part with its picture's file."""
    if own := first(root, "flickr30k_test_karpathy.txt"):  # CLIP_benchmark's: commas in captions are not quoted
        for line in read_lines(own)[1:]:
            file, dot, caption = line.partition(".jpg,")
            if dot:
                yield f"{file}.jpg", caption
        return
    tokens, table = first(root, "results_20130124.token"), first(root, "results.csv", "flickr30k_images/results.csv")
    part = first(root, "test.txt", "flickr30k_test.txt", "splits/test.txt")
    if tokens is None and table is None:
        raise SourceError(f"{root} has none of dataset_flickr30k.json, flickr30k_test.json, "
                          "flickr30k_test_karpathy.txt, results_20130124.token and results.csv")
    if part is None:
        raise SourceError(f"{tokens or table} does not say which pictures are the test part; put Karpathy's "
                          "dataset_flickr30k.json, or test.txt with the 1,000 names, into the folder")
    tested = {line.removesuffix(".jpg") for line in read_lines(part)}
    lines = read_lines(tokens or table or part)
    if tokens:
        rows = [(key.partition("#")[0], caption) for key, _, caption in (line.partition("\t") for line in lines)]
    else:  # Kaggle's: image_name| comment_number| comment
        rows = [(file.strip(), caption) for file, _, caption in (_split(line) for line in lines[1:])]
    for file, caption in rows:
        if file.removesuffix(".jpg") in tested:
            yield file, caption.strip()


def _split(line: str) -> tuple[str, str, str]:
    file, _, rest = line.partition("|")
    number, _, caption = rest.partition("|")
    return file, number, caption


def open_xm3600(name: str, root: Path) -> Dataset:
    """3,600 pictures with captions in 36 languages. The headline is "mean_hit@1": the mean over languages of R@1, in
    each direction (arXiv 2205.12522)."""
    root = root / "xm3600" if (root / "xm3600").is_dir() else root
    if first(root, "captions.jsonl") is None:
        raise SourceError(f"{root} has no captions.jsonl; it is in captions.zip of the set's page")
    place = folder(root, "images")
    return pictures(name, root, [
        pair(place / f"{row['image/key']}.jpg",
             {LANGUAGES.get(code, code): said["caption"] for code, said in row.items()
              if isinstance(said, dict) and said.get("caption")}, locale=str(row.get("image/locale", "")))
        for row in read_json_lines(root / "captions.jsonl")])


def _karpathy(path: Path, root: Path, places: tuple[str, ...]) -> Iterator[Pair]:
    """The test part of dataset_coco.json or dataset_flickr30k.json (cs.stanford.edu/people/karpathy/deepimagesent)."""
    folders: dict[str, Path] = {}
    for row in read_json(path)["images"]:
        if row["split"] == "test":
            own = row.get("filepath", "")
            if own not in folders:
                folders[own] = folder(root, *([own, f"images/{own}"] if own else []), *places)
            yield pair(folders[own] / row["filename"], {"en": [sentence["raw"] for sentence in row["sentences"]]})


def _listed(row: dict[str, Any], root: Path) -> Pair:
    """A row of BLIP's lists: {"image": "val2014/….jpg", "caption": [ … ]}."""
    path = root / row["image"]
    return pair(path if path.exists() else root / "images" / row["image"], {"en": row["caption"]})
