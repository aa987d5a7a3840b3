"""The committed corpus: whole, counted, split by idea, its known traps undone."""

import io
import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import CorpusError
from diptych.data import pictograms
from diptych.data.pictograms_concepts import concept_of, split_of
from diptych.data.pictograms_draw import measure
from diptych.data.pictograms_sources import PACKAGES, VENDORS


@pytest.fixture(scope="module")
def rows():
    return pictograms.pictures().to_pylist()


@pytest.fixture(scope="module")
def facts():
    """Every row without its picture, which most tests do not need."""
    columns = ("id", "vendor", "hexcode", "concept", "pixel_hash", "foreground", "group", "subgroup", "tone", "gender",
               "flag", "base", "split", "licence", "source")
    return pictograms.pictures(columns=columns).to_pylist()


def test_every_file_is_the_one_that_the_manifest_names():
    manifest = pictograms.verify()
    assert {s.file for s in manifest.shards} == {*(f"{v}.parquet" for v in pictograms.VENDORS), "names.parquet"}
    assert {s.package: s.sha256 for s in manifest.sources} == {str(p): p.sha256 for p in PACKAGES}


def test_the_whole_folder_stays_below_45_megabytes():
    assert sum(f.stat().st_size for f in pictograms.folder().rglob("*") if f.is_file()) < 45e6


def test_counts_are_those_of_the_manifest_and_near_the_reference(facts):
    counts = pictograms.manifest().counts
    assert len(facts) == counts["pictures"] == 21_715
    assert len({r["hexcode"] for r in facts}) == counts["pictograms"] == 3_953
    assert Counter(r["vendor"] for r in facts) == counts["vendors"] == {
        "noto": 3_689, "noto-v1": 2_111, "twemoji": 3_950, "emojione": 1_501, "fluent-flat": 3_139,
        "fluent-3d": 3_372, "openmoji": 3_953}
    assert Counter(r["split"] for r in facts) == counts["splits"] == {
        "train": 17_509, "val": 2_112, "test_zeroshot": 2_094}
    base = {r["hexcode"]: r["split"] for r in facts if r["base"]}
    assert Counter(base.values()) == counts["base_pictograms"] == {"train": 1_333, "val": 151, "test_zeroshot": 169}
    assert len({r["subgroup"] for r in facts}) == 100
    assert len({r["group"] for r in facts}) == 10


def test_an_idea_is_in_one_split_whatever_its_vendor_tone_and_gender(facts):
    splits = defaultdict(set)
    for row in facts:
        splits[row["concept"]].add(row["split"])
        assert row["split"] == split_of(row["concept"])
    assert all(len(found) == 1 for found in splits.values())


def test_each_concept_stands_for_itself(facts):
    known = {r["hexcode"] for r in facts}
    concepts = {r["concept"] for r in facts}
    assert concepts <= known
    assert all(concept_of(c) == c for c in concepts)


def test_more_than_eighty_ideas_come_in_three_genders_and_six_tones(facts):
    """What the audit of representation stands on: the same ideas by each of the three full vendors."""
    every = {(g, t) for g in (None, "man", "woman")
             for t in (None, "light", "medium-light", "medium", "medium-dark", "dark")}
    families = {}
    for vendor in ("noto", "twemoji", "openmoji"):
        looks = defaultdict(set)
        for row in facts:
            if row["vendor"] == vendor and row["group"] == "people-body":
                looks[row["concept"]].add((row["gender"], row["tone"]))
        families[vendor] = {concept for concept, found in looks.items() if every <= found}
    assert families["noto"] == families["twemoji"] == families["openmoji"]
    assert len(families["noto"]) == 82
    assert {"1f9d1-200d-2708", "1f9d1-200d-2695", "1f46e"} <= families["noto"]  # pilot, health worker, police officer


def test_ids_licences_and_sources_agree_with_the_vendor(facts):
    assert len({r["id"] for r in facts}) == len(facts)
    for row in facts:
        assert row["id"] == f"{row['vendor']}/{row['hexcode']}"
        assert (row["licence"], row["source"]) == (VENDORS[row["vendor"]].licence, str(VENDORS[row["vendor"]]))
    assert {r["licence"] for r in facts if r["vendor"] == "openmoji"} == {"CC-BY-SA-4.0"}


def test_hexcodes_are_normalised(facts):
    points = {p for r in facts for p in r["hexcode"].split("-")}
    assert "fe0f" not in points
    assert all(p == p.lower().lstrip("0") for p in points)
    assert {"a9", "ae", "23-20e3", "30-20e3"} <= {r["hexcode"] for r in facts}  # ©, ®, keycaps keep their names
    english = dict(zip(*(pictograms.names(["en"])[c].to_pylist() for c in ("hexcode", "name")), strict=True))
    assert english["a9"] == "copyright"
    assert english["23-20e3"] == "keycap: #"
    assert {r["hexcode"] for r in facts} == set(english)


def test_pictures_are_square_cutouts_and_their_hash_is_of_their_pixels(rows):
    for row in rows[::53]:
        with Image.open(io.BytesIO(row["picture"])) as picture:
            assert (picture.format, picture.size) == ("WEBP", (96, 96))
            assert np.asarray(picture.convert("RGBA"))[..., 3].max() > 127
        measured = measure(row["picture"])
        assert measured.pixel_hash == row["pixel_hash"]
        assert measured.foreground == pytest.approx(row["foreground"])


def test_identical_drawings_under_different_names_share_their_hash(facts):
    by_vendor = defaultdict(Counter)
    for row in facts:
        by_vendor[row["vendor"]][row["pixel_hash"]] += 1
    groups = {v: sum(n > 1 for n in found.values()) for v, found in by_vendor.items()}
    assert groups == pictograms.manifest().findings["identical_groups"]
    assert groups["openmoji"] == 204
    flags = {r["hexcode"]: r["pixel_hash"] for r in facts if r["vendor"] == "openmoji" and r["flag"]}
    assert flags["1f1f3-1f1f4"] == flags["1f1f8-1f1ef"]  # Svalbard flies Norway's flag


def test_full_squares_are_known(facts):
    full = [r for r in facts if r["foreground"] > pictograms.MAX_FOREGROUND]
    assert len(full) == pictograms.manifest().findings["full_squares"] == 293


def test_medium_light_skin_is_lighter_than_medium_in_fluent_3d(rows):
    """The package had 288 of 304 pairs the wrong way round; fluent-flat, by the same artists, has none."""
    assert pictograms.manifest().findings["swapped_tones"] == 288
    light = {v: {r["hexcode"]: measure(r["picture"]).lightness for r in rows
                 if r["vendor"] == v and r["tone"] in ("medium-light", "medium")} for v in ("fluent-3d", "fluent-flat")}
    pairs = 0
    for code, lightness in light["fluent-3d"].items():
        other = code.replace("1f3fc", "1f3fd")
        if other != code and other in light["fluent-3d"]:
            pairs += 1
            assert lightness > light["fluent-3d"][other], code
            assert light["fluent-flat"].get(code, 1) > light["fluent-flat"].get(other, 0), code
    assert pairs == 304


def test_names_cover_the_languages_of_xm3600():
    table = pictograms.names(pictograms.XM3600)
    assert len(pictograms.XM3600) == len(set(table["language"].to_pylist())) == 36
    assert table.num_rows == 140_776
    assert sum(len(k) for k in table["keywords"].to_pylist()) == 872_503
    assert set(pictograms.HELD_OUT_LANGUAGES) < set(pictograms.XM3600)


def test_every_language_names_at_least_half_of_the_pictograms_and_rows_are_sorted():
    table = pictograms.names()
    rows = list(zip(table["language"].to_pylist(), table["hexcode"].to_pylist(), strict=True))
    assert rows == sorted(set(rows))
    languages = Counter(language for language, _ in rows)
    assert {lang: counts["names"] for lang, counts in pictograms.manifest().languages.items()} == languages
    assert len(languages) == 124
    assert min(languages.values()) >= 3_953 / 2


def test_names_that_only_repeat_the_english_ones_are_told_apart(facts):
    untoned = {r["hexcode"] for r in facts if r["tone"] is None}
    assert len(untoned) == 1_923
    table = pictograms.names(["da", "en", "fil", "id", "nl"])
    same = Counter(
        language for language, code, repeats in zip(
            table["language"].to_pylist(), table["hexcode"].to_pylist(),
            pictograms.same_as_english(table).to_pylist(), strict=True)
        if repeats and code in untoned)
    assert same == {"fil": 378, "id": 110, "nl": 104, "da": 95}


def test_pairs_are_whole_named_and_a_fair_sample_from_the_start(rows):
    found = list(pictograms.pairs())
    assert {p.uri for p in found} == {f"pictograms://{r['id']}" for r in rows}
    assert len({p.uri for p in found}) == len(found)
    apple = next(p for p in found if p.uri == "pictograms://noto/1f34e")
    row = next(r for r in rows if r["id"] == "noto/1f34e")
    assert apple.captions == ("red apple",)
    assert (apple.data, apple.stamp) == (row["picture"], row["pixel_hash"])
    assert apple.metadata == {"vendor": "noto", "group": "food-drink", "subgroup": "food-fruit", "hexcode": "1f34e",
                              "split": row["split"], "tone": "", "licence": "Apache-2.0"}
    whole = Counter(p.metadata["vendor"] for p in found)
    start = Counter(p.metadata["vendor"] for p in found[:1000])
    for vendor, number in whole.items():  # three standard deviations of a fair draw
        share = number / len(found)
        assert abs(start[vendor] - 1000 * share) < 3 * (1000 * share * (1 - share)) ** 0.5


def test_pairs_of_one_vendor_keep_the_order_they_have_among_all():
    every = [p.uri for p in pictograms.pairs() if p.metadata["vendor"] == "emojione"]
    assert [p.uri for p in pictograms.pairs(["emojione"])] == every


def test_pictures_can_be_chosen_by_vendor_split_and_column():
    table = pictograms.pictures(["openmoji", "noto"], ["val"], ["vendor", "split", "hexcode"])
    assert table.column_names == ["vendor", "split", "hexcode"]
    assert set(table["split"].to_pylist()) == {"val"}
    assert sorted(set(table["vendor"].to_pylist())) == ["noto", "openmoji"]
    assert table["vendor"][0].as_py() == "openmoji"


@pytest.mark.parametrize(("ask", "name"), [
    (lambda: pictograms.pictures(vendors=["apple"]), "apple"),
    (lambda: pictograms.pictures(splits=["test"]), "'test'"),
    (lambda: pictograms.names(["tlh"]), "tlh"),
])
def test_an_unknown_choice_is_the_callers_mistake(ask, name):
    with pytest.raises(ValueError, match=name):
        ask()


def test_verify_names_a_damaged_and_a_missing_file(tmp_path):
    copy = tmp_path / "pictograms"
    shutil.copytree(pictograms.folder(), copy)
    assert pictograms.verify(copy) == pictograms.manifest()
    damaged = bytearray((copy / "noto.parquet").read_bytes())
    damaged[1000] ^= 1
    (copy / "noto.parquet").write_bytes(damaged)
    with pytest.raises(CorpusError, match=r"noto\.parquet has sha256"):
        pictograms.verify(copy)
    (copy / "noto.parquet").unlink()
    with pytest.raises(CorpusError, match=r"noto\.parquet is missing"):
        pictograms.verify(copy)


def test_without_a_corpus_the_error_says_how_to_build_one(monkeypatch, tmp_path, own_home):
    monkeypatch.setattr(pictograms, "__file__", str(tmp_path / "site" / "diptych" / "data" / "pictograms.py"))
    with pytest.raises(CorpusError, match="diptych corpus pictograms"):
        pictograms.folder()
    built = own_home / "corpora" / "pictograms"
    built.mkdir(parents=True)
    (built / "manifest.json").write_text("{}")
    assert pictograms.folder() == built
    with pytest.raises(CorpusError, match="not a manifest"):
        pictograms.manifest()


def test_the_installed_copy_is_found_first(monkeypatch, tmp_path):
    package = tmp_path / "site" / "diptych"
    monkeypatch.setattr(pictograms, "__file__", str(package / "data" / "pictograms.py"))
    for root in (package, tmp_path):
        (root / "corpora" / "pictograms").mkdir(parents=True)
        (root / "corpora" / "pictograms" / "manifest.json").write_text("{}")
    assert pictograms.folder() == package / "corpora" / "pictograms"
    shutil.rmtree(package)
    assert pictograms.folder() == tmp_path / "corpora" / "pictograms"


def test_the_manifests_hash_changes_with_any_of_its_bytes(tmp_path):
    text = (pictograms.folder() / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text + "\n")
    assert pictograms.manifest(tmp_path).sha256 != pictograms.manifest().sha256
