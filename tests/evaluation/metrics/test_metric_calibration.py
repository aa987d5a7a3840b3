"""Calibration against scikit-learn's and against bins filled by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from diptych.evaluation.metrics.calibration import bins, brier, ece


def said(seed, samples=500):
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.7, 0.7, samples)
    right, weights = rng.random(samples) < probability**1.5, rng.integers(0, 4, samples)
    return probability, right.astype(float), weights.astype(float)


def test_the_curve_is_scikit_learns():
    probability, right, _ = said(0)
    found = bins(probability, right, count=10)
    shown, meant = calibration_curve(right, probability, n_bins=10)
    np.testing.assert_allclose([one.said for one in found], meant)
    np.testing.assert_allclose([one.right for one in found], shown)
    assert sum(one.count for one in found) == 500


def test_brier_is_scikit_learns():
    probability, right, weights = said(1)
    found = brier(probability, right)
    assert found.mean() == pytest.approx(brier_score_loss(right, probability))
    assert np.average(found, weights=weights) == pytest.approx(
        brier_score_loss(right, probability, sample_weight=weights))


def test_error_by_hand():
    probability, right = np.array([0.1, 0.2, 0.6, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    # below and above one half: |0.15 − 0.5| · 2/5 + |2.5/3 − 2/3| · 3/5
    assert ece(probability, right, count=2)() == pytest.approx(0.35 * 2 / 5 + (2.5 - 2) / 3 * 3 / 5)
    assert ece(probability, right, count=1)() == pytest.approx(abs(2.8 - 3) / 5)


@settings(deadline=None, max_examples=60)
@given(arrays(np.int64, 60, elements=st.integers(0, 3)), st.integers(1, 20))
def test_a_weight_is_so_many_copies_and_the_error_that_of_the_curve(copies, count):
    probability, right, _ = said(2, 60)
    taken = np.repeat(np.arange(60), copies)
    curve = bins(probability[taken], right[taken], count)
    expected = sum(one.count * abs(one.said - one.right) for one in curve) / max(len(taken), 1)
    np.testing.assert_allclose(ece(probability, right, count)(copies.astype(float)), expected or np.nan, atol=1e-12)


def test_perfect_and_worst():
    right = np.array([0.0, 1.0, 1.0])
    assert ece(right, right)() == brier(right, right).mean() == 0
    assert ece(1 - right, right)() == brier(1 - right, right).mean() == 1


def test_what_is_no_probability_is_refused():
    right = np.ones(2)
    for wrong in (np.array([0.5, 1.2]), np.array([0.5, np.nan]), np.array([-0.1, 0.5])):
        with pytest.raises(ValueError, match="between 0 and 1"):
            ece(wrong, right)
    with pytest.raises(ValueError, match="at least one bin, got 0"):
        bins(right, right, count=0)
    assert np.isnan(ece(right, right)(np.zeros(2)))
