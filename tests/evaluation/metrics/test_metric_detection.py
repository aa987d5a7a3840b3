"""Detection against scikit-learn, ties included, and rates counted by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from diptych.evaluation.metrics.detection import (
    auroc,
    average_precision,
    false_positive_rate,
    fpr_at_tpr,
    threshold_at,
    true_positive_rate,
)


@settings(deadline=None, max_examples=100)
@given(arrays(np.int8, 30, elements=st.integers(0, 9)), arrays(bool, 30),
       st.none() | arrays(np.float64, 30, elements=st.integers(0, 3)))
def test_areas_are_scikit_learns(levels, positive, weights):
    score = levels / 7
    counted = np.ones(30) if weights is None else weights
    if not (counted[positive].any() and counted[~positive].any()):
        assert np.isnan(auroc(score, positive, weights)) and np.isnan(average_precision(score, positive, weights))
        return
    assert auroc(score, positive, weights) == pytest.approx(roc_auc_score(positive, score, sample_weight=weights))
    assert average_precision(score, positive, weights) == pytest.approx(
        average_precision_score(positive, score, sample_weight=weights))


def test_one_score_for_all_is_chance():
    score, positive = np.full(10, 0.3), np.arange(10) < 3
    assert auroc(score, positive) == 0.5 and average_precision(score, positive) == pytest.approx(0.3)
    assert fpr_at_tpr(score, positive).value == 1


def test_nan_is_a_failure():
    positive = np.array([True, True, False, False])
    assert auroc(np.array([np.nan, 0.9, 0.1, 0.2]), positive) == 0.5
    assert auroc(np.array([0.8, 0.9, 0.1, np.nan]), positive) == 0.5
    assert auroc(np.full(4, np.nan), positive) == 0
    assert false_positive_rate(np.array([0.8, 0.9, 0.1, np.nan]), positive, 0.5).value == 0.5
    assert true_positive_rate(np.array([np.nan, 0.9, 0.1, 0.2]), positive, 0.5).value == 0.5


@settings(deadline=None, max_examples=60)
@given(arrays(np.int8, 40, elements=st.integers(0, 30)), arrays(bool, 40), st.floats(0.01, 1))
def test_the_rate_at_a_rate_is_on_scikit_learns_curve(levels, positive, rate):
    assume(positive.any() and not positive.all())
    score = levels / 7
    false, true, thresholds = roc_curve(positive, score, drop_intermediate=False)
    first = int(np.argmax(true >= rate - 1e-9))
    assert threshold_at(score, positive, rate) == thresholds[first]
    found = fpr_at_tpr(score, positive, rate)
    assert found.value == pytest.approx(false[first]) and found.count == (~positive).sum()
    assert true_positive_rate(score, positive, thresholds[first]).value == pytest.approx(true[first])


def test_twenty_positives_need_nineteen():
    score, positive = np.arange(40) / 40, np.arange(40) >= 20
    assert threshold_at(score, positive, 0.95) == score[21]  # and not of all, though 0.95 · 20 rounds up to a bit more


@pytest.mark.parametrize(("accepted", "count"), [(0, 12), (3, 12), (12, 12), (1, 1), (250, 1000)])
def test_intervals_are_scipys(accepted, count):
    score, positive = (np.arange(count) < accepted).astype(float), np.zeros(count, bool)
    found = false_positive_rate(score, positive, 0.5)
    expected = binomtest(accepted, count).proportion_ci(method="wilson")
    assert found.value == accepted / count and found.count == count
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-12)


def test_rates_of_nothing_and_bad_rates():
    score, positive = np.array([0.1, 0.2]), np.array([True, True])
    assert np.isnan(false_positive_rate(score, positive, 0.1)[:3]).all()
    with pytest.raises(ValueError, match="no sample is positive"):
        threshold_at(score, ~positive, 0.5)
    for rate in (0.0, 1.1):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            threshold_at(score, positive, rate)
