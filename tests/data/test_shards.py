import gzip
import json
import os
import pickle
import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from small_shards import folder, jsonl, parquet, png, raw_tar, record, table, tar

from diptych.core import telemetry
from diptych.core.errors import PictureError, SourceError
from diptych.data import copies, lines, pictures, tars
from diptych.data.copies import Copies, expand, find_files
from diptych.data.parquets import RowGroups
from diptych.data.records import MemoryShard
from diptych.data.shards import open_shards
from diptych.inputs import image

KINDS = {
    "tar": lambda at: tar(at / "a.tar", range(5)),
    "parquet": lambda at: parquet(at / "a.parquet", range(5), rows=2),
    "jsonl": lambda at: jsonl(at / "a.jsonl", range(5)),
    "csv": lambda at: table(at / "a.csv", range(5)),
    "tsv": lambda at: table(at / "a.tsv", range(5), "\t"),
    "folder": lambda at: folder(at / "folder", range(5)),
}


def everything(shards):
    return [shard.read(i) for shard in shards for i in range(len(shard))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_its_records_in_any_order_and_after_pickling(kind, tmp_path):
    shards = open_shards(KINDS[kind](tmp_path))
    assert sum(map(len, shards)) == 5
    records = everything(shards)
    assert [r.data for r in records] == [png(n) for n in range(5)]
    assert [r.captions for r in records] == [(f"number {n}",) for n in range(5)]
    assert len({r.key for r in records}) == 5
    if kind != "folder":
        assert [str(r.metadata["number"]) for r in records] == list("01234")
    for shard in pickle.loads(pickle.dumps(shards)):
        assert [shard.read(i).data for i in reversed(range(len(shard)))][::-1] == [
            records.pop(0).data for _ in range(len(shard))]


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_know_the_contents_and_not_the_place(kind, tmp_path):
    prints = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        prints.append([shard.fingerprint for shard in open_shards(KINDS[kind](tmp_path / name))])
    assert prints[0] == prints[1]
    (tmp_path / "three").mkdir()
    makers = {"tar": lambda at: tar(at / "a.tar", range(5), bad={3}),
              "parquet": lambda at: parquet(at / "a.parquet", range(1, 6), rows=2),
              "jsonl": lambda at: jsonl(at / "a.jsonl", range(1, 6)),
              "csv": lambda at: table(at / "a.csv", range(1, 6)),
              "tsv": lambda at: table(at / "a.tsv", range(1, 6), "\t"),
              "folder": lambda at: folder(at / "folder", range(1, 6))}
    assert [s.fingerprint for s in open_shards(makers[kind](tmp_path / "three"))] != prints[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_source_says_so(kind, tmp_path):
    makers = {"tar": lambda: tar(tmp_path / "a.tar", ()),
              "parquet": lambda: parquet(tmp_path / "a.parquet", (), rows=2),
              "jsonl": lambda: jsonl(tmp_path / "a.jsonl", ()), "csv": lambda: table(tmp_path / "a.csv", ()),
              "tsv": lambda: table(tmp_path / "a.tsv", (), "\t"), "folder": lambda: folder(tmp_path / "folder", ())}
    with pytest.raises(SourceError, match=r"empty shard|no pictures|cannot be read"):
        open_shards(makers[kind]())


def test_webdataset_members_become_captions_metadata_and_parts(tmp_path):
    path = raw_tar(tmp_path / "w.tar", {
        "./d/boat.jpg": png(1), "./d/boat.txt": b" a red\n boat ", "./d/boat.json": json.dumps(
            {"caption": "a red boat", "width": 3, "boxes": [[0, 1, 2, 3]], "url": None}).encode(),
        "./d/boat.seg.png": png(9), "./d/boat.emb.npy": b"\x93NUMPY", "readme": b"no record", ".hidden.jpg": b"x",
        "d/car.txt": b"a caption alone", "d/dog.png": png(2), "d/dog.json": b"{broken", "d/owl.WEBP": png(3)})
    shards = open_shards(path)
    boat = shards[0].read(0)
    assert boat.data == png(1) and boat.captions == ("a red boat",)
    assert boat.metadata == {"width": 3, "boxes": "[[0, 1, 2, 3]]"}
    assert boat.parts == {"seg.png": png(9), "emb.npy": b"\x93NUMPY"}
    for index, reason in ((1, "no picture in the record"), (2, tars.BAD_CAPTION)):
        with pytest.raises(PictureError) as raised:
            shards[0].read(index)
        assert raised.value.reason == reason
    assert shards[0].read(3).data == png(3) and len(shards[0]) == 4


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text("aé/ .", max_size=150), st.binary(max_size=900)), min_size=1, max_size=12))
def test_members_are_where_the_index_says(tmp_path, members):
    """Long names, odd names, empty members: the bytes are tarfile's own."""
    named = {f"{i:02}{name}".replace("//", "/").rstrip("/. ") + ".jpg": data for i, (name, data) in enumerate(members)}
    kept = sorted(d for n, d in named.items() if n.rsplit("/", 1)[-1].partition(".")[0])
    assume(kept)  # a tar of hidden files only is an empty shard
    path = raw_tar(tmp_path / "m.tar", named)
    index = json.loads(tars._index_of(path, find_files(str(path))[0]).splitlines()[1])
    raw = path.read_bytes()
    found = sorted(raw[offset : offset + size] for _, parts in index for _, offset, size in parts)
    assert found == kept


def test_a_tar_that_is_cut_off_gives_what_is_whole(tmp_path):
    path = tar(tmp_path / "a.tar", range(9))
    whole = path.read_bytes()
    counted = []
    stop = telemetry.listen(lambda name, value, labels: counted.append(name))
    at = open_shards(path)[0]
    names = json.loads(Path(at.index).read_text().splitlines()[1])
    cut = names[5][1][0][1] + 20  # in the middle of the sixth picture
    path.write_bytes(whole[:cut])
    shard = open_shards(path)[0]
    stop()
    assert [shard.read(i).captions for i in range(5)] == [(f"number {n}",) for n in range(5)]
    assert len(shard) == 5 and counted == ["data_damaged_shards"]
    damaged = bytearray(whole)
    damaged[names[3][1][0][1] - 512 + 150] ^= 0xFF  # the checksum of the fourth picture's header
    path.write_bytes(damaged)
    os.utime(path, ns=(1, 1))
    assert len(open_shards(path)[0]) == 3


def test_what_is_no_tar_is_refused(tmp_path):
    path = tar(tmp_path / "a.tar", range(3))
    (tmp_path / "z.tar").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(SourceError, match="compressed with gzip"):
        open_shards(tmp_path / "z.tar")
    for name, data in (("n.tar", b"no tar at all" * 99), ("e.tar", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match="empty shard, or not a tar"):
            open_shards(tmp_path / name)


def test_an_index_beside_the_tar_is_enough(tmp_path, monkeypatch):
    path = tar(tmp_path / "a.tar", range(4))
    tars.write_index(find_files(str(path))[0])
    expected = open_shards(path)[0].fingerprint
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(tars, "_indexed", lambda file: pytest.fail("the tar was scanned"))
    assert open_shards(path)[0].fingerprint == expected
    assert [r.captions for r in everything(open_shards(path))] == [(f"number {n}",) for n in range(4)]


def test_rows_with_newlines_quotes_and_nonsense(tmp_path):
    folder(tmp_path / "p", range(3))
    text = ('path,caption\r\n"p/0000.png","two\nlines, and a ""quote"""\r\n\r\n'
            "p/0001.png,sep\u2028arator\r\np/0002.png,x,too,many\r\nnowhere.png,y\r\n,z\r\n")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    shard = open_shards(tmp_path / "a.csv")[0]
    assert len(shard) == 5
    assert shard.read(0).captions == ('two\nlines, and a "quote"',) and shard.read(0).data == png(0)
    assert shard.read(1).captions == ("sep\u2028arator",)
    reasons = []
    for index in (2, 3, 4):
        with pytest.raises(PictureError) as raised:
            shard.read(index)
        reasons.append(raised.value.reason)
    assert reasons == [lines.BAD_ROW, "no such file", "no picture in the record"]
    rows = ("", '{"path": "p/0000.png", "captions": ["a", "b"]}', "", "[1]", "{broken", '{"path": "p/0001.png"}')
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    shard = open_shards(tmp_path / "a.jsonl")[0]
    assert len(shard) == 4 and shard.read(0).captions == ("a", "b") and shard.read(3).data == png(1)
    for index in (1, 2):
        with pytest.raises(PictureError, match=lines.BAD_ROW):
            shard.read(index)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12), min_size=1, max_size=9),
       st.integers(1, 4))
def test_rows_of_a_csv_are_those_of_the_csv_module(tmp_path, captions, rows):
    import csv

    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", "caption"], *(["x.png", caption] for caption in captions)])
    shards = lines.open_lines(find_files(str(tmp_path / "a.csv"))[0], rows)
    assert [len(s) for s in shards[:-1]] == [rows] * (len(shards) - 1)
    parsed = []
    for shard in shards:
        for i in range(len(shard)):
            begin, end = int(shard.starts[i]), int(shard.starts[i + 1])
            parsed.append(lines._parse(shard.file.read(begin, end - begin), shard.header, ".csv").get("caption", ""))
    assert parsed == captions


def test_parquet_keeps_few_row_groups_in_memory(tmp_path):
    path = parquet(tmp_path / "a.parquet", range(40), rows=10)
    groups = RowGroups(max_bytes=1)
    file = find_files(str(path))[0]
    first = groups.get(file, 0)
    assert groups.get(file, 0) is first
    groups.get(file, 1)
    assert groups.get(file, 0) is not first


def test_parquet_may_name_its_pictures(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder(tmp_path / "p", range(2))
    columns = {"url": ["p/0000.png", None, "p/0009.png"], "texts": ["a", "b", "c"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    shard = open_shards(tmp_path / "a.parquet")[0]
    assert shard.read(0).data == png(0) and shard.read(0).metadata == {"texts": "a"}
    for index, reason in ((1, "no picture in the record"), (2, "no such file")):
        with pytest.raises(PictureError, match=reason):
            shard.read(index)


@pytest.mark.parametrize(("pattern", "expected"), [
    ("a", ["a"]), ("{08..10}.tar", ["08.tar", "09.tar", "10.tar"]), ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
    ("{x}", ["{x}"]), ("{2..1}", [])])
def test_braces(pattern, expected):
    assert expand(pattern) == expected


def test_patterns_and_folders_of_shards(tmp_path):
    for i in range(3):
        tar(tmp_path / f"t-{i:03}.tar", [i])
    parquet(tmp_path / "x.parquet", [3], rows=1)
    captions = [(f"number {n}",) for n in range(4)]
    assert [r.captions for r in everything(open_shards(tmp_path))] == captions
    assert [r.captions for r in everything(open_shards(str(tmp_path / "t-{000..002}.tar")))] == captions[:3]
    assert [r.captions for r in everything(open_shards([str(tmp_path / "x.parquet"), str(tmp_path / "t-*.tar")]))] == [
        captions[3], *captions[:3]]
    with pytest.raises(SourceError, match="gives no shard"):
        open_shards(str(tmp_path / "none-*.tar"))
    with pytest.raises(SourceError, match="cannot be read"):
        open_shards(str(tmp_path / "t-{002..003}.tar"))
    with pytest.raises(SourceError, match="of no kind"):
        open_shards(__file__)
    with pytest.raises(SourceError, match="cannot be read"):
        open_shards("nosuchprotocol://x/a.tar")


@pytest.fixture
def bucket(tmp_path):
    """A bucket in memory with shards of every kind."""
    system = fsspec.filesystem("memory")
    for i in range(3):
        path = tar(tmp_path / f"{i}.tar", range(10 * i, 10 * i + 10))
        system.pipe(f"/bucket/{i}.tar", path.read_bytes())
    system.pipe("/bucket/p.parquet", parquet(tmp_path / "p.parquet", range(4), rows=2).read_bytes())
    system.pipe("/bucket/t.jsonl", jsonl(tmp_path / "t.jsonl", range(4)).read_bytes())
    for n in range(4):
        system.pipe(f"/bucket/pictures/{n:04}.png", png(n))
    yield system
    system.rm("/bucket", recursive=True)


def test_remote_shards_are_copied_once_and_make_room(bucket, tmp_path, monkeypatch):
    size = (tmp_path / "0.tar").stat().st_size
    kept = Copies(folder=tmp_path / "copies", max_bytes=2 * size)
    shards = open_shards("memory://bucket/{0..2}.tar", kept)
    shutil.rmtree(kept.folder)
    copied, real = [], copies._copy
    monkeypatch.setattr(copies, "_copy", lambda file, target: (copied.append(file.url), real(file, target)))
    assert [r.captions for r in everything(shards)] == [(f"number {n}",) for n in range(30)]
    assert [url[-5:] for url in copied] == ["0.tar", "1.tar", "2.tar"]
    everything(shards[1:])
    assert len(copied) == 3  # 0 had to make room, 1 and 2 are there
    files = [p for p in (tmp_path / "copies").iterdir() if p.suffix != ".lock"]
    assert sum(p.stat().st_size for p in files) <= 2 * size
    shutil.rmtree(tmp_path / "copies")
    assert shards[1].read(3).captions == ("number 13",)


def test_pieces_are_requested_and_not_copied(bucket, tmp_path, monkeypatch):
    for i in range(3):
        tars.write_index(find_files(str(tmp_path / f"{i}.tar"))[0])
        bucket.pipe(f"/bucket/{i}.tar.index", (tmp_path / f"{i}.tar.index").read_bytes())
    monkeypatch.setattr(copies, "_copy", lambda file, target: pytest.fail(f"{file.url} was copied"))
    shards = open_shards("memory://bucket/{0..2}.tar", Copies(folder=tmp_path / "c", pieces=True))
    assert [r.captions for r in everything(shards)] == [(f"number {n}",) for n in range(30)]
    assert shards[0].file.read() == (tmp_path / "0.tar").read_bytes()


def test_records_in_memory_are_a_shard():
    shard = MemoryShard(name="m", records=(record(1), record(2)))
    assert shard.read(1).captions == ("number 2",) and len(shard) == 2
    assert shard.fingerprint == MemoryShard(name="n", records=(record(1), record(2))).fingerprint
    assert shard.fingerprint != MemoryShard(name="m", records=(record(1), record(3))).fingerprint


def test_every_kind_can_be_remote(bucket, tmp_path):
    for name in ("p.parquet", "t.jsonl"):
        records = everything(open_shards(f"memory://bucket/{name}"))
        assert [r.data for r in records] == [png(n) for n in range(4)]
    assert len(open_shards("memory://bucket/*.tar")) == 3


def test_a_copy_that_fails_is_tried_again(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(copies.time, "sleep", lambda _: None)
    file = find_files("memory://bucket/0.tar", Copies(folder=tmp_path / "c"))[0]
    failures = iter([OSError("gone"), OSError("still")])
    real = fsspec.open

    def flaky(*args, **kwargs):
        for failure in failures:
            raise failure
        return real(*args, **kwargs)

    monkeypatch.setattr(copies.fsspec, "open", flaky)
    assert file.read(0, 10) == (tmp_path / "0.tar").read_bytes()[:10]
    with pytest.raises(EOFError, match="ends at byte"):
        file.read(file.size - 1, 2)
    monkeypatch.setattr(copies.fsspec, "open", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("away")))
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(SourceError, match=r"to be copied to .* cannot be read"):
        file.read(0, 10)


def test_writing_gives_back_what_was_written(tmp_path):
    tars.write_tar(tmp_path / "a.tar", [record(3), record(4)])
    found = open_shards(tmp_path / "a.tar")[0].read(1)
    assert found.data == png(4) and found.captions == ("number 4",)
    assert found.metadata == {"number": 4, "key": "k4"}


MAPS = {"depth.npy": b"metres", "depth.png": b"millimetres", "mask.png": b"numbers"}


@pytest.mark.parametrize("kind", ["tar", "parquet", "jsonl", "folder"])
def test_maps_are_read_when_they_are_asked_for_and_no_earlier(kind, tmp_path, monkeypatch):
    files = {"a.cls": b"1", **{f"a.{part}": data for part, data in MAPS.items()}, "a.png": png(1), "b.png": png(2)}
    if kind == "tar":
        raw_tar(tmp_path / "w.tar", dict(sorted(files.items())))  # as WebDataset writes them: maps before the picture
    for name, data in files.items() if kind != "tar" else ():
        (tmp_path / name).write_bytes(data)
    rows = [{"image": "a.png"}, {"image": "b.png"}]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "w.parquet")
    elif kind == "jsonl":
        (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shards = open_shards(tmp_path if kind == "folder" else tmp_path / f"w.{kind}")
    read, looked = [], []
    whole, is_file = copies.File.read, Path.is_file
    monkeypatch.setattr(copies.File, "read", lambda *of: read.append(whole(*of)) or read[-1])
    monkeypatch.setattr(Path, "is_file", lambda path: looked.append(path) or is_file(path))
    one, other = everything(shards)
    assert one.data == png(1) and not looked and not any(data in b"".join(read) for data in MAPS.values())
    assert {name: one.read_map(name) for name in MAPS} == MAPS and not {*one.parts} & {*MAPS}
    assert pickle.loads(pickle.dumps(one)).read_map("mask.png") == b"numbers"
    assert all(other.read_map(name) is None for name in MAPS)
    tars.write_tar(tmp_path / "again.tar", [one])
    (again,) = everything(open_shards(tmp_path / "again.tar"))
    assert {name: again.read_map(name) for name in MAPS} == MAPS


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_map_that_is_too_large_leaves_its_picture_alone(kind, tmp_path, monkeypatch):
    files = {"a.png": png(1), "a.mask.png": bytes(5000)}
    if kind == "tar":
        raw_tar(tmp_path / "w.tar", files)
    for name, data in files.items() if kind != "tar" else ():
        (tmp_path / name).write_bytes(data)
    for module, name in ((image, "MAX_BYTES"), (pictures, "MAX_BYTES"), (tars, "MAX_BYTES"), (tars, "_LARGEST_RECORD")):
        monkeypatch.setattr(module, name, 1000, raising=False)
    (one,) = everything(open_shards(tmp_path))
    assert one.data == png(1)
    with pytest.raises(PictureError, match=image.TOO_LARGE):
        one.read_map("mask.png")
