"""FairFace, Dollar Street and GeoDE: the columns come through, and a group can be the worst."""

import re

import pytest
from layouts import dollar_street, fairface, geode, opened, put, write, write_csv
from worlds import embedded, knowing

from diptych.core.errors import SourceError
from diptych.evaluation.fairness import WorstGroupConfig, worst_group
from diptych.evaluation.sets import Columns
from diptych.evaluation.zero_shot import ZeroShotConfig, names_of, zero_shot


@pytest.mark.parametrize("place", ["", "fairface-img-margin025-trainval/"])
def test_fairface_tells_race_or_what_is_asked_for(tmp_path, place):
    fairface(tmp_path)
    if place:
        (tmp_path / place).mkdir()
        (tmp_path / "val").rename(tmp_path / place / "val")
    data = opened("fairface", tmp_path)
    assert data.labels == ("East Asian", "Latino_Hispanic", "Black") and set(data.columns) == {"age", "gender"}
    assert names_of(data) == ["Black", "East Asian", "Latino or Hispanic"]
    assert data.templates[0] == "a photo of a {} person" and data.ids[0] == f"{place}val/1.jpg"
    told = opened("fairface", tmp_path, Columns(label="gender"))
    assert told.labels == ("Male", "Female", "Female") and names_of(told) == ["woman", "man"]
    assert told.columns["race"] == ("East Asian", "Latino_Hispanic", "Black")
    assert opened("fairface", tmp_path, Columns(label="age")).templates[0] == "a photo of a person aged {} years"


def test_dollar_street_has_regions_and_quarters_of_incomes(tmp_path):
    data = opened("dollarstreet", dollar_street(tmp_path / "dataset_dollarstreet").parent)
    assert data.labels == ("Beds", "Stoves", "Beds", "Stoves")
    assert data.columns["region"] == ("Africa", "Asia", "the Americas", "Europe")
    assert data.columns["income_quartile"] == ("1", "2", "3", "4") and data.columns["income"][1] == "321.5"
    assert data.columns["country"][3] == "France" and data.columns["imagenet"][0] == "beds"
    assert opened("dollar_street", tmp_path, Columns(label="imagenet")).classes == ("beds", "stoves")
    table = tmp_path / "dataset_dollarstreet" / "images_v2.csv"
    known = table.read_text()
    table.write_text(known.replace("55.0", "nan").replace("321.5", "-inf").replace("1200", "unknown"))
    assert opened("dollar_street", tmp_path).columns["income_quartile"] == ("", "", "", "4")
    dollar_street(tmp_path / "dataset_dollarstreet", "images_v2_imagenet_test.csv")
    (tmp_path / "dataset_dollarstreet" / "images_v2.csv").write_text("nothing")
    assert len(opened("dollar_street", tmp_path)) == 4


def test_geode_has_regions_and_countries(tmp_path):
    data = opened("geode", geode(tmp_path))
    assert data.labels == ("hand_soap", "bag", "bag") and names_of(data) == ["bag", "hand soap"]
    assert data.columns["region"] == ("Africa", "Europe", "WestAsia")
    assert data.columns["country"] == ("Nigeria", "Italy", "Jordan")
    assert data.ids[0] == "images/0.hand_soap/Nigeria_hand_soap_0.jpg"


def test_the_worst_region_is_found(tmp_path):
    rows = [{"file_path": f"{number}.jpg", "object": ("bag", "chair")[number % 2],
             "region": "Africa" if number < 12 else "Europe", "ip_country": "x"} for number in range(24)]
    write_csv(tmp_path, "index.csv", rows)
    data = opened("geode", put(tmp_path, *(f"images/{number}.jpg" for number in range(24))))
    # in Africa every bag is taken for a chair
    seen = ["chair" if number < 12 else row["object"] for number, row in enumerate(rows)]
    centres = dict(zip(("bag", "chair"), knowing(("bag", "chair"), noise=0), strict=True))
    one = embedded(data, knowing(seen, noise=0), centres)
    grouped = worst_group(zero_shot(one, ZeroShotConfig(templates="plain")), WorstGroupConfig(column="region"))
    assert grouped.figure("worst_group_acc@1") == 0.5 and grouped.figure("gap_acc@1") == 0.5


def test_what_is_missing_is_named(tmp_path):
    for name, message in {"fairface": r"has no fairface_label_val\.csv", "geode": r"has no index\.csv",
                          "dollar_street": r"has neither images_v2_imagenet_test\.csv nor images_v2\.csv"}.items():
        with pytest.raises(SourceError, match=message):
            opened(name, tmp_path)
    write(tmp_path, "fairface_label_val.csv", "file,age\nval/1.jpg,3\n")
    with pytest.raises(SourceError, match="has no column gender, race; it has file, age"):
        opened("fairface", tmp_path)
    damaged = re.escape(str(tmp_path / "fairface_label_val.csv"))
    for table, message in {b"file,age\nval/1.jpg,\xff": "invalid start byte",
                           b"file\n" + b"x" * 140000: "field larger"}.items():
        (tmp_path / "fairface_label_val.csv").write_bytes(table)
        with pytest.raises(SourceError, match=f"^{damaged} cannot be read as CSV: .*{message}"):
            opened("fairface", tmp_path)
    fairface(tmp_path)
    (tmp_path / "val" / "2.jpg").unlink()
    data = opened("fairface", tmp_path)
    assert len(data) == 2 and "val/2.jpg" in data.skipped[0][1]
    with pytest.raises(ValueError, match=r"no column 'height' .* for the label; there are"):
        opened("fairface", tmp_path, Columns(label="height"))
