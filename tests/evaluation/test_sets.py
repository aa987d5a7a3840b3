"""A data set is the same thing whatever it came from: a folder, a table, Parquet, shards; and mistakes are told."""

import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diptych.core.errors import SourceError
from diptych.data.records import Record
from diptych.data.tars import write_tar
from diptych.evaluation.corpus import one_word_apart, open_pictograms
from diptych.evaluation.sets import Columns, open_dataset


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
    with pytest.raises(ValueError, match="no values in column 'where' for the label; its columns are fold"):
        open_dataset(path, Columns(label="where"))


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
