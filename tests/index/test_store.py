import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from diptych.core.errors import CollectionBusy, CollectionError, CollectionNotFound, IndexMismatch
from diptych.index import schema, store
from diptych.index.schema import PictureRow, picture_id
from diptych.index.writer import Writer, writing
from fakes import ColourEmbedder


def row(number: int, content: str | None = None, **metadata) -> PictureRow:
    content = content or f"content {number}"
    uri = f"/photos/{number}.png"
    return PictureRow(id=picture_id(content, uri), uri=uri, source="/photos", content_hash=content, stamp="1",
                      described="", captions=("a", "b"), width=3, height=2, format="PNG", file_bytes=9,
                      thumbnail=b"webp", vector=np.eye(4, dtype=np.float32)[number % 4], metadata=metadata)


@pytest.fixture
def collection(embedder):
    return store.open_or_create("trips", embedder.spec)


def test_rows_round_trip(collection):
    rows = [row(1, year=1990, f=2.8, ok=True, name="x"), replace(row(2), captions=(), stamp=None)]
    with writing(collection) as writer:
        writer.upsert(rows)
        found = writer.fetch([r.id for r in rows] + ["absent"])
    assert set(found) == {r.id for r in rows}
    for r in rows:
        got = found[r.id]
        assert np.array_equal(got.vector, r.vector)
        assert replace(got, vector=r.vector) == r


def test_upsert_replaces_by_key(collection):
    with writing(collection) as writer:
        writer.upsert([row(1, n=1), row(2, n=1)])
        writer.upsert([row(1, n=2)])
        writer.upsert([])
    assert collection.count() == 2
    assert collection.row(row(1).id).metadata == {"n": 2}


def test_delete(collection):
    with writing(collection) as writer:
        writer.upsert([row(i) for i in range(5)])
        writer.delete([row(1).id, row(3).id, "absent"])
        writer.delete([])
    assert {k.uri for k in Writer(collection).known()} == {row(i).uri for i in (0, 2, 4)}


def test_metadata_becomes_typed_columns_that_widen(collection):
    with writing(collection) as writer:
        writer.upsert([row(1, year=1990, ok=True, note="x", rating=4)])
        assert collection.metadata_columns() == {"year": "int64", "ok": "bool", "note": "string", "rating": "int64"}
        writer.upsert([row(2, rating=4.5)])
        writer.upsert([row(3, year="about 1990", ok="maybe", extra=1)])
        writer.upsert([row(4, year=1991, ok=False, rating=3)])
    assert collection.metadata_columns() == {"year": "string", "ok": "string", "note": "string", "rating": "double",
                                             "extra": "int64"}
    assert collection.row(row(1).id).metadata == {"year": "1990", "ok": "true", "note": "x", "rating": 4.0}
    assert collection.row(row(4).id).metadata == {"year": "1991", "ok": "false", "rating": 3.0}


def test_mixed_types_within_one_write(collection):
    with writing(collection) as writer:
        writer.upsert([row(1, a=1, b=True, c=1 << 70), row(2, a=1.5, b=1, c=2)])
    assert collection.row(row(1).id).metadata == {"a": 1.0, "b": "true", "c": str(1 << 70)}
    assert collection.row(row(2).id).metadata == {"a": 1.5, "b": "1", "c": "2"}


@pytest.mark.parametrize("key, column", [("file name", "file_name"), ("a.b", "a_b"), ("größe", "größe"), ("犬", "犬"),
                                         ("1st", "_1st"), ("", "unnamed"), ("width", "meta_width"), ("ID", "meta_ID"),
                                         ("x`; drop", "x_drop"), ("select", "select")])
def test_any_key_is_a_column(collection, key, column):
    with writing(collection) as writer:
        writer.upsert([row(1, **{key: 1})])
        writer.upsert([row(2, **{key: "one"})])
    assert collection.row(row(1).id).metadata == {column: "1"}


@pytest.mark.parametrize("after", ["add", "drop"])
def test_a_widening_that_was_cut_short_is_finished(collection, after):
    with writing(collection) as writer:
        writer.upsert([row(1, n=7)])
        writer._table.add_columns({f"n{schema.WIDENED}": "cast(n as string)"})
        if after == "drop":
            writer._table.drop_columns(["n"])
    assert not any(name.endswith(schema.WIDENED) for name in collection.column_types())
    with writing(collection) as writer:
        writer.upsert([row(2, n="seven")])
    assert [collection.row(row(i).id).metadata for i in (1, 2)] == [{"n": "7"}, {"n": "seven"}]


def test_widen_is_commutative_and_holds_both():
    types = [pa.bool_(), pa.int64(), pa.float64(), pa.string()]
    for a in types:
        for b in types:
            assert schema.widen(a, b) == schema.widen(b, a)
            assert schema.widen(schema.widen(a, b), b) == schema.widen(a, b)
    assert schema.widen(pa.int64(), pa.float64()) == pa.float64()
    assert schema.widen(pa.bool_(), pa.int64()) == pa.string()


def test_the_key_is_declared(collection):
    column = collection.pinned().schema.field("id")
    assert not column.nullable and column.metadata == {b"lance-schema:unenforced-primary-key": b"true"}


def test_optimize_clears_old_versions_away(collection):
    with writing(collection) as writer:
        for i in range(12):
            writer.upsert([row(i)])
        writer.optimize()
    versions = list((collection.folder / f"{store.TABLE}.lance" / "_versions").iterdir())
    assert collection.count() == 12 and len(versions) <= 4  # of more than 12; those of the last millisecond stay


def test_a_reader_survives_that_its_version_is_cleared_away(collection):
    with writing(collection) as writer:
        writer.upsert([row(1)])
        assert collection.thumbnail(row(1).id) == b"webp"
        for i in range(2, 9):
            writer.upsert([row(i)])
        writer.optimize()
        assert collection.thumbnail(row(1).id) == b"webp"
        assert collection.count() == 8


def test_lookups(collection):
    with writing(collection) as writer:
        writer.upsert([row(1, year=1990)])
    info = collection.row(row(1).id)
    assert (info.uri, info.caption, info.captions, info.width, info.height, info.format, info.file_bytes) == (
        "/photos/1.png", "a", ("a", "b"), 3, 2, "PNG", 9)
    assert info.embedded_by == collection.manifest().fingerprint and info.indexed_at.endswith("+00:00")
    for absent in ("0" * 64, "", "x' OR '1'='1", row(1).id.upper()):
        assert collection.row(absent) is None and collection.thumbnail(absent) is None


def test_facets(collection):
    with writing(collection) as writer:
        writer.upsert([row(i, kind="cat" if i % 3 else "dog", year=i, ok=True, serial=f"s{i}") for i in range(60)])
        writer.upsert([row(60)])
    facets = collection.facets()
    assert facets == {"format": (("PNG", 61),), "kind": (("cat", 40), ("dog", 20)), "ok": ((True, 60),)}
    assert len(collection.facets(["serial"], limit=5)["serial"]) == 5
    assert collection.facets(["width", "year"], limit=1) == {"width": ((3, 61),), "year": ((0, 1),)}
    with pytest.raises(ValueError, match=r"'nope' has no values.*kind"):
        collection.facets(["nope"])


def test_info_and_listing(collection, embedder):
    store.open_or_create("another", embedder.spec)
    with writing(collection) as writer:
        writer.upsert([row(1)])
    another, trips = [store.Collection(name).info for name in store.list_names()]
    assert (another.name, another.rows, trips.name, trips.rows) == ("another", 0, "trips", 1)
    assert (trips.model, trips.fingerprint, trips.dim) == ("colours", embedder.spec.fingerprint, 4)
    assert trips.disk_bytes > 1000 and trips.path == str(collection.folder)


def test_removal(collection, embedder):
    with writing(collection) as writer:
        writer.upsert([row(1)])
    store.remove("trips")
    assert store.list_names() == [] and not list(collection.folder.parent.glob(".removed*"))
    for look in (collection.count, collection.state, collection.manifest, lambda: collection.info,
                 lambda: collection.thumbnail(row(1).id), lambda: store.Collection("trips"),
                 lambda: store.remove("trips")):
        with pytest.raises(CollectionNotFound, match="no collection 'trips'"):
            look()
    assert store.open_or_create("trips", embedder.spec).count() == 0


def test_not_found_names_what_there_is(collection):
    with pytest.raises(CollectionNotFound, match="there are: trips"):
        store.Collection("trip")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "x" * 101, "a\n", "a\0b"])
def test_names_that_could_leave_the_folder(name, embedder):
    for use in (store.Collection, store.remove, lambda n: store.open_or_create(n, embedder.spec)):
        with pytest.raises(ValueError, match="a collection's name"):
            use(name)


def test_another_embedder_is_refused(collection):
    other = ColourEmbedder("other").spec
    with pytest.raises(IndexMismatch, match="trips holds vectors of colours"):
        store.open_or_create("trips", other)


def test_a_killed_creation_is_made_good(embedder):
    folder = store.collection_folder("half")
    (folder / f"{store.TABLE}.lance").mkdir(parents=True)
    (folder / f"{store.TABLE}.lance" / "junk").write_text("x")
    assert store.list_names() == []
    assert store.open_or_create("half", embedder.spec).count() == 0


def test_a_table_that_is_gone_says_what_to_do(collection):
    import shutil

    shutil.rmtree(collection.folder / f"{store.TABLE}.lance")
    with pytest.raises(CollectionError, match="diptych collections remove trips"):
        store.Collection("trips")


def test_one_writer_at_a_time(collection):
    with writing(collection), pytest.raises(CollectionBusy, match=f"process {os.getpid()}"), writing(collection):
        pass
    with writing(collection):
        pass


def test_removal_waits_for_the_writer(collection):
    with writing(collection), pytest.raises(CollectionBusy):
        store.remove("trips")
    assert collection.count() == 0


def test_the_lease_of_a_killed_process_is_free(collection):
    code = ("import sys, time\nfrom diptych.index import store\n"
            "with store.lease('trips'):\n    print('held', flush=True)\n    time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(CollectionBusy, match=f"process {child.pid}"), writing(collection):
            pass
        child.kill()
        child.wait()
    with writing(collection):
        pass


def test_creation_from_many_threads(embedder):
    errors = []

    def create():
        try:
            store.open_or_create("shared", embedder.spec)
        except CollectionBusy:
            pass  # another is just creating it: a fair answer
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and store.list_names() == ["shared"]
