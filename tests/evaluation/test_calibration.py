"""Calibration recovers a known curve, agrees with scikit-learn, and separates answerable from unanswerable queries."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from diptych.evaluation.calibration import best_cutoff, calibrate, platt


def test_platt_recovers_the_curve_that_drew_the_labels():
    rng = np.random.default_rng(0)
    cosine = rng.uniform(-0.2, 0.6, 40_000)
    match = rng.random(40_000) < 1 / (1 + np.exp(-(12 * cosine - 3)))
    scale, bias = platt(cosine, match)
    assert scale == pytest.approx(12, rel=0.05) and bias == pytest.approx(-3, rel=0.05)


def test_platt_is_scikit_learns_unpenalised_logistic_regression():
    rng = np.random.default_rng(1)
    cosine = rng.normal(0.3, 0.1, 5_000)
    match = rng.random(5_000) < 1 / (1 + np.exp(-(9 * cosine - 4)))
    oracle = LogisticRegression(C=np.inf, tol=1e-10).fit(cosine[:, None], match)
    # Platt's smoothed targets differ from 0 and 1 by 1 / (n + 2)
    assert platt(cosine, match) == pytest.approx((oracle.coef_[0, 0], oracle.intercept_[0]), rel=1e-2)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="both kinds"):
        platt(np.array([0.1, 0.2]), np.array([True, True]))


def test_the_cutoff_lies_between_two_separated_groups():
    assert best_cutoff(np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.2, 0.3])) == pytest.approx(0.4)


def test_a_removed_answer_is_below_the_cutoff_and_a_present_one_above():
    rng = np.random.default_rng(2)
    pictures = rng.normal(size=(200, 32))
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    queries = pictures[:50] + rng.normal(scale=0.05, size=(50, 32))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    match = np.zeros((50, 200), dtype=bool)
    match[np.arange(50), np.arange(50)] = True
    found = calibrate(queries, pictures, match)
    cosine = queries @ pictures.T
    assert all(found.probability(c) >= found.cutoff for c in cosine[match])
    assert all(found.probability(c) < found.cutoff for c in np.where(match, -1, cosine).max(axis=1))


def test_fewer_pictures_than_hits_are_fitted_on():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(6, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = calibrate(vectors, vectors, np.eye(6, dtype=bool))
    assert found.probability(1.0) > found.cutoff > found.probability(0.0)
