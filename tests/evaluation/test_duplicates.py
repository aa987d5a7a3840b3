"""Twins that were put there on purpose, by each look."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from worlds import constant, dataset, embedded, unit

from diptych.evaluation import duplicates as module
from diptych.evaluation.duplicates import DuplicatesConfig, duplicates

VECTORS = DuplicatesConfig(distance=None)
PIXELS = DuplicatesConfig(distance=None, cosine=None)


def _drawing(seed: int, side: int = 64) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def test_each_look_finds_its_twin_and_the_strictest_is_named():
    parts = ["train"] * 3 + ["val"] + ["test"] * 5
    drawings = [_drawing(seed) for seed in range(9)]
    drawings[5] = drawings[1].resize((40, 40))
    vectors = np.eye(9, 16)
    vectors[6] = vectors[2] + 0.1 * vectors[6]
    vectors[4] = vectors[0]
    vectors[8] = vectors[7]
    made = dataset([""] * 9, {"split": parts}, same=[0, 1, 2, 3, 0, 5, 6, 7, 8])
    found = duplicates(embedded(made, vectors, pictures=drawings), DuplicatesConfig())
    assert list(found.ids) == ["p4", "p5", "p6", "p7", "p8"]
    assert found.details["train_twin"] == ["p0", "p1", "p2", "", ""]
    assert found.details["train_twin_by"] == ["same_pixels", "alike", "near_vector", "", ""]
    assert found.figure("twin_in_train") == pytest.approx(3 / 5)
    assert found.values["twin_in_train_same_pixels"].tolist() == [1, 0, 0, 0, 0]
    assert found.values["twin_in_train_near_vector"].tolist() == [1, 0, 1, 0, 0]
    assert found.details["test_twin"] == ["", "", "", "p8", "p7"] and found.figure("twin_in_test") == 2 / 5
    assert found.lower == set(found.values)


def test_a_picture_that_is_only_like_one_that_is_like_another_is_no_twin_of_that():
    grey = [Image.new("RGB", (64, 64), (level, level, level)) for level in (100, 120, 140)]
    made = dataset([""] * 3, {"split": ["train", "", "test"]})
    hashed = DuplicatesConfig(cosine=None)
    assert duplicates(embedded(made, np.eye(3), pictures=grey), hashed).figure("twin_in_train") == 0
    made = dataset([""] * 3, {"split": ["train", "train", "test"]})
    chained = duplicates(embedded(made, np.eye(3), pictures=grey), hashed)
    assert chained.details["train_twin"] == ["p1"]
    made = dataset([""] * 3, {"split": ["train", "test", "test"]})
    assert duplicates(embedded(made, np.eye(3), pictures=grey), hashed).details["train_twin"] == ["p0", ""]


def test_validation_counts_as_training_and_pictures_of_no_part_as_nothing():
    made = dataset([""] * 4, {"split": ["val", "test", "", "test"]}, same=[0, 0, 2, 2])
    found = duplicates(embedded(made, np.eye(4)), PIXELS)
    assert found.values["twin_in_train"].tolist() == [1, 0] and found.values["twin_in_test"].tolist() == [0, 0]


def test_without_a_column_all_pictures_are_one_test():
    made = dataset([""] * 4, same=[0, 1, 0, 0])
    found = duplicates(embedded(made, np.eye(4)), PIXELS)
    assert found.details["test_twin"] == ["p2", "", "p0", "p0"] and "twin_in_train" not in found.values


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 5), st.integers(0, 99))
def test_blocks_find_what_the_whole_matrix_does(tests, others, block, seed):
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(tests + others, 3)))
    made = dataset([""] * (tests + others), {"split": ["test"] * tests + ["train"] * others})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = duplicates(embedded(made, vectors), DuplicatesConfig(distance=None, cosine=0.8))
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    for side, part in {"train": cosines[:tests, tests:], "test": cosines[:tests, :tests]}.items():
        expected = [f"p{row.argmax() + (tests if side == 'train' else 0)}" if len(row) and row.max() >= 0.8 else ""
                    for row in part]
        assert found.details[f"{side}_twin"] == expected


def test_a_constant_embedder_sees_twins_everywhere_and_labels_play_no_part():
    parts = ["train"] * 10 + ["test"] * 10
    blind = duplicates(embedded(dataset(["a", "b"] * 10, {"split": parts}), constant(20)), VECTORS)
    assert blind.figure("twin_in_train") == blind.figure("twin_in_test") == 1  # of which less is better
    vectors = np.random.default_rng(0).normal(size=(20, 16))
    for labels in (["a", "b"] * 10, ["b"] * 20):
        assert duplicates(embedded(dataset(labels, {"split": parts}), vectors), VECTORS).figure("twin_in_train") == 0


@pytest.mark.parametrize(("columns", "what"), [
    ({"split": ["train", ""]}, "no picture of the part"),
    ({"split": ["train", "holdout"]}, "names the parts 'holdout'")])
def test_what_has_no_test_is_refused(columns, what):
    with pytest.raises(ValueError, match=what):
        duplicates(embedded(dataset(["", ""], columns), np.eye(2)), VECTORS)


def test_a_column_that_is_named_must_be_there():
    made = dataset(["", ""], {"vendor": ["a", "b"]})
    with pytest.raises(ValueError, match=r"no column 'part' .* the others are vendor"):
        duplicates(embedded(made, np.eye(2)), DuplicatesConfig(column="part"))


@pytest.mark.parametrize(("config", "what"), [({"distance": 64}, "bits"), ({"cosine": 1.5}, "cosine")])
def test_looks_have_bounds(config, what):
    with pytest.raises(ValueError, match=what):
        DuplicatesConfig(**config)
