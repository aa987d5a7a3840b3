"""Builds the pictogram corpus from pinned npm packages: the same bytes on every run with the pinned libraries.

Rows are sorted, WebP settings fixed, and Parquet holds no time. What the libraries themselves can change is named in
the manifest's `builder`; `rows_sha256` of each shard depends on the encoder only.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import features

from diptych.core import config, telemetry
from diptych.core.files import atomic_write, sha256_bytes, sha256_file, write_text
from diptych.data import pictograms, pictograms_draw, pictograms_names
from diptych.data.npm import contents, fetch
from diptych.data.pictograms import Manifest, Shard, Source
from diptych.data.pictograms_concepts import SPLIT_SALT, Concept, concepts
from diptych.data.pictograms_draw import Drawing, draw_all
from diptych.data.pictograms_sources import (
    ANNOTATIONS,
    DERIVED,
    EMOJIBASE,
    PACKAGES,
    VENDORS,
    Matched,
    lent_words,
    match_files,
    match_iconify,
    put_back,
    slug,
    swapped_tones,
)

FORMAT = 1

SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False), pa.field("vendor", pa.string(), nullable=False),
    pa.field("hexcode", pa.string(), nullable=False), pa.field("concept", pa.string(), nullable=False),
    pa.field("picture", pa.binary(), nullable=False), pa.field("pixel_hash", pa.string(), nullable=False),
    pa.field("foreground", pa.float32(), nullable=False), pa.field("group", pa.string(), nullable=False),
    pa.field("subgroup", pa.string(), nullable=False), pa.field("tone", pa.string()), pa.field("gender", pa.string()),
    pa.field("flag", pa.bool_(), nullable=False), pa.field("base", pa.bool_(), nullable=False),
    pa.field("split", pa.string(), nullable=False), pa.field("licence", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
])


def build(target: Path, size: int = 96, workers: int | None = None) -> Manifest:
    """Build the whole corpus in `target` and return its manifest, which is written last.

    CorpusError if a package cannot be had, or is not the one that was pinned.
    """
    if not 16 <= size <= 256:
        raise ValueError(f"pictures can be 16 to 256 pixels wide (fluent-3d ends there), got {size}")
    workers = workers or min(2, os.cpu_count() or 1)
    with telemetry.progress("npm packages", len(PACKAGES), "packages") as bar:
        for package in PACKAGES:
            fetch(package)
            bar.advance()
    with ExitStack() as stack:
        emojibase = stack.enter_context(contents(EMOJIBASE))
        known = concepts(emojibase.json("en/data.json"), emojibase.json("meta/groups.json"))
        spoken = _spoken(stack, known)
    matched = _match(known, {code: name for code, (name, _) in spoken["en"].items()})
    drawings, swapped = _draw(matched, size, workers)
    tables = {vendor: _table(vendor, drawn, known) for vendor, drawn in drawings.items()}
    spoken_table = pictograms_names.table(spoken, len(known))
    shards = [_write(target / f"{vendor}.parquet", tables[vendor]) for vendor in tables]
    shards.append(_write(target / "names.parquet", spoken_table))
    found = Manifest(
        format=FORMAT, size=size, counts=_counts(tables, known), languages=_languages(spoken_table),
        findings=_findings(tables, matched, swapped), settings=_settings(), builder=_builder(), shards=tuple(shards),
        sources=tuple(Source(package=str(p), sha256=p.sha256, licence=p.licence, credit=p.credit) for p in PACKAGES))
    text = {key: value for key, value in config.to_dict(found).items() if key != "sha256"}
    write_text(target / "manifest.json", config.to_json(text))
    return pictograms.manifest(target)


def _spoken(stack: ExitStack, known: Mapping[str, Concept]) -> dict[str, pictograms_names.Spoken]:
    packages = [(stack.enter_context(contents(ANNOTATIONS)), "annotations"),
                (stack.enter_context(contents(DERIVED)), "annotationsDerived")]
    tongues = pictograms_names.languages(packages[0][0])
    found: dict[str, pictograms_names.Spoken] = {}
    with telemetry.progress("names", len(tongues), "languages") as bar:
        for language in tongues:
            found[language] = pictograms_names.spoken(language, packages, known)
            bar.advance()
    return found


def _match(known: Mapping[str, Concept], english: Mapping[str, str]) -> dict[str, Matched]:
    backwards = sorted(known, reverse=True)  # of two with the same name, the first in Unicode's order keeps it
    words = {slug(known[code].label): code for code in backwards} | {slug(english[code]): code for code in backwards}
    with contents(VENDORS["openmoji"]) as openmoji:
        lent = lent_words(openmoji.json("icons.json"), openmoji.json("chars.json"))
    found: dict[str, Matched] = {}
    for vendor, package in VENDORS.items():
        with contents(package) as files:
            if vendor == "fluent-3d":
                found[vendor] = match_files(files, "assets/", known)
            else:
                characters = files.json("chars.json") if "chars.json" in files else {}
                found[vendor] = match_iconify(
                    files.json("icons.json"), characters, words, known, {} if characters else lent)
    return found


def _draw(matched: Mapping[str, Matched], size: int,
          workers: int) -> tuple[dict[str, dict[str, Drawing]], list[str]]:
    """Every vendor's drawings by hexcode, with the skin tones of fluent-3d put right, and which those were."""
    sources = [source for match in matched.values() for source in match.sources.values()]
    with telemetry.progress("pictures", len(sources), "pictures") as bar:
        drawn = iter(draw_all(sources, size, workers, bar.advance))
    found = {vendor: {code: next(drawn) for code in match.sources} for vendor, match in matched.items()}
    swapped = swapped_tones(found["fluent-3d"], found["fluent-flat"])
    return {**found, "fluent-3d": put_back(found["fluent-3d"], swapped)}, swapped


def _table(vendor: str, drawn: Mapping[str, Drawing], known: Mapping[str, Concept]) -> pa.Table:
    package = VENDORS[vendor]
    return pa.Table.from_pylist([{
        "id": f"{vendor}/{code}", "vendor": vendor, "hexcode": code, "concept": known[code].concept,
        "picture": drawing.picture, "pixel_hash": drawing.pixel_hash, "foreground": drawing.foreground,
        "group": known[code].group, "subgroup": known[code].subgroup, "tone": known[code].tone,
        "gender": known[code].gender, "flag": known[code].flag, "base": known[code].base,
        "split": known[code].split, "licence": package.licence, "source": str(package),
    } for code, drawing in sorted(drawn.items())], SCHEMA)


def _write(path: Path, table: pa.Table) -> Shard:
    """One sorted table as Parquet. Pictures are stored as they are, being compressed already."""
    if "picture" in table.column_names:
        packed = [name for name in table.column_names if name != "picture"]
        options: dict[str, Any] = {
            "row_group_size": 1024, "compression": {"picture": "none"} | dict.fromkeys(packed, "zstd"),
            "use_dictionary": [n for n in packed if n not in ("id", "pixel_hash")], "write_statistics": packed}
    else:
        options = {"compression": "zstd", "compression_level": 19}
    with atomic_write(path) as stream:
        pq.write_table(table, stream, **options)
    return Shard(file=path.name, rows=table.num_rows, bytes=path.stat().st_size, sha256=sha256_file(path),
                 rows_sha256=rows_sha256(table))


def rows_sha256(table: pa.Table) -> str:
    """A hash of the values of a table, row by row, that no Parquet writer can change."""
    digest = hashlib.sha256()
    for row in table.to_pylist():
        for key, value in row.items():
            digest.update(f"{key}={sha256_bytes(value) if isinstance(value, bytes) else value!r}\n".encode())
    return digest.hexdigest()


def _counts(tables: Mapping[str, pa.Table], known: Mapping[str, Concept]) -> dict[str, object]:
    splits = Counter(s for t in tables.values() for s in t["split"].to_pylist())
    licences = Counter(x for t in tables.values() for x in t["licence"].to_pylist())
    bases = Counter(c.split for c in known.values() if c.base)
    return {
        "pictures": sum(t.num_rows for t in tables.values()), "pictograms": len(known),
        "concepts": len({c.concept for c in known.values()}),
        "base_pictograms": {s: bases[s] for s in pictograms.SPLITS},
        "splits": {s: splits[s] for s in pictograms.SPLITS},
        "vendors": {v: t.num_rows for v, t in tables.items()},
        "licences": dict(sorted(licences.items())),
    }


def _languages(table: pa.Table) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for language, keywords in zip(table["language"].to_pylist(), table["keywords"].to_pylist(), strict=True):
        entry = found.setdefault(language, {"names": 0, "keywords": 0})
        entry["names"] += 1
        entry["keywords"] += len(keywords)
    return found


def _findings(tables: Mapping[str, pa.Table], matched: Mapping[str, Matched],
              swapped: Sequence[str]) -> dict[str, object]:
    groups = {v: sum(n > 1 for n in Counter(t["pixel_hash"].to_pylist()).values()) for v, t in tables.items()}
    full = sum(f > pictograms.MAX_FOREGROUND for t in tables.values() for f in t["foreground"].to_pylist())
    return {"unmapped": {v: len(m.unmapped) for v, m in matched.items()}, "swapped_tones": len(swapped),
            "identical_groups": groups, "full_squares": full}


def _settings() -> dict[str, object]:
    return {"webp": {"quality": pictograms_draw.QUALITY, "alpha_quality": pictograms_draw.ALPHA_QUALITY,
                     "method": pictograms_draw.METHOD, "lossless_where_smaller": True},
            "split": {"hash": "sha256", "salt": SPLIT_SALT, "parts": "8 train, 1 val, 1 test_zeroshot of 10"},
            "names": {"min_coverage": pictograms_names.MIN_COVERAGE}}


def _builder() -> dict[str, str]:
    return {"resvg-py": version("resvg-py"), "pillow": version("pillow"), "libwebp": features.version("webp") or "",
            "pyarrow": version("pyarrow")}
