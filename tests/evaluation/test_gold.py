"""Gold sets of every kind, and what is said of rows that cannot be used."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.core.errors import SourceError
from diptych.evaluation.dataset import Caption
from diptych.evaluation.gold import INCOMPLETE, UNKNOWN, read_gold

THERE = {"a" * 64: [0], "/photos/boat.jpg": [0], "/photos/cat.jpg": [1], "s3://x/dog.png": [2]}


def find(name):
    return THERE.get(name, ())


def lines(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_every_kind_of_table_says_the_same(tmp_path):
    rows = [{"query": "a boat", "expected": ["a" * 64, "s3://x/dog.png"], "language": "en"},
            {"query": "eine Katze", "expected": ["/photos/cat.jpg"], "language": "de"}]
    pairs = "query,expected,language\na boat,/photos/boat.jpg,en\neine Katze,/photos/cat.jpg,de\na boat,s3://x/dog.png,en\n"
    (tmp_path / "gold.csv").write_text(pairs)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gold.parquet")
    for path in (lines(tmp_path / "gold.jsonl", rows), tmp_path / "gold.csv", tmp_path / "gold.parquet"):
        found = read_gold(path, find)
        assert found.captions == (Caption(text="a boat", language="en", pictures=(0, 2)),
                                  Caption(text="eine Katze", language="de", pictures=(1,)))
        assert found.skipped == ()
    assert [c.text for c in read_gold(tmp_path / "gold.csv", find, ["de"]).captions] == ["eine Katze"]


def test_what_cannot_be_used_is_listed(tmp_path):
    path = lines(tmp_path / "gold.jsonl", [
        {"query": "a boat", "expected": ["/photos/boat.jpg", "/photos/gone.jpg"]}, {"query": "nothing", "expected": []},
        {"expected": ["/photos/cat.jpg"]}, "no JSON", {"query": "gone", "expected": "/photos/gone.jpg"}])
    found = read_gold(path, find)
    assert found.captions == (Caption(text="a boat", pictures=(0,)),)
    assert found.skipped == (
        ("a boat → /photos/gone.jpg", UNKNOWN),
        (f"{path}, row 2", f"{INCOMPLETE}; its columns are query, expected"),
        (f"{path}, row 3", f"{INCOMPLETE}; its columns are expected"),
        (f"{path}:4", "line is not JSON"), ("gone → /photos/gone.jpg", UNKNOWN))


def test_a_path_starts_at_the_files_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    path = lines(tmp_path / "sub" / "gold.jsonl", [{"query": "x", "expected": ["../boat.jpg"]}])
    there = {str(tmp_path / "boat.jpg"): [7]}
    assert read_gold(path, lambda name: there.get(name, ())).captions[0].pictures == (7,)


@pytest.mark.parametrize(("rows", "says"), [
    ([{"query": "x", "expected": ["gone"]}], "no query with a picture that is there; the first: x → gone"),
    ([{"text": "x"}], "a row is"), ([], "ids or URIs as `diptych search")])
def test_a_gold_set_of_nothing_is_an_error(tmp_path, rows, says):
    with pytest.raises(SourceError, match=f"(?i){says}"):
        read_gold(lines(tmp_path / "gold.jsonl", rows), find)
    with pytest.raises(SourceError, match="is no table"):
        read_gold(tmp_path / "gold.txt", find)
    with pytest.raises(SourceError, match="cannot be read"):
        read_gold(tmp_path / "missing.jsonl", find)
