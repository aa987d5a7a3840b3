import datetime
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.core.errors import SourceError
from diptych.core.types import Pair, Skipped
from diptych.data import sources
from diptych.data.sources import BAD_SIDECAR, open_source, open_sources


def png(colour="red", size=(4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, data: bytes | str = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data or png())
    return path


def records(path) -> tuple[dict[str, Pair], dict[str, str]]:
    """Pairs by URI and reasons by id; checks the total and that nothing comes twice."""
    source = open_source(path)
    found = list(source.records)
    listed = [item for item in found if not (isinstance(item, Skipped) and item.reason == BAD_SIDECAR)]
    assert len(listed) == source.total
    pairs = {item.uri: item for item in found if isinstance(item, Pair)}
    skipped = {item.id: item.reason for item in found if isinstance(item, Skipped)}
    assert len(pairs) + len(skipped) == len(found)
    return pairs, skipped


def names(path) -> list[str]:
    return [Path(item.uri).relative_to(path).as_posix() for item in open_source(path).records if isinstance(item, Pair)]


def test_folders_are_walked_in_a_fixed_order_without_hidden_files(tmp_path):
    shown = ("b.jpg", "a.PNG", "z/1.webp", "z/y/2.gif", "m/3.avif", "m/3.heic", "B.tif")
    for name in (*shown, ".hidden.png", ".cache/x.png"):
        write(tmp_path / name)
    assert names(tmp_path) == ["B.tif", "a.PNG", "b.jpg", "m/3.avif", "m/3.heic", "z/1.webp", "z/y/2.gif"]


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    write(tmp_path / "x.jpg" / "y.jpg")
    assert names(tmp_path) == ["x.jpg/y.jpg"]


def test_unicode_names_and_names_that_are_none(tmp_path):
    good = {"снимок.jpg", "写真 1.jpg", "é.jpg", "🍎.jpg", "a#b?.jpg", "new\nline.jpg"}
    for name in good:
        write(tmp_path / name)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))).write_bytes(png())
    pairs, skipped = records(tmp_path)
    assert {Path(uri).name for uri in pairs} == good
    assert list(skipped.values()) == ["file name is not UTF-8"]
    for text in (*pairs, *skipped):
        text.encode()


def test_what_is_no_picture_is_reported_only_if_a_person_could_mind(tmp_path):
    for name in ("notes.txt", "clip.mp4", "paper.pdf", "code.py", "archive.zip", "LICENSE", "Thumbs.db", "a.xmp"):
        write(tmp_path / name, "not a picture")
    for name in ("logo.svg", "raw.CR2", "art.psd", "strange.xyz", "pairs.csv"):
        write(tmp_path / name, "not a picture")
    pairs, skipped = records(tmp_path)
    assert not pairs
    assert {Path(k).name: v for k, v in skipped.items()} == {
        "logo.svg": "SVG is not read", "raw.CR2": "format is not read", "art.psd": "format is not read",
        "strange.xyz": "unknown kind of file", "pairs.csv": "table of pairs"}


def test_pictures_are_known_by_their_bytes_when_the_name_says_nothing(tmp_path):
    write(tmp_path / "IMG_0001")
    write(tmp_path / "cache.image")
    assert names(tmp_path) == ["IMG_0001", "cache.image"]


def test_links_are_followed_once_and_loops_are_reported(tmp_path):
    photos = tmp_path / "photos"
    write(photos / "a.jpg")
    write(tmp_path / "elsewhere" / "b.jpg")
    (photos / "inner").mkdir()
    (photos / "inner" / "up").symlink_to(photos)
    (photos / "inner" / "here").symlink_to(photos / "inner")
    (photos / "other").symlink_to(tmp_path / "elsewhere")
    (photos / "other again").symlink_to(tmp_path / "elsewhere")
    (photos / "self.jpg").symlink_to(photos / "self.jpg")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    pairs, skipped = records(photos)
    assert {Path(uri).relative_to(photos).as_posix() for uri in pairs} == {"a.jpg", "link.jpg", "other/b.jpg"}
    assert {Path(k).relative_to(photos).as_posix(): v for k, v in skipped.items()} == {
        "inner/up": "symlink loop", "inner/here": "symlink loop", "self.jpg": "symlink loop",
        "gone.jpg": "no such file"}


def test_a_very_deep_folder(tmp_path):
    here = tmp_path
    for _ in range(300):
        here /= "d"
    write(here / "deep.jpg")
    assert len(names(tmp_path)) == 1


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    pairs, skipped = records(tmp_path)
    assert not pairs and list(skipped.values()) == ["cannot be read"]
    with pytest.raises(SourceError, match="neither a folder nor a regular file"):
        open_source(tmp_path / "pipe.jpg")


@pytest.fixture
def as_nobody():
    """A folder anyone can enter, and a process that is not root while the test runs: root may read everything."""
    folder = Path(tempfile.mkdtemp(prefix="diptych-test-"))
    folder.chmod(0o755)
    root = os.geteuid() == 0
    yield folder, (lambda: os.seteuid(65534)) if root else (lambda: None)
    if root:
        os.seteuid(0)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_permission_denied_is_a_reason(as_nobody):
    folder, become_nobody = as_nobody
    write(folder / "open.jpg")
    write(folder / "closed" / "inside.jpg")
    write(folder / "unlabelled")
    (folder / "closed").chmod(0)
    (folder / "unlabelled").chmod(0)
    become_nobody()
    pairs, skipped = records(folder)
    assert [Path(uri).name for uri in pairs] == ["open.jpg"]
    assert {Path(k).name: v for k, v in skipped.items()} == {"closed": "permission denied",
                                                            "unlabelled": "permission denied"}


def test_an_empty_folder_says_so(tmp_path):
    """Nothing below an empty root is taken for deleted: it may be a disk that is not mounted."""
    assert records(tmp_path) == ({}, {str(tmp_path): "no pictures found"})


def test_stamps_change_with_the_file(tmp_path):
    path = write(tmp_path / "a.png")
    stamp = records(tmp_path)[0][str(path)].stamp
    assert stamp == records(tmp_path)[0][str(path)].stamp
    os.utime(path, ns=(1, 1))
    assert records(tmp_path)[0][str(path)].stamp != stamp


def test_sidecar_captions(tmp_path):
    write(tmp_path / "one.jpg")
    write(tmp_path / "one.txt", "\ufeffa red boat\n\n  at dusk  \n")
    write(tmp_path / "two.jpg")
    write(tmp_path / "two.json", json.dumps({"caption": "ein Boot", "year": 1990, "f": 2.8, "ok": True, "none": None,
                                            "tags": ["a", "b"]}))
    write(tmp_path / "three.jpg")
    write(tmp_path / "three.jpg.json", json.dumps({"captions": ["x", "y", "x", ""], "title": "kept"}))
    write(tmp_path / "three.txt", "z")
    write(tmp_path / "four.jpg")
    write(tmp_path / "four.jpg.json", json.dumps({"title": "four.jpg", "description": ""}))
    pairs, skipped = records(tmp_path)
    by_name = {Path(uri).stem: pair for uri, pair in pairs.items()}
    assert not skipped
    assert by_name["one"].captions == ("a red boat", "at dusk")
    assert by_name["two"].captions == ("ein Boot",)
    assert by_name["two"].metadata == {"year": 1990, "f": 2.8, "ok": True, "tags": '["a", "b"]'}
    assert by_name["three"].captions == ("z", "x", "y")
    assert by_name["three"].metadata == {"title": "kept"}
    assert by_name["four"].captions == ()


@pytest.mark.parametrize("name, data", [("a.json", b"{no"), ("a.txt", b"\xff\xfe\x00"), ("a.txt", b"x" * (1 << 21))])
def test_a_bad_sidecar_is_reported_and_its_picture_kept(tmp_path, name, data):
    write(tmp_path / "a.jpg")
    write(tmp_path / name, data)
    pairs, skipped = records(tmp_path)
    assert len(pairs) == 1 and skipped == {str(tmp_path / name): "caption file cannot be read"}


def test_maps_beside_a_picture_are_no_pictures(tmp_path):
    for name in ("a.JPG", "a.mask.png", "a.depth.png", "a.depth.npy", "b.mask.png", "c/a.mask.png"):
        write(tmp_path / name)
    found, reasons = records(tmp_path)
    # what has no picture to belong to is one itself
    assert [Path(uri).relative_to(tmp_path).as_posix() for uri in found] == ["a.JPG", "b.mask.png", "c/a.mask.png"]
    assert not reasons


def test_one_picture_with_its_sidecar(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")
    write(tmp_path / "a.txt", "a boat")
    pairs, _ = records(tmp_path / "a.jpg")
    assert [(Path(uri).name, pair.captions) for uri, pair in pairs.items()] == [("a.jpg", ("a boat",))]


def test_sources_that_are_none(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "absent")
    with pytest.raises(SourceError, match="not a local path"):
        open_source("https://example.org/pictures")
    write(tmp_path / "a.csv", "colour,shape\nred,round\n")
    with pytest.raises(SourceError, match=r"no column that names or holds a picture.*colour, shape"):
        open_source(tmp_path / "a.csv")
    for name in ("b.parquet", "b.csv"):
        write(tmp_path / name, b"\xff\xfenot a table")
        with pytest.raises(SourceError, match="cannot be read as a table"):
            open_source(tmp_path / name)


def test_the_same_path_twice_is_one_source(tmp_path):
    write(tmp_path / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    assert [s.root for s in open_sources([tmp_path, str(tmp_path) + "/", tmp_path / "link"])] == [str(tmp_path)]


def test_single_pictures_are_one_source(tmp_path):
    a, b = write(tmp_path / "a.jpg"), write(tmp_path / "b.jpg")
    write(tmp_path / "t.csv", "path\na.jpg\n")
    table, pictures = open_sources([a, tmp_path / "t.csv", b, a])
    assert (table.root, pictures.root, pictures.total) == (str(tmp_path / "t.csv"), "", 2)
    assert [pair.uri for pair in pictures.records] == [str(a), str(b)]


def test_csv_with_several_captions_and_typed_columns(tmp_path):
    write(tmp_path / "p" / "a.jpg")
    write(tmp_path / "p" / "b.jpg")
    write(tmp_path / "pairs.csv", '\ufeffPath,Caption,year,rating,code,ok,note\n'
          'p/a.jpg,"a boat, red",1990,4,007,true,\np/b.jpg,"two\nlines",2001,4.5,1,false,x\n'
          'p/a.jpg,ein Boot,1990,4,007,true,\n'
          'p/gone.jpg,nothing,1,1,1,true,\n,no picture,1,1,1,true,\nhttps://h/x.jpg,far,,,,,\na,b,c,d,e,f,g,h\n')
    pairs, skipped = records(tmp_path / "pairs.csv")
    a, b, far = (pairs[k] for k in (str(tmp_path / "p/a.jpg"), str(tmp_path / "p/b.jpg"), "https://h/x.jpg"))
    assert a.captions == ("a boat, red", "ein Boot") and b.captions == ("two\nlines",)
    assert a.metadata == {"year": 1990, "rating": 4.0, "code": "007", "ok": True}
    assert b.metadata == {"year": 2001, "rating": 4.5, "code": "1", "ok": False, "note": "x"}
    assert type(a.metadata["year"]) is int and type(a.metadata["rating"]) is float
    assert a.stamp and far.stamp is None
    assert sorted(skipped.values()) == ["no picture in the row", "no such file", "row does not fit the header"]


def test_tsv(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "t.tsv", "url\ttext\na.jpg\tx, y\n")
    assert [p.captions for p in records(tmp_path / "t.tsv")[0].values()] == [("x, y",)]


def test_json_lines(tmp_path):
    write(tmp_path / "a.jpg")
    lines = [json.dumps({"image": "a.jpg", "captions": ["x", "y"], "n": 3, "deep": {"k": [1]}}), "", "{broken", "[1]"]
    write(tmp_path / "t.jsonl", "\n".join(lines))
    pairs, skipped = records(table := tmp_path / "t.jsonl")
    assert pairs[str(tmp_path / "a.jpg")].captions == ("x", "y")
    assert pairs[str(tmp_path / "a.jpg")].metadata == {"n": 3, "deep": '{"k": [1]}'}
    assert skipped == {f"{table}:3": "line is not JSON", f"{table}:4": "line is not a JSON object"}


def test_empty_tables(tmp_path):
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).touch()
        assert records(tmp_path / name) == ({}, {})


def test_parquet_with_bytes(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({
        "image": [{"bytes": png(), "path": "a.png"}, {"bytes": png("blue"), "path": None}, None],
        "text": [["x", "y"], None, ["z"]], "day": [datetime.date(2020, 1, 2), None, None],
        "score": [float("nan"), 1.5, None]}), path)
    pairs, skipped = records(path)
    assert list(pairs) == [f"{path}#a.png", f"{path}#1"] and skipped == {f"{path}#2": "no picture in the row"}
    first, second = pairs.values()
    assert (first.data, first.captions, first.metadata) == (png(), ("x", "y"), {"day": "2020-01-02"})
    assert (second.data, second.captions, second.metadata) == (png("blue"), (), {"score": 1.5})


def test_parquet_with_bytes_and_uris(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"uri": ["s3://b/1.png", "2.png"], "bytes": [png(), png()], "caption": ["a", "b"]}), path)
    assert {uri: p.captions for uri, p in records(path)[0].items()} == {"s3://b/1.png": ("a",), f"{path}#2.png": ("b",)}


def test_parquet_with_paths(tmp_path):
    write(tmp_path / "a.jpg")
    pq.write_table(pa.table({"path": ["a.jpg", "a.jpg"], "caption": ["x", "y"], "n": [1, 2]}), tmp_path / "t.parquet")
    pair = records(tmp_path / "t.parquet")[0][str(tmp_path / "a.jpg")]
    assert (pair.captions, pair.metadata) == (("x", "y"), {"n": 1})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"])),
                          st.one_of(st.none(), st.integers(-9, 9999)))))
def test_csv_round_trip(rows):
    import csv

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            out = csv.writer(stream)
            out.writerow(["url", "caption", "n"])
            out.writerows((f"http://h/{i}", caption, "" if n is None else n) for i, (caption, n) in enumerate(rows))
        pairs, skipped = records(path)
    assert not skipped
    for (caption, n), pair in zip(rows, pairs.values(), strict=True):
        assert pair.captions == ((caption.strip(),) if caption.strip() else ())
        assert pair.metadata == ({} if n is None else {"n": n})


def test_what_utf8_or_a_path_cannot_hold_is_no_reason_to_stop(tmp_path):
    write(tmp_path / "a b.jpg")
    rows = [{"path": "file://" + str(tmp_path / "a%20b.jpg"), "caption": "cut \ud83d", "k\udc00": "v\ud83d",
             "l": ["\ud83d"]}, {"path": "b\u0000.jpg"}, {"path": "c\ud83d.jpg"}]
    write(tmp_path / "t.jsonl", "\n".join(json.dumps(row) for row in rows))
    pairs, skipped = records(tmp_path / "t.jsonl")
    (pair,) = pairs.values()
    assert pair.uri == str(tmp_path / "a b.jpg") and pair.captions == ("cut ?",)
    assert pair.metadata == {"k?": "v?", "l": '["?"]'}
    assert set(skipped.values()) == {"no such file"} and len(skipped) == 2


def test_header_names_may_have_blanks(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "t.csv", "path, caption\na.jpg,boat\n")
    assert records(tmp_path / "t.csv")[0][str(tmp_path / "a.jpg")].captions == ("boat",)


def test_parquet_as_datasets_writes_folders(tmp_path):
    """Only base names are kept, so that two folders' 1.jpg are told apart by their rows; bytes may be left out."""
    path, beside = tmp_path / "t.parquet", str(write(tmp_path / "beside.png"))
    images = [{"bytes": png("red"), "path": "1.jpg"}, {"bytes": png("blue"), "path": "1.jpg"},
              {"bytes": None, "path": beside}, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"image": images, "file": [1, 2, 3, 4]}), path)
    pairs, skipped = records(path)
    assert list(pairs) == [f"{path}#1.jpg", f"{path}#1/1.jpg", beside]
    assert skipped == {f"{path}#3": "no picture in the row"}
    assert pairs[beside].data is None and pairs[beside].stamp is not None


def test_a_caption_that_cannot_be_read_now_leaves_the_picture_as_it_is(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", "a boat")
    (tmp_path / "a.json").mkdir()
    monkeypatch.setattr(sources, "_read_sidecar", lambda path: (_ for _ in ()).throw(PermissionError(path)))
    found = list(open_source(tmp_path).records)
    assert [(item.id, item.reason) for item in found] == [(str(tmp_path / "a.jpg"), BAD_SIDECAR)]
