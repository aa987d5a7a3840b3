"""Accuracy, recall and average precision against scikit-learn where nothing ties, and by hand where it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    recall_score,
    top_k_accuracy_score,
)

from diptych.evaluation.metrics.classification import (
    accuracy_at_k,
    mean_average_precision,
    mean_per_class_recall,
)


def problem(seed, samples=200, classes=7):
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(classes), rng.integers(0, classes, samples - classes)])
    scores = rng.normal(size=(samples, classes))
    scores[np.arange(samples), target] += 1
    return scores, target, rng.uniform(0.1, 3, samples)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_without_ties_it_is_scikit_learns(seed, k):
    scores, target, weights = problem(seed)
    hits = accuracy_at_k(scores, target, k)
    assert hits.mean() == pytest.approx(top_k_accuracy_score(target, scores, k=k))
    assert weights @ hits / weights.sum() == pytest.approx(
        top_k_accuracy_score(target, scores, k=k, sample_weight=weights))


def test_recall_of_classes_is_scikit_learns():
    scores, target, weights = problem(1)
    best, right = scores.argmax(axis=1), accuracy_at_k(scores, target)
    assert mean_per_class_recall(right, target)() == pytest.approx(recall_score(target, best, average="macro"))
    assert mean_per_class_recall(right, target)(weights) == pytest.approx(
        balanced_accuracy_score(target, best, sample_weight=weights))


def test_a_class_without_weight_is_left_out():
    right, target = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 3])
    assert mean_per_class_recall(right, target)() == pytest.approx((0.5 + 1 + 0) / 3)
    assert mean_per_class_recall(right, target)(np.array([1.0, 3.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert np.isnan(mean_per_class_recall(right, target)(np.zeros(4)))


def test_a_tie_is_wrong_and_so_is_nan():
    scores = np.array([[0.5, 0.5, 0.1], [0.5, 0.5 - 5e-7, 0.1], [0.5, 0.4, 0.5 + 5e-7], [np.nan, 0.4, 0.3],
                       [0.5, np.nan, 0.3]])
    target = np.zeros(5, int)
    assert accuracy_at_k(scores, target).tolist() == [0, 0, 0, 0, 0]
    assert accuracy_at_k(scores, target, 2).tolist() == [1, 1, 1, 0, 1]
    assert accuracy_at_k(scores - [0, 0.1, 0.1], target).tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("value", [0.0, 1 / 3, -7.5])
def test_a_scorer_that_says_the_same_of_all_is_never_right(value):
    scores, target = np.full((70, 7), value, np.float32), np.arange(70) % 7
    assert accuracy_at_k(scores, target, 6).max() == 0


def test_average_precision_of_several_labels_is_scikit_learns():
    rng = np.random.default_rng(2)
    scores, relevant, weights = rng.normal(size=(90, 5)), rng.random((90, 5)) < 0.3, rng.uniform(0.1, 3, 90)
    for each in (np.ones(90), weights):
        assert mean_average_precision(scores, relevant)(each) == pytest.approx(
            average_precision_score(relevant, scores, sample_weight=each))
    # zeroshot_classification.py of CLIP_benchmark 1.6.2, which sorts and takes the precision at each positive
    order = np.argsort(-scores, axis=0)
    truth = np.take_along_axis(relevant, order, axis=0)
    precision = truth.cumsum(axis=0) / np.arange(1, 91)[:, None]
    by_class = (precision * truth).sum(axis=0) / truth.sum(axis=0)
    assert mean_average_precision(scores, relevant)(np.ones(90)) == pytest.approx(by_class.mean())


def test_a_mean_average_precision_is_worth_less_than_its_rarest_class():
    relevant = np.stack([np.arange(40) < 20, np.arange(40) >= 37, np.ones(40, bool), np.zeros(40, bool)], axis=1)
    scores = relevant + np.arange(40)[:, None] / 100  # all right
    one = mean_average_precision(scores, relevant)
    assert one(np.ones(40)) == 1
    worse = mean_average_precision(np.vstack([scores[:, :2], [-1.0, 9.0]]),
                                   np.vstack([relevant[:, :2], [False, False]]))
    assert 1 - worse(np.ones(41)) == pytest.approx(1 / one.worth_of(np.arange(40)))  # a negative before three of three


def test_a_label_that_no_sample_has_is_left_out():
    scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.2]])
    relevant = np.array([[False, False, True], [True, False, True]])
    assert mean_average_precision(scores, relevant)(np.ones(2)) == pytest.approx(0.5)
    assert np.isnan(mean_average_precision(scores, np.zeros((2, 3), bool))(np.ones(2)))


def test_bad_input_is_refused():
    scores, target = np.zeros((2, 3)), np.array([0, 3])
    with pytest.raises(ValueError, match="numbered 0 to 2, got 0 to 3"):
        accuracy_at_k(scores, target)
    for k in (0, 3):
        with pytest.raises(ValueError, match=f"between 1 and 2, got {k}"):
            accuracy_at_k(scores, np.array([0, 1]), k)
