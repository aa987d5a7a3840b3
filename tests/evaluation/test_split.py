"""Splits: shares, strata, copies on one side, and what cannot be split."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import dataset

from diptych.evaluation.slices import slices
from diptych.evaluation.split import SplitConfig, split, split_pictures


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_picture_and_no_pixels_are_on_two_sides(data):
    count = data.draw(st.integers(12, 40))
    labels = ["a", "b"] * 3 + data.draw(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=count, max_size=count))
    # copies of later pictures, under whatever class; the first six stay different
    same = [*range(6), *data.draw(st.lists(st.integers(0, len(labels)), min_size=count, max_size=count))]
    columns = {}
    if data.draw(st.booleans()):
        parts = data.draw(st.lists(st.sampled_from(["train", "val", "test", ""]), min_size=count, max_size=count))
        columns["split"] = ["train", "train", "train", "train", "test", "test", *parts]
    made = dataset(labels, columns, same=same)
    try:
        found = split(made, labels, SplitConfig(seed=data.draw(st.integers(0, 9))))
    except ValueError as error:  # a class whose only pixels are tested, or too few of them
        assert any(why in str(error) for why in ("none to learn from", "one class only", "leaves no picture"))
        return
    pixels = [{same[picture] for picture in part} for part in (found.train, found.val, found.test)]
    assert not pixels[0] & pixels[1] and not pixels[0] & pixels[2] and not pixels[1] & pixels[2]
    assert all(labels[picture] for part in (found.train, found.val, found.test) for picture in part)
    assert {labels[p] for p in found.test} <= {labels[p] for p in (*found.train, *found.val)}


def test_a_draw_has_its_shares_in_every_class():
    labels = ["many"] * 100 + ["few"] * 10 + ["two"] * 2
    found = split(dataset(labels), labels, SplitConfig(test=0.2, val=0.25))
    shares = {name: Counter(labels[p] for p in part) for name, part in
              {"train": found.train, "val": found.val, "test": found.test}.items()}
    assert shares["test"] == {"many": 20, "few": 2, "two": 1}
    assert shares["val"] == {"many": 20, "few": 2} and shares["train"] == {"many": 60, "few": 6, "two": 1}


def test_a_draw_does_not_depend_on_the_order_of_the_pictures():
    labels = ["a", "b"] * 20
    straight = dataset(labels)
    turned = dataset(labels[::-1])
    object.__setattr__(turned, "ids", straight.ids[::-1])
    tests = [{data.ids[p] for p in split(data, data.labels, SplitConfig()).test} for data in (straight, turned)]
    assert tests[0] == tests[1]
    assert tests[0] != {straight.ids[p] for p in split(straight, labels, SplitConfig(seed=1)).test}


def test_the_column_is_taken_as_it_is_but_for_copies_of_tested_pictures():
    labels = ["a", "b"] * 4
    made = dataset(labels, {"split": ["train"] * 4 + ["val"] * 2 + ["test"] * 2}, same=[0, 1, 2, 6, 4, 2, 6, 7])
    found = split(made, labels, SplitConfig())
    # 3 has the pixels of the tested 6, and 2 those of 5, which validates
    assert [part.tolist() for part in (found.train, found.val, found.test)] == [[0, 1], [4, 5], [6, 7]]


def test_without_a_test_the_validation_pictures_are_the_test():
    labels = ["a", "b"] * 10
    made = dataset(labels, {"part": ["train"] * 16 + ["val"] * 4})
    found = split(made, labels, SplitConfig(column="part"))
    assert found.test.tolist() == [16, 17, 18, 19] and len(found.val) == 4 and len(found.train) == 12


def test_a_class_with_one_picture_is_left_out_of_a_draw_and_said():
    labels = ["a"] * 5 + ["b"] * 5 + ["lonely", "copied", "copied"]
    made = dataset(labels, same=[*range(11), 11, 11])
    found = split(made, labels, SplitConfig())
    assert found.left_out == ("copied", "lonely")
    assert max(*found.train, *found.val, *found.test) == 9


@pytest.mark.parametrize(("labels", "columns", "config", "what"), [
    (["a", "a", ""], {}, {}, "has only 'a'"),
    (["", ""], {"kind": ["x", "y"]}, {}, "give its pictures labels"),
    (["a", "b", "c", "c"], {}, {}, "two different pictures"),
    (["a", "b"] * 2, {"split": ["train", "train", "dev", "test"]}, {}, "names the parts 'dev'"),
    (["a", "b"] * 2, {"kind": ["x"] * 4}, {"column": "split"}, "no column 'split' .* the others are kind"),
    (["a", "b"] * 2, {}, {"column": "split"}, "it has no others"),
    (["a", "b"] * 2, {"split": ["train"] * 4}, {}, "leaves no picture to test"),
    (["a", "b"] * 2, {"split": ["test"] * 4}, {}, "leaves no picture to train"),
    (["a", "b", "a", "c"], {"split": ["train", "train", "test", "test"]}, {}, "classes 'c' .* none to learn from"),
    (["a", "a", "b", "a"], {"split": ["train", "train", "val", "test"]}, {}, "one class only"),
])
def test_what_cannot_be_split_says_why(labels, columns, config, what):
    with pytest.raises(ValueError, match=what):
        split(dataset(labels, columns), labels, SplitConfig(**config))


def test_pictures_without_classes_are_split_too():
    made = dataset([""] * 20, same=[0, 0, *range(2, 20)])
    found = split_pictures(made, range(18), SplitConfig(test=0.25, val=0.25))
    assert sorted([*found.train, *found.val, *found.test]) == list(range(18))
    assert len(found.test) in (4, 5) and len(found.val) in (3, 4)
    assert any({0, 1} <= set(part.tolist()) for part in (found.train, found.val, found.test))
    column = dataset([""] * 6, {"split": ["train", "train", "val", "test", "test", ""]})
    found = split_pictures(column, [0, 1, 2, 3, 5], SplitConfig())
    assert [part.tolist() for part in (found.train, found.val, found.test)] == [[0, 1], [2], [3]]
    with pytest.raises(ValueError, match="2 pictures of made up are too few"):
        split_pictures(made, [3, 4], SplitConfig())


@pytest.mark.parametrize("config", [{"test": 0.0}, {"test": 1.0}, {"val": 1.5}])
def test_a_share_is_between_0_and_1(config):
    with pytest.raises(ValueError, match="between 0 and 1"):
        SplitConfig(**config)


def test_slices_are_the_columns_with_few_values():
    made = dataset([""] * 30, {"two": ["x", "y"] * 15, "one": ["x"] * 30, "size": [str(i) for i in range(30)],
                               "split": ["train", "test"] * 15})
    found = slices(made, np.array([0, 1, 5]), without=["split"],
                   more={"kind": ["a", "b", "a"], "language": ["en"] * 3})
    assert found == {"two": ["x", "y", "y"], "size": ["0", "1", "5"], "kind": ["a", "b", "a"]}
    assert set(slices(made, range(30))) == {"two", "split"}
