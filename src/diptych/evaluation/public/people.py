"""Sets of which the columns matter: FairFace, Dollar Street and GeoDE, by people's looks, income and region.

`--label COLUMN` says which column is told, and the others are slices: `--group region`, `--group income_quartile`.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from diptych.core.errors import SourceError
from diptych.core.types import Pair
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.public.files import first, folder, pair, pictures, read_csv
from diptych.evaluation.sets import Columns

REGIONS = {"af": "Africa", "am": "the Americas", "as": "Asia", "eu": "Europe"}
INCOMES = (200.0, 684.0, 1997.0)
"""Upper bounds of Dollar Street's income quartiles, in US$ a month, as evaluations of it draw them."""


@dataclass(frozen=True, kw_only=True)
class _Words:
    templates: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict[str, str])


_FACES = {
    "race": _Words(templates=("a photo of a {} person", "a photo of the face of a {} person"), names={
        "Latino_Hispanic": "Latino or Hispanic"}),
    "gender": _Words(templates=("a photo of a {}", "a photo of the face of a {}"), names={
        "Male": "man", "Female": "woman"}),
    "age": _Words(templates=("a photo of a person aged {} years", "a photo of a face aged {} years")),
}
"""How FairFace's columns are put in words; these are ours."""


def open_fairface(name: str, root: Path, columns: Columns) -> Dataset:
    """10,954 faces of the validation part. Race, gender and age are told, one of them at a time, as in CLIP's Tables 3
    to 5 (arXiv 2103.00020 §7.1): race by default."""
    listed = first(root, "fairface_label_val.csv", "labels/fairface_label_val.csv")
    if listed is None:
        raise SourceError(f"{root} has no fairface_label_val.csv")
    place = next((one for one in sorted(root.iterdir()) if (one / "val").is_dir()), root)
    place = root if (root / "val").is_dir() else place
    pairs = [pair(place / row["file"], age=row["age"], gender=row["gender"], race=row["race"])
             for row in read_csv(listed, ["file", "age", "gender", "race"])]
    data = pictures(name, root, pairs, columns)
    words = _FACES.get(columns.label or "")
    return replace(data, templates=words.templates, names={"": words.names}) if words else data


def open_dollar_street(name: str, root: Path, columns: Columns) -> Dataset:
    """The test part of MLCommons' release, else all of it. A picture of several topics counts under the first.
    `income_quartile` is "1" (the poorest) to "4"."""
    root = root / "dataset_dollarstreet" if (root / "dataset_dollarstreet").is_dir() else root
    listed = first(root, "images_v2_imagenet_test.csv", "images_v2.csv")
    if listed is None:
        raise SourceError(f"{root} has neither images_v2_imagenet_test.csv nor images_v2.csv")
    needed = ["imageRelPath", "country.name", "region.id", "income", "topics"]
    return pictures(name, root, [
        pair(root / row["imageRelPath"].strip(), topic=_first_of(row["topics"]), country=row["country.name"],
             region=REGIONS.get(row["region.id"], row["region.id"]), income=row["income"],
             income_quartile=_quartile(row["income"]), imagenet=_first_of(row.get("imagenet_synonyms", "")))
        for row in read_csv(listed, needed)], columns)


def _first_of(listed: str) -> str:
    """The first text of a list as Python writes it, or the text itself."""
    try:
        found = ast.literal_eval(listed)
    except (ValueError, SyntaxError):
        return listed.strip()
    return str(found[0]) if isinstance(found, list) and found else "" if isinstance(found, list) else listed.strip()


def _quartile(income: str) -> str:
    try:
        value = float(income)
    except ValueError:
        return ""
    return str(1 + sum(value > bound for bound in INCOMES)) if math.isfinite(value) else ""


def open_geode(name: str, root: Path, columns: Columns) -> Dataset:
    """40 objects in six regions. All of its columns come through; `ip_country` is `country` here."""
    root = root / "geode" if (root / "geode").is_dir() else root
    if first(root, "index.csv") is None:
        raise SourceError(f"{root} has no index.csv")
    place = folder(root, "images")
    rows = read_csv(root / "index.csv", ["file_path", "object"])
    return pictures(name, root, [
        Pair(uri=str(_within(root, place, row["file_path"])), metadata={
            "country" if column == "ip_country" else column: value for column, value in row.items()
            if column and column not in {"file_path", "file_name"}})
        for row in rows], columns)


def _within(root: Path, place: Path, path: str) -> Path:
    return root / path if path.startswith("images/") else place / path
