"""Choices by hand, by Winoground's own definition, and by lot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.evaluation.metrics.choice import WINOGROUND_CHANCE, chance, true_over_negative, winoground


def result(scores):
    """Winoground's evaluation script, one sample, with its names."""
    s = {"c0_i0": scores[0, 0], "c0_i1": scores[0, 1], "c1_i0": scores[1, 0], "c1_i1": scores[1, 1]}
    text = s["c0_i0"] > s["c1_i0"] and s["c1_i1"] > s["c0_i1"]
    image = s["c0_i0"] > s["c0_i1"] and s["c1_i1"] > s["c1_i0"]
    return text, image, text and image


@settings(deadline=None, max_examples=100)
@given(arrays(np.float64, (20, 2, 2), elements=st.sampled_from([0.1, 0.2, 0.3, np.nan])))
def test_it_is_winogrounds_definition(scores):
    found = winoground(scores)
    assert [tuple(map(bool, row)) for row in zip(found["text"], found["image"], found["group"], strict=True)] == [
        tuple(map(bool, result(one))) for one in scores]


def test_text_is_about_the_caption_and_image_about_the_picture():
    found = winoground(np.array([[[0.5, 0.6], [0.4, 0.7]], [[0.5, 0.4], [0.6, 0.7]], [[0.5, 0.1], [0.1, 0.7]]]))
    assert found["text"].tolist() == [1, 0, 1]
    assert found["image"].tolist() == [0, 1, 1]
    assert found["group"].tolist() == [0, 0, 1]


def test_scores_drawn_by_lot_reach_chance():
    rng = np.random.default_rng(0)
    found = winoground(rng.random((20_000, 2, 2)))
    for name, expected in WINOGROUND_CHANCE.items():
        assert found[name].mean() == pytest.approx(expected, abs=0.012)  # four standard errors
    for negatives in (1, 4):
        right = true_over_negative(rng.random(20_000), rng.random((20_000, negatives)))
        assert right.mean() == pytest.approx(chance(negatives), abs=0.0142)


@pytest.mark.parametrize("value", [0.0, 0.3, np.nan, np.inf])
def test_one_score_for_all_is_never_right(value):
    assert all(not found.any() for found in winoground(np.full((5, 2, 2), value)).values())
    assert not true_over_negative(np.full(5, value), np.full((5, 3), value)).any()


def test_the_true_caption_beats_every_negative():
    true = np.array([0.5, 0.5, 0.5, np.nan, 0.5])
    negative = np.array([[0.1, 0.2], [0.1, 0.5], [0.1, 0.6], [0.1, 0.2], [0.1, np.nan]])
    assert true_over_negative(true, negative).tolist() == [1, 0, 0, 0, 0]
    assert true_over_negative(true, negative[:, 0]).tolist() == [1, 1, 1, 0, 1]
