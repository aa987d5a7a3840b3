"""Detection against scikit-learn, ties included, and rates counted by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from diptych.evaluation.metrics.detection import auroc, average_precision, fpr_at_tpr


@settings(deadline=None, max_examples=100)
@given(arrays(np.int8, 30, elements=st.integers(0, 9)), arrays(bool, 30),
       st.none() | arrays(np.float64, 30, elements=st.integers(0, 3)))
def test_areas_are_scikit_learns(levels, positive, weights):
    score = levels / 7
    counted = np.ones(30) if weights is None else weights
    if not (counted[positive].any() and counted[~positive].any()):
        for figure in (auroc, average_precision, fpr_at_tpr):
            assert np.isnan(figure(score, positive)(counted))
        return
    assert auroc(score, positive)(counted) == pytest.approx(roc_auc_score(positive, score, sample_weight=weights))
    assert average_precision(score, positive)(counted) == pytest.approx(
        average_precision_score(positive, score, sample_weight=weights))


def test_one_score_for_all_is_chance():
    score, positive, even = np.full(10, 0.3), np.arange(10) < 3, np.ones(10)
    assert auroc(score, positive)(even) == 0.5 and average_precision(score, positive)(even) == pytest.approx(0.3)
    assert fpr_at_tpr(score, positive)(even) == 1


def test_nan_is_a_failure():
    positive, even = np.array([True, True, False, False]), np.ones(4)
    assert auroc(np.array([np.nan, 0.9, 0.1, 0.2]), positive)(even) == 0.5
    assert auroc(np.array([0.8, 0.9, 0.1, np.nan]), positive)(even) == 0.5
    assert auroc(np.full(4, np.nan), positive)(even) == 0
    assert fpr_at_tpr(np.array([0.8, 0.9, 0.1, np.nan]), positive)(even) == 0.5
    assert fpr_at_tpr(np.array([np.nan, 0.9, 0.1, 0.2]), positive)(even) == 1


@settings(deadline=None, max_examples=60)
@given(arrays(np.int8, 40, elements=st.integers(0, 30)), arrays(bool, 40), st.floats(0.01, 1),
       arrays(np.float64, 40, elements=st.integers(0, 3)))
def test_the_rate_at_a_rate_is_on_scikit_learns_curve(levels, positive, rate, weights):
    assume(weights[positive].any() and weights[~positive].any())
    score = levels / 7
    false, true, _ = roc_curve(positive, score, drop_intermediate=False, sample_weight=weights)
    first = int(np.argmax(true >= rate - 1e-9))
    assert fpr_at_tpr(score, positive, rate)(weights) == pytest.approx(false[first])


def test_twenty_positives_need_nineteen():
    score, positive = np.arange(40) / 40, np.arange(40) >= 20
    score[10] = score[20]  # as good as the lowest positive, which is the one that may be missed
    assert fpr_at_tpr(score, positive)(np.ones(40)) == 0  # though 0.95 · 20 rounds up to a bit more than 19


def test_a_figure_is_worth_the_units_of_its_rarer_kind():
    positive = np.arange(10) < 4
    figure = auroc(np.zeros(10), positive)
    assert figure.worth_of(np.arange(10)) == 4
    assert figure.worth_of(np.array([0, 0, 0, -1, 1, 2, 3, 4, 5, 6])) == 1  # three positives are one group, one is out
    assert figure.worth_of(np.where(positive, -1, np.arange(10))) == 6 and figure.worth_of(np.full(10, -1)) == 0


def test_a_rate_that_is_none():
    for rate in (0.0, 1.1):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            fpr_at_tpr(np.array([0.1, 0.2]), np.array([True, False]), rate)
