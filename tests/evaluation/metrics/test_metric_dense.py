"""Overlaps against scikit-learn's Jaccard index, depths against plain loops."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from diptych.evaluation.metrics.dense import delta_1, mean_iou, overlaps, rmse


def maps(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (3, 8, 9))
    return np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape)), truth


def test_overlap_is_scikit_learns():
    predicted, truth = maps()
    found = [overlaps(one, other, 4) for one, other in zip(predicted, truth, strict=True)]
    both, either = (np.stack(side) for side in zip(*found, strict=True))
    assert mean_iou(both, either)() == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="macro"))
    weights = np.array([2.0, 0.0, 1.0])
    pixels = np.repeat([2, 0, 1], 72)
    assert mean_iou(both, either)(weights) == pytest.approx(
        jaccard_score(truth.ravel(), predicted.ravel(), average="macro", sample_weight=pixels))
    assert mean_iou(*overlaps(predicted, truth, 4))() == mean_iou(both, either)()


def test_a_class_that_is_nowhere_is_left_out_and_ignored_pixels_count_nowhere():
    truth, predicted = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]])
    both, either = overlaps(predicted, truth, 3, ignore=255)
    assert both.tolist() == [1, 1, 0] and either.tolist() == [2, 2, 0]
    assert mean_iou(both, either)() == 0.5
    assert np.isnan(mean_iou(np.zeros(3, int), np.zeros(3, int))())


def test_a_weight_is_so_many_pictures():
    rng = np.random.default_rng(4)
    both = rng.integers(0, 5, (6, 4)) * (rng.random((6, 4)) < 0.5)
    either = both + rng.integers(0, 3, (6, 4)) * (both > 0)
    for copies in (np.ones(6, int), rng.integers(0, 3, 6), np.eye(6, dtype=int)[2]):
        shared, total = (np.repeat(counts, copies, axis=0).sum(axis=0) for counts in (both, either))
        expected = np.mean(shared[total > 0] / total[total > 0])
        np.testing.assert_allclose(mean_iou(both, either)(copies.astype(float)), expected)
    assert np.isnan(mean_iou(both, either)(np.zeros(6)))


@pytest.mark.parametrize(("truth", "predicted", "what"), [
    ([0, 255], [0, 0], "true labels are 0 to 2, got 0 to 255"),
    ([0, 0], [0, -1], "predicted labels are 0 to 2, got -1")])
def test_unknown_labels_are_refused(truth, predicted, what):
    with pytest.raises(ValueError, match=what):
        overlaps(np.array(predicted), np.array(truth), 3)


def test_depths_by_hand():
    truth = np.array([[1.0, 2.0, 0.0, np.nan], [4.0, np.inf, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    predicted = np.array([[1.2, 3.0, 9.0, 9.0], [3.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(rmse(predicted, truth), [np.sqrt((0.04 + 1) / 2), 1, np.nan])
    np.testing.assert_allclose(delta_1(predicted, truth), [0.5, 0, np.nan])
    np.testing.assert_allclose(delta_1(predicted, truth, 1.25**2), [1, 1, np.nan], err_msg="3 is within 1.5625 of both")


def test_a_prediction_that_is_none_is_wrong():
    truth, predicted = np.full((3, 4), 2.0), np.array([[2.0, 2, 2, np.nan], [2, 2, 2, 0], [2, 2, 2, -2]])
    np.testing.assert_array_equal(delta_1(predicted, truth), [0.75] * 3)
    assert np.isnan(rmse(predicted, truth)).tolist() == [True, False, False]
