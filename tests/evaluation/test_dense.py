"""The dense probe against scikit-learn, torch's interpolation and hand-counted overlaps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from diptych.evaluation.dense import enlarge, fit_probe, foreground_miou, mean_iou, patch_shares


def test_the_probe_is_scikit_learns_logistic_regression():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6)) * [1, 5, 0.1, 1, 2, 3] + 2
    score = features @ [1, -0.3, 4, 0, 0.5, 0] + rng.normal(size=400)
    label = (score > np.quantile(score, 0.6)).astype(float)
    decay = 1e-2
    probe = fit_probe(features, label, decay)
    scaled = (features - features.mean(0)) / features.std(0)
    oracle = LogisticRegression(C=1 / (decay * len(label)), tol=1e-10, max_iter=10_000).fit(scaled, label)
    np.testing.assert_allclose(probe.weight, oracle.coef_[0], atol=1e-5)  # lbfgs stops there
    assert probe.bias == pytest.approx(oracle.intercept_[0], abs=1e-5)
    np.testing.assert_allclose(probe.logits(features), oracle.decision_function(scaled), atol=1e-4)


def test_a_patch_that_is_half_foreground_pulls_half_as_much():
    rng = np.random.default_rng(1)
    features, share = rng.normal(size=(60, 3)), rng.uniform(size=60)
    both = np.concatenate([features, features])
    weight = np.concatenate([share, 1 - share])
    oracle = LogisticRegression(C=1 / (0.1 * 60), tol=1e-10, max_iter=10_000).fit(
        (both - features.mean(0)) / features.std(0), np.repeat([1, 0], 60), sample_weight=weight)
    np.testing.assert_allclose(fit_probe(features, share, 0.1).weight, oracle.coef_[0], atol=1e-5)


def test_separable_patches_and_a_dead_channel_have_a_finite_probe():
    features = np.array([[-1.0, 3.0], [-2.0, 3.0], [1.0, 3.0], [2.0, 3.0]])
    probe = fit_probe(features, np.array([0.0, 0.0, 1.0, 1.0]), 1e-6)
    assert np.isfinite(probe.weight).all() and probe.weight[1] == 0
    assert list(probe.logits(features) > 0) == [False, False, True, True]


@pytest.mark.parametrize(("share", "decay", "what"), [
    ([0.0, 0.2], 1e-3, "nothing to tell apart"), ([1.0, 0.5], 1e-3, "nothing to tell apart"),
    ([0.0, 1.5], 1e-3, "between 0 and 1"), ([0.0, 1.0], 0.0, "decay")])
def test_what_no_probe_can_be_fitted_to_is_refused(share, decay, what):
    with pytest.raises(ValueError, match=what):
        fit_probe(np.array([[0.0], [1.0]]), np.array(share), decay)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12), st.integers(0, 100))
def test_enlarging_is_torchs_bilinear(rows, columns, height, width, seed):
    if height < rows or width < columns:
        height, width = height * rows, width * columns
    values = np.random.default_rng(seed).normal(size=(2, rows, columns))
    oracle = torch.nn.functional.interpolate(torch.from_numpy(values)[:, None], (height, width), mode="bilinear")
    np.testing.assert_allclose(enlarge(values, height, width), oracle[:, 0].numpy(), atol=1e-12)


def test_overlaps_counted_by_hand():
    truth = np.array([[True, True, False, False]])
    said = np.array([[True, False, False, False]])
    assert mean_iou(said, truth) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mean_iou(truth, truth) == 1 and mean_iou(~truth, truth) == 0
    assert mean_iou(np.zeros((1, 4), bool), np.zeros((1, 4), bool)) == 1  # no foreground, none said


def test_shares_of_patches():
    mask = np.zeros((1, 4, 6), bool)
    mask[0, :2, :2] = mask[0, 3, 5] = True
    np.testing.assert_array_equal(patch_shares(mask, 2, 3), [[[1, 0, 0], [0, 0, 0.25]]])
    with pytest.raises(ValueError, match="does not divide"):
        patch_shares(mask, 3, 3)


def test_features_that_know_the_mask_find_it_and_others_do_not():
    rng = np.random.default_rng(2)
    mask = np.zeros((40, 16, 16), bool)
    for picture in mask:
        top, left = rng.integers(0, 3, 2) * 4
        picture[top : top + 8, left : left + 8] = True
    know = patch_shares(mask, 4, 4)[..., None] + rng.normal(size=(40, 4, 4, 3)) * 0.05
    guess = rng.normal(size=(40, 4, 4, 3))
    seen = foreground_miou(know[:20], mask[:20], know[20:], mask[20:])
    blind = foreground_miou(guess[:20], mask[:20], guess[20:], mask[20:])
    # the corners of a bilinear outline are round; a blind probe says background, 3/4 of it right
    assert seen > 0.85 and blind < 0.45
