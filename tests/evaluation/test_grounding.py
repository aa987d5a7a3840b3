"""Boxes of heat maps drawn by hand, and what blind maps score."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from worlds import constant, dataset, embedded

from diptych.data.regions import Region
from diptych.evaluation.embedded import Looks
from diptych.evaluation.grounding import GroundingConfig, grounding, heat_box

DEFAULT = GroundingConfig()


def test_the_box_is_around_the_hot_part_with_the_greatest_value():
    heat = np.zeros((4, 10))
    heat[0, :6] = 0.8  # larger, and not the hottest
    heat[2:4, 7:9] = [[0.6, 1.0], [0.4, 0.5]]
    assert heat_box(heat, 0.5) == (0.7, 0.5, 0.9, 1.0)
    assert heat_box(heat, 1.0) == (0.8, 0.5, 0.9, 0.75)
    assert heat_box(heat - 7, 0.5) == heat_box(heat * 3, 0.5) == heat_box(heat, 0.5)


def test_of_two_hottest_parts_the_larger():
    heat = np.array([[1.0, 0.0, 0.7, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert heat_box(heat) == (0.5, 0.0, 1.0, 0.5)


def test_a_flat_map_points_nowhere():
    assert heat_box(np.full((3, 3), 0.4)) is None
    assert heat_box(0.4 + 1e-7 * np.eye(3)) is None and heat_box(np.full((3, 3), np.nan)) is None


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, (5, 7), elements=st.floats(-1, 1)), st.floats(0.01, 1))
def test_the_box_holds_the_peak_and_shrinks_with_the_threshold(heat, threshold):
    box = heat_box(heat, threshold)
    if box is None:
        assert np.ptp(heat) <= 1e-6
        return
    left, top, right, bottom = box
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    inside = heat[round(top * 5) : round(bottom * 5), round(left * 7) : round(right * 7)]
    assert inside.max() == heat.max()
    if (heat == heat.max()).sum() == 1:
        outer = heat_box(heat, threshold / 2)
        assert outer[0] <= left and outer[1] <= top and outer[2] >= right and outer[3] >= bottom


def _found(regions, heat, config=DEFAULT, columns=None, count=60):
    """`heat(picture, phrase)`; a picture is known by its colour."""
    data = replace(dataset([""] * count, columns), regions={i: tuple(tested) for i, tested in regions.items()})
    pictures = [Image.new("RGB", (2, 2), (number, 0, 0)) for number in range(count)]

    def heats(picture, texts):
        return np.stack([heat(picture.getpixel((0, 0))[0], text) for text in texts])
    return grounding(replace(embedded(data, constant(count), pictures=pictures), looks=Looks(heat=heats)), config)


def _regions(count: int, seed: int = 0) -> dict[int, list[Region]]:
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 7, (count, 2)) / 10
    return {number: [Region(box=(x, y, x + 0.3, y + 0.3), text=f"thing {number}")]
            for number, (x, y) in enumerate(places.tolist())}


def _drawn(region: Region) -> np.ndarray:
    left, top, right, bottom = (round(20 * side) for side in region.box)
    heat = np.zeros((20, 20))
    heat[top:bottom, left:right] = 1
    return heat


def test_maps_that_know_score_one_and_overlaps_are_counted_by_hand():
    vendors = {"vendor": ["a", "a", "b"]}
    regions = {0: [Region(box=(0.0, 0.0, 0.5, 0.5), text="dog")],
               2: [Region(box=(0.0, 0.0, 1.0, 0.5), text="cat"), Region(box=(0.5, 0.5, 1.0, 1.0), text="cat")]}
    quarter = np.array([[1.0, 0.0], [0.0, 0.0]])
    found = _found(regions, lambda picture, phrase: quarter, columns=vendors, count=3)
    assert found.values["iou"].tolist() == pytest.approx([1, 1 / 2, 0])
    assert found.values["acc@iou0.5"].tolist() == [1, 1, 0] and found.slices == {"vendor": ["a", "b", "b"]}
    assert found.groups == ["p0", "p2", "p2"] and len(set(found.ids)) == 3
    assert found.chance["acc@iou0.5"] == pytest.approx(1 / 3)
    strict = _found(regions, lambda picture, phrase: quarter, GroundingConfig(overlap=0.75), count=3)
    assert strict.figure("acc@iou0.75") == pytest.approx(1 / 3)


def test_flat_maps_score_nothing_and_those_of_other_pictures_what_chance_gives():
    regions = _regions(60)
    flat = _found(regions, lambda picture, phrase: np.ones((20, 20)))
    assert flat.figure("acc@iou0.5") == 0 <= flat.chance["acc@iou0.5"]
    know = {f"thing {number}": _drawn(found[0]) for number, found in regions.items()}
    assert _found(regions, lambda picture, phrase: know[phrase]).figure("acc@iou0.5") == 1
    maps = list(know.values())
    chance = np.mean([_found(regions, lambda picture, phrase, shift=shift: maps[(picture + shift) % 60])
                      .figure("acc@iou0.5") for shift in range(60)])
    order = np.random.default_rng(1).permutation(60)
    shuffled = _found(regions, lambda picture, phrase: maps[order[picture]])
    # four standard errors of sixty draws
    assert abs(shuffled.figure("acc@iou0.5") - chance) < 4 * np.sqrt(chance * (1 - chance) / 60)


def test_where_a_part_is_called_test_its_pictures_alone_are_tested():
    parts = {"split": ["train", "test", "test"] * 20}
    found = _found(_regions(60), lambda picture, phrase: np.eye(4), columns=parts)
    assert found.groups == [f"p{number}" for number in range(60) if number % 3] and not found.slices


@pytest.mark.parametrize("regions", [{}, {0: []}, {0: [Region(box=(0, 0, 1, 1), text="x")]}])
def test_what_cannot_be_grounded_says_why(regions):
    with pytest.raises(ValueError, match="made up has no regions to test"):
        _found(regions, lambda picture, phrase: np.eye(2), columns={"split": ["train", "test"]}, count=2)


def test_a_model_that_shows_no_patches_cannot_be_tested():
    data = replace(dataset([""]), regions={0: (Region(box=(0, 0, 1, 1), text="x"),)})
    with pytest.raises(ValueError, match="made up has no patch features"):
        grounding(embedded(data, constant(1)), GroundingConfig())


@pytest.mark.parametrize("config", [{"threshold": 0.0}, {"overlap": 1.5}])
def test_shares_have_bounds(config):
    with pytest.raises(ValueError, match="at most 1"):
        GroundingConfig(**config)
