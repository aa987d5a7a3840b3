"""A data set is the same thing whatever it came from: a folder, a table, Parquet, shards; and mistakes are told."""

import io
import json
import re
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diptych.core.errors import SourceError
from diptych.data import pictograms
from diptych.data.records import Record
from diptych.data.regions import Region, to_json
from diptych.data.tars import write_tar
from diptych.evaluation.corpus import KINDS, one_word_apart, open_pictograms
from diptych.evaluation.dataset import IGNORED
from diptych.evaluation.sets import Columns, open_dataset
from diptych.inputs import image
from diptych.inputs.image import decode


def drawn(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def folder_of(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def table(root, rows, name="pairs.csv"):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns), *(",".join(str(row.get(c, "")) for c in columns) for row in rows)]
    (root / name).write_text("\n".join(lines) + "\n")
    return root / name


def test_folders_are_classes(tmp_path):
    data = open_dataset(folder_of(tmp_path, {f"{c}/{i}.png": drawn(10 * k + i) for k, c in enumerate(["cat", "dog"])
                                             for i in range(3)}))
    assert data.classes == ("cat", "dog") and data.labels == ("cat",) * 3 + ("dog",) * 3
    assert data.ids[0] == "cat/0.png" and data.read(4) == drawn(11) and not data.captions and not data.columns


def test_folders_named_after_parts_are_parts(tmp_path):
    data = open_dataset(folder_of(tmp_path, {f"{part}/{c}/{i}.png": drawn(hash_of(part, c, i)) for part in
                                             ("train", "valid", "test") for c in ("cat", "dog") for i in range(2)}))
    assert data.classes == ("cat", "dog") and set(data.columns["split"]) == {"train", "val", "test"}
    assert data.columns["split"][data.ids.index("valid/dog/1.png")] == "val"


def hash_of(*parts):
    return zlib.crc32("/".join(map(str, parts)).encode())


def test_rows_of_one_picture_are_one_picture_with_all_captions(tmp_path):
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2), "copy of a.png": drawn(1)})
    data = open_dataset(table(tmp_path, [
        {"image": "a.png", "caption": "a boat", "caption_de": "ein Boot", "domain": "photo"},
        {"image": "a.png", "caption": "a red boat", "domain": "photo"},
        {"image": "copy of a.png", "caption": "a boat again", "domain": "photo"},
        {"image": "b.png", "caption": "a boat", "domain": "drawing"}]))
    assert len(data) == 2 and data.columns["domain"] == ("photo", "drawing")
    said = {(c.language, c.text): c.pictures for c in data.captions}
    assert said == {("", "a boat"): (0, 1), ("", "a red boat"): (0,), ("", "a boat again"): (0,),
                    ("de", "ein Boot"): (0,)}
    assert data.languages == ("", "de")


def test_one_picture_with_two_classes_is_one_answer(tmp_path):
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2)})
    rows = [{"image": "a.png", "label": "boat"}, {"image": "a.png", "label": "sea"}, {"image": "b.png", "label": "sea"}]
    data = open_dataset(table(tmp_path, rows))
    assert data.labels == ("boat", "sea", "sea") and data.same == (0, 0, 2) and len(set(data.ids)) == 3


def test_the_column_of_captions_that_is_named_is_the_only_one(tmp_path):
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2)})
    path = table(tmp_path, [{"image": f"{x}.png", "said": f"an {x}", "caption_en": "other"} for x in "ab"])
    assert [c.text for c in open_dataset(path, Columns(caption="said")).captions] == ["an a", "an b"]
    with pytest.raises(ValueError, match="no column 'nope' with values for the caption"):
        open_dataset(path, Columns(caption="nope"))


def test_each_caption_of_a_picture_keeps_what_its_row_denies(tmp_path):
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2)})
    rows = [{"image": "a.png", "caption": "one", "negative_swap": "eno"},
            {"image": "a.png", "caption": "two", "negative_swap": "owt"},
            {"image": "b.png", "caption": "three", "negative_swap": ""}]
    data = open_dataset(table(tmp_path, rows))
    assert {c.text: c.negatives for c in data.captions} == {
        "one": (("swap", "eno"),), "two": (("swap", "owt"),), "three": ()}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "tar"])
def test_every_kind_of_file_gives_the_same_data(tmp_path, kind):
    pictures = {f"{i}.png": drawn(i) for i in range(4)}
    rows = [{"image": name, "caption": f"thing {i}", "label": "odd" if i % 2 else "even", "camera": "A" if i else "B",
             "negative_colour": f"other {i}"} for i, name in enumerate(pictures)]
    if kind == "parquet":
        path = tmp_path / "pairs.parquet"
        pq.write_table(pa.Table.from_pylist([{**row, "image": pictures[row["image"]]} for row in rows]), path)
    elif kind == "tar":
        path = tmp_path / "pairs.tar"
        write_tar(path, [Record(key=row["image"], data=pictures[row.pop("image")], captions=(row.pop("caption"),),
                                metadata=row) for row in [dict(row) for row in rows]])
    else:
        folder_of(tmp_path, pictures)
        path = table(tmp_path, rows) if kind == "csv" else tmp_path / "pairs.jsonl"
        if kind == "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows))
    data = open_dataset(path)
    assert data.labels == ("even", "odd", "even", "odd") and data.columns["camera"] == ("B", "A", "A", "A")
    assert [c.text for c in data.captions] == [f"thing {i}" for i in range(4)]
    assert data.captions[2].negatives == (("colour", "other 2"),)
    assert [data.read(i) for i in range(4)] == list(pictures.values())
    assert data.sha256 == open_dataset(path).sha256


def test_another_picture_or_caption_is_another_data_set(tmp_path):
    path = table(folder_of(tmp_path, {"a.png": drawn(1)}), [{"image": "a.png", "caption": "a boat"}])
    before = open_dataset(path).sha256
    (tmp_path / "a.png").write_bytes(drawn(2))
    changed = open_dataset(path).sha256
    table(tmp_path, [{"image": "a.png", "caption": "a ship"}])
    assert len({before, changed, open_dataset(path).sha256}) == 3


def test_webdataset_classes_have_their_names_beside_the_shards(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    write_tar(tmp_path / "0.tar", [Record(key=str(i), data=drawn(i), parts={"cls": str(i % 2).encode()})
                                   for i in range(4)])
    assert open_dataset(tmp_path).labels == ("cat", "dog", "cat", "dog")


def test_columns_can_be_named(tmp_path):
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2)})
    path = table(tmp_path, [{"image": "a.png", "what": "boat", "said": "a boat", "sprache": "de", "fold": "training"},
                            {"image": "b.png", "what": "car", "said": "a car", "sprache": "en", "fold": "test"}])
    data = open_dataset(path, Columns(label="what", caption="said", language="sprache", split="fold"))
    assert data.labels == ("boat", "car") and data.columns == {"split": ("train", "test")}
    assert [(c.language, c.text) for c in data.captions] == [("de", "a boat"), ("en", "a car")]
    with pytest.raises(ValueError, match=r"no column 'where' .* for the label; there are fold, said, sprache, what"):
        open_dataset(path, Columns(label="where"))
    more = table(tmp_path, [{"image": "a.png", "caption": "x", "caption_de": "ein x", "empty": ""}])
    with pytest.raises(ValueError, match="no column 'empty' with values for the label; there are caption, caption_de"):
        open_dataset(more, Columns(label="empty"))
    with pytest.raises(ValueError, match="no column 'lang' with values for the language"):  # others say theirs
        open_dataset(more, Columns(language="lang"))
    named = open_dataset(more, Columns(caption="caption"))  # the one that is read anyway, and no other
    assert [(c.language, c.text) for c in named.captions] == [("", "x")]


def test_what_cannot_be_used_is_told(tmp_path):
    with pytest.raises(SourceError):
        open_dataset(tmp_path / "nothing.csv")
    folder_of(tmp_path, {"a.png": drawn(1), "b.png": drawn(2)})
    data = open_dataset(table(tmp_path, [{"image": "a.png", "caption": "x"}, {"image": "gone.png", "caption": "y"}]))
    assert len(data) == 1 and len(data.skipped) == 1 and "#1" in data.skipped[0][0]
    with pytest.raises(SourceError, match="no picture that can be read"):
        open_dataset(table(tmp_path, [{"image": "gone.png", "caption": "y"}]))
    rows = [{"id": "7", "image": "a.png"}, {"id": "7", "image": "b.png"}]
    with pytest.raises(ValueError, match="have the id '7'"):
        open_dataset(table(tmp_path, rows))


def test_the_bundled_corpus_has_something_for_every_task():
    data = open_pictograms(["en", "de"], every=8)
    assert set(data.languages) == {"en", "de"} and set(data.columns["vendor"]) >= {"openmoji", "noto"}
    assert {"man", "woman", ""} <= set(data.columns["gender"]) and len(data.classes) > 50
    for caption in data.captions:
        assert caption.pictures and len({data.columns["family"][p] for p in caption.pictures}) >= 1
    toned = {i for i, tone in enumerate(data.columns["tone"]) if tone}
    assert toned and not toned & {p for caption in data.captions for p in caption.pictures}
    english = {c.text for c in data.captions if c.language == "en"}
    assert not english & {c.text for c in data.captions if c.language == "de"}
    named = {name for name in data.columns["name"] if name}
    assert len(named) > 100 and all(set(data.names[code]) == named for code in ("en", "de"))
    assert all(own != data.names["en"][name] for name, own in data.names["de"].items())
    # what training does not see describes no class
    held_out = {name for name, where in zip(data.columns["name"], data.columns["concept"], strict=True)
                if name and where == "unseen"}
    assert set(data.descriptions) == set(data.classes) and held_out
    assert not held_out & {text for texts in data.descriptions.values() for text in texts}
    with pytest.raises(ValueError, match="no language 'xx'"):
        open_pictograms(["xx"])


def test_hard_negatives_differ_in_one_word_and_show_something_else():
    true_of = {"red heart": {1}, "blue heart": {2}, "heart": {3}, "red circle": {4}, "crimson heart": {1}}
    found = one_word_apart(true_of)
    assert found["red heart"] == (("colour", "blue heart"), ("other word", "red circle"))
    assert "heart" not in found and ("other word", "crimson heart") not in found["red heart"]


def png(values, palette=False):
    stream = io.BytesIO()
    picture = Image.fromarray(values)
    if palette:
        picture.putpalette([7 * i % 256 for i in range(768)])
    picture.save(stream, "PNG")
    return stream.getvalue()


def npy(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def npz(values):
    stream = io.BytesIO()
    np.savez(stream, values)
    return stream.getvalue()


MASK = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)
METRES = np.array([[1.5, 0.0], [2.25, 60.0]], np.float32)
PARTS = {"mask.png": png(MASK, palette=True), "depth.png": png((1000 * METRES).astype(np.uint16))}


@pytest.mark.parametrize("kind", ["folder", "csv", "parquet", "tar"])
def test_masks_and_depths_lie_beside_their_pictures(tmp_path, kind):
    pictures = {f"{i}.png": drawn(i) for i in range(3)}
    (tmp_path / "things.txt").write_text("sea\nboat\nsky\n")
    path = tmp_path
    if kind == "tar":
        write_tar(tmp_path / "0.tar", [Record(key=name, data=data, parts=PARTS if name == "1.png" else {})
                                       for name, data in pictures.items()])
    else:
        folder_of(tmp_path, {**pictures, **{f"1.{part}": data for part, data in PARTS.items()}})
    if kind == "csv":
        path = table(tmp_path, [{"image": name} for name in pictures])
    elif kind == "parquet":
        path = tmp_path / "pairs.parquet"
        pq.write_table(pa.Table.from_pylist([{"image": name} for name in pictures]), path)
    data = open_dataset(path)
    assert len(data) == 3 and data.maps.things == ("sea", "boat", "sky") and not data.skipped
    assert data.maps.mask is not None and data.maps.depth is not None
    np.testing.assert_array_equal(data.maps.mask(1), MASK)
    np.testing.assert_array_equal(data.maps.depth(1), METRES)
    assert (data.maps.mask(0) == IGNORED).all() and (data.maps.depth(2) == 0).all()


def test_a_mask_alone_is_no_picture(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in (("a.png", drawn(1)), ("a.mask.png", PARTS["mask.png"]), ("b.mask.png", PARTS["mask.png"])):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = open_dataset(tmp_path)
    assert data.ids == ("0.tar#a",) and "no picture" in data.skipped[0][1]


def test_depths_in_metres_and_data_without_maps(tmp_path):
    data = open_dataset(folder_of(tmp_path / "one", {"a.jpg": drawn(1), "a.depth.npy": npy(METRES.astype(np.float64))}))
    assert data.maps.mask is None and data.maps.depth is not None
    np.testing.assert_array_equal(data.maps.depth(0), METRES)
    none = open_dataset(folder_of(tmp_path / "two", {"a.jpg": drawn(1)}))
    assert none.maps.mask is none.maps.depth is None and none.maps.things == () and none.regions == {}
    assert none.sha256 != data.sha256  # another map is another data set


@pytest.mark.parametrize(("kind", "data", "what"), [
    ("mask.png", png(np.zeros((2, 2, 3), np.uint8)), "expected a palette .* got RGB"),
    ("mask.png", b"no picture", "cannot identify"), ("mask.png", PARTS["mask.png"][:-30], "truncated"),
    ("depth.png", png(np.ones((2, 2), np.uint8)), "expected 16-bit"),
    ("depth.npy", npy(np.ones((2, 2, 1))), r"one number a pixel, height × width; got an array of \(2, 2, 1\)"),
    ("depth.npy", b"no array", "magic string"), ("depth.npy", b"", "EOF"), ("depth.npy", npz(METRES), "magic string"),
    ("depth.npy", npy(METRES)[:-4], "read"), ("depth.npy", npy(np.array([["far"]])), "expected numbers .* <U3"),
    ("depth.npy", npy(METRES.view([("metres", "<f4")])), "expected numbers"),
    ("depth.npy", npy(METRES.astype("M8[s]")), "expected numbers that are metres, got datetime64")])
def test_a_map_that_cannot_be_read_is_listed_and_its_picture_used_without_it(tmp_path, kind, data, what):
    files = {f"{name}.jpg": drawn(number) for number, name in enumerate("abc")}
    root = folder_of(tmp_path, {**files, f"a.{kind}": data, f"b.{kind}": PARTS.get(kind, npy(METRES))})
    found = open_dataset(root)
    (name, why), = found.skipped
    assert name == f"{kind} of a.jpg" and re.search(what, why) and found.ids == ("a.jpg", "b.jpg", "c.jpg")
    read = found.maps.mask or found.maps.depth
    assert read(0).tolist() == read(2).tolist() and read(0).shape == (1, 1) != read(1).shape
    (root / f"b.{kind}").write_bytes(data)  # what breaks later is told where it is read
    with pytest.raises(ValueError, match=f"{kind} of b.jpg cannot be read: .*{what}"):
        read(1)
    (root / f"b.{kind}").unlink()
    with pytest.raises(ValueError, match=f"{kind} of b.jpg cannot be read"):
        read(1)
    (root / "b.jpg").unlink()
    with pytest.raises(ValueError, match=f"{kind} of b.jpg cannot be read: no such file"):
        read(1)


def test_a_map_that_is_too_large_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "MAX_BYTES", 1000)
    found = open_dataset(folder_of(tmp_path, {"a.jpg": drawn(1), "a.depth.npy": npy(np.ones((50, 50)))}))
    assert found.ids == ("a.jpg",) and found.maps.depth is None
    assert [name for name, why in found.skipped if why.startswith(image.TOO_LARGE)] == ["depth.npy of a.jpg"]


@pytest.mark.parametrize("value", ['["Europe"]', '["Europe", "Asia"]', "[north]", '[{"name": "Europe"}]', "[1, 2]"])
def test_a_column_regions_without_boxes_is_a_column_like_others(tmp_path, value):
    shards = [Record(key="a", data=drawn(1), metadata={"regions": value}),
              Record(key="b", data=drawn(2), metadata={"regions": "north"})]
    write_tar(tmp_path / "0.tar", shards)
    data = open_dataset(tmp_path)
    assert data.columns["regions"] == (value, "north") and not data.regions and not data.skipped


def test_regions_are_a_column(tmp_path):
    one, two = Region(box=(0.1, 0.2, 0.5, 1.0), text="the left boat"), Region(box=(0.5, 0, 1, 1), text="a tree")
    shards = [Record(key="a", data=drawn(1), metadata={"regions": to_json([one]), "camera": "A"}),
              Record(key="a", data=drawn(1), metadata={"regions": to_json([one, two]), "camera": "A"}),
              Record(key="b", data=drawn(2), metadata={"regions": "north", "camera": "B"})]
    write_tar(tmp_path / "0.tar", shards)
    data = open_dataset(tmp_path)
    assert data.regions == {0: (one, two)} and data.columns["regions"] == ("", "north")
    folder = folder_of(tmp_path / "folder", {"a.png": drawn(1), "a.json": json.dumps(
        {"regions": [{"box": [0.1, 0.2, 0.5, 1.0], "text": "the left boat"}]}).encode()})
    assert open_dataset(folder).regions == {0: (one,)}
    (folder / "a.json").write_text(json.dumps({"regions": [{"box": [10, 20, 50, 100], "text": "in pixels"}]}))
    with pytest.raises(SourceError, match=r"expected regions as \[\{box, text, score\}"):
        open_dataset(folder)
    (folder / "a.json").write_text(json.dumps({"regions": [{"box": [0, 0, 1, 1], "text": "one"}, {"text": "no box"}]}))
    with pytest.raises(SourceError, match=r"expected regions as \[\{box, text, score\}"):
        open_dataset(folder)
    (folder / "a.json").write_text('{"regions": []}')
    data = open_dataset(folder)
    assert not data.regions and not data.columns


def test_scenes_have_masks_regions_and_depths_and_no_concept_on_two_sides():
    scenes, again = (open_pictograms(["en"], every=40, scenes=30).scenes for _ in range(2))
    assert scenes is not None and again is not None and len(scenes) == 30
    assert scenes.maps.mask is not None and scenes.maps.depth is not None and scenes.maps.things[0] == "ground"
    names = {row["name"]: row["hexcode"] for row in pictograms.names(["en"]).to_pylist()}
    kinds = {row["hexcode"]: (row["group"], row["split"], row["concept"])
             for row in pictograms.pictures([pictograms.HELD_OUT_VENDOR]).to_pylist()}
    shown = {"train": set(), "val": set(), "test": set()}
    for number in range(30):
        mask, depth = scenes.maps.mask(number), scenes.maps.depth(number)
        picture = decode(scenes.read(number))
        assert picture.size == mask.shape[::-1] == depth.shape[::-1] and depth.min() > 1 and mask.max() < len(KINDS)
        there = set()
        for region in scenes.regions[number]:
            group, split, concept = kinds[names[region.text]]
            part = scenes.columns["split"][number]
            assert split == {"test": "test_zeroshot"}.get(part, part)
            shown[part].add(concept)
            there.add(KINDS.index(group))
            left, top, right, bottom = (round(224 * side) for side in region.box)
            inside = mask == KINDS.index(group)
            assert inside[top:bottom, left:right].sum() == inside.sum()  # a kind is in a scene once
            assert len(np.unique(depth[inside])) == 1
        assert there | {0} == set(np.unique(mask))
        assert scenes.read(number) == again.read(number) and (mask == again.maps.mask(number)).all()
    assert all(shown.values()) and not shown["train"] & shown["test"] and not shown["val"] & shown["test"]
    assert not shown["train"] & shown["val"] and open_pictograms(["en"], every=40).scenes is None
