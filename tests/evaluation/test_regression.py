"""The regression against scikit-learn's own, and the search of its decay against the whole grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from diptych.evaluation.regression import best_decay, fit


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_scikit_learns_wherever_it_starts(classes):
    rng = np.random.default_rng(0)
    target = rng.integers(classes, size=200)
    features = rng.normal(size=(classes, 5))[target] + rng.normal(size=(200, 5))
    oracle = LogisticRegression(C=1 / 3.0, tol=1e-10, max_iter=10_000).fit(features, target).predict_proba(features)
    for start in (None, fit(features, target, classes, decay=100.0)):
        found = fit(features, target, classes, decay=3.0, start=start)
        # the slope ends below 1e-5 and the loss bends by at least 3 / 200: weights are within 0.0007
        np.testing.assert_allclose(softmax(found.logits(features), axis=1), oracle, atol=1e-3)


def test_an_endless_decay_names_classes_by_their_frequency():
    target = np.array([0, 2, 2, 2])
    found = fit(np.random.default_rng(0).normal(size=(4, 3)), target, classes=3, decay=1e9)
    np.testing.assert_allclose(softmax(found.logits(np.zeros((1, 3))), axis=1), [[0.25, 0, 0.75]], atol=1e-6)


def test_a_class_without_pictures_is_never_named():
    features = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    found = fit(features, np.array([0, 0, 3, 3]), classes=4, decay=1.0)
    assert found.logits(features).argmax(axis=1).tolist() == [0, 0, 3, 3]
    assert np.isneginf(found.logits(features)[:, 1:3]).all()


def test_features_that_are_all_alike_tie():
    found = fit(np.zeros((9, 3), np.float32), np.arange(9) % 3, classes=3, decay=1.0)
    assert len(set(found.logits(np.zeros((1, 3), np.float32))[0].tolist())) == 1


def test_one_picture_of_each_of_many_classes_and_one_step_are_no_cause_for_warnings():
    found = fit(np.eye(30), np.arange(30), classes=30, decay=1e-3, iterations=1)
    assert found.logits(np.eye(30)).argmax(axis=1).tolist() == list(range(30))


def test_one_class_has_no_line():
    with pytest.raises(ValueError, match="one only"):
        fit(np.zeros((3, 2)), np.array([1, 1, 1]), classes=2, decay=1.0)


@settings(deadline=None, max_examples=100)
@given(st.floats(-6, 6), st.floats(0.1, 4))
def test_the_search_finds_the_peak_of_the_whole_grid(peak, width):
    asked = []

    def accuracy(decay):
        asked.append(np.log10(decay))
        return -abs(np.log10(decay) - peak) / width

    grid = np.linspace(-6, 6, 97)  # eight a decade
    assert np.log10(best_decay(accuracy)) == pytest.approx(min(grid, key=lambda at: abs(at - peak)), abs=0.125 + 1e-9)
    assert len(asked) <= 15 and asked[:7] == pytest.approx([6, 4, 2, 0, -2, -4, -6])


def test_of_equal_decays_the_greatest():
    assert best_decay(lambda decay: float(decay < 150)) == pytest.approx(10**2.125)
