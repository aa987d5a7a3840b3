"""Draws against weights applied by hand, and units put together against the standard error known for a mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.evaluation.metrics.calibration import ece
from diptych.evaluation.metrics.classification import mean_per_class_recall
from diptych.evaluation.metrics.dense import mean_iou
from diptych.evaluation.metrics.fairness import association_bias, gap, worst_group
from diptych.evaluation.metrics.sums import mean_of_means, ratio
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.resample import UNITS, parts, resample


def outcome(n, groups=None, **rest):
    return Outcome(task="t", ids=[str(i) for i in range(n)], groups=groups, **rest)


def everything(found):
    return np.ones(len(found.ids), bool)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_a_mean_is_the_weighted_mean_of_whole_groups(samples, groups, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((samples, 2)) < 0.3, np.nan, rng.random((samples, 2)))
    group, inside = rng.integers(0, groups, samples), rng.random(samples) < 0.8
    found = outcome(samples, [f"g{g}" for g in group], values={"x": values[:, 0], "y": values[:, 1]},
                    statistics={"x again": lambda w: outcome(samples, values={"x": values[:, 0]}).figure("x", w)})
    again = resample(found, inside, 100, seed)
    np.testing.assert_allclose(again.weights.sum(axis=1), len(set(group[inside])))
    drawn = dict(zip("xy", again.figures(values, [True, False]), strict=True))
    for name, one in drawn.items():
        assert one.value == pytest.approx(found.figure(name, inside.astype(float)), nan_ok=True)
        for row, mean in zip(again.weights, one.draws, strict=True):
            times = dict(zip(again.unit[inside], group[inside], strict=True))
            weights = np.array([row[u] if u >= 0 else 0.0 for u in again.unit])
            assert all(len({weights[i] for i in np.flatnonzero(inside & (group == g))}) == 1 for g in times.values())
            assert mean == pytest.approx(found.figure(name, weights), nan_ok=True)
        known = inside & ~np.isnan(found.values[name])
        assert (one.count, one.units) == (known.sum(), len(set(group[known])))
        sizes = np.bincount(group[known])
        assert one.worth == pytest.approx(sizes.sum() ** 2 / max((sizes**2).sum(), 1))  # Kish
        assert one.share == (name == "x")
    statistic = again.statistic(found.statistics["x again"])
    np.testing.assert_allclose(statistic.draws, drawn["x"].draws)
    assert statistic.count == inside.sum() and statistic.units == len(set(group[inside]))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_statistics_of_sums_are_the_same_draw_by_draw_and_all_at_once(samples, groups, seed):
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 2, samples).astype(float)
    holes, cell = np.where(rng.random(samples) < 0.3, np.nan, right), rng.integers(0, 4, samples)
    family = np.unique(rng.integers(0, 3, samples), return_inverse=True)[1]
    made = {
        "ece": ece(rng.random(samples), right), "recall": mean_per_class_recall(right, cell),
        "worst": worst_group(holes, cell - 1), "gap": gap(holes, cell - 1),
        "means": mean_of_means(holes, cell, least=2), "ratio": ratio(holes, rng.random(samples)),
        "association": association_bias(rng.random(samples), right > 0, family)}
    found = outcome(samples, [f"g{g}" for g in rng.integers(0, groups, samples)], statistics=made)
    again = resample(found, rng.random(samples) < 0.8, 100, seed)
    for name, statistic in made.items():
        slowly = again.statistic(lambda weights, one=statistic: one(weights))
        quickly = again.statistic(statistic)
        np.testing.assert_allclose(quickly.draws, slowly.draws, atol=1e-9, err_msg=name)
        assert quickly.value == pytest.approx(slowly.value, nan_ok=True)


def test_a_ratio_and_a_mean_of_means_by_hand():
    some, nan = np.array([1.0, 0.0, 1.0, np.nan]), np.nan
    assert ratio(some, np.array([1.0, 1.0, nan, 1.0]))(np.array([3.0, 1.0, 5.0, 9.0])) == 3 / 4
    assert np.isnan(ratio(some, np.zeros(4))(np.ones(4))) and np.isnan(ratio(some * nan, some)(np.ones(4)))
    means = mean_of_means(some, np.array([0, 0, 1, 2]), least=2)
    assert means(np.ones(4)) == (0.5 + 1) / 2
    assert np.isnan(means(np.array([1.0, 1, 0, 1]))) and np.isnan(mean_of_means(some, np.full(4, -1))(np.ones(4)))


def test_weights_are_a_dirichlet_distributions():
    found = outcome(7)
    shares = resample(found, everything(found), 20_000, 0).weights / 7
    assert stats.kstest(shares[:, 2], stats.beta(1, 6).cdf).pvalue > 0.001
    assert stats.kstest(shares[:, :3].sum(axis=1), stats.beta(3, 4).cdf).pvalue > 0.001


def test_what_a_figure_is_worth():
    values, cell = np.ones(12), np.array([0] * 7 + [1] * 3 + [-1] * 2)
    units, pairs = np.arange(12), np.arange(12) // 2
    assert mean_of_means(values, cell).worth_of(units) == 2 * 3
    assert mean_of_means(values, cell).worth_of(pairs) == pytest.approx(2 * 3**2 / (2**2 + 1))
    assert worst_group(values, cell).worth_of(units) == 3
    assert ratio(values, values).worth_of(units) == 12 and ratio(values * np.nan, values).worth_of(units) == 0
    assert mean_of_means(values, cell).worth_of(np.where(units < 8, units, -1)) == 2 * 1  # a slice without most of one
    found = outcome(12, statistics={"x": mean_of_means(values, cell), "y": lambda weights: float(weights.sum())})
    again = resample(found, everything(found), 100, 0)
    x, y = (again.statistic(one) for one in found.statistics.values())
    assert (x.worth, x.steps, y.worth, y.steps) == (6, 6, 12, 12)
    lowest = again.statistic(worst_group(values, cell))
    assert (lowest.worth, lowest.steps) == (3, 12)  # a difference need not be where there are fewest
    half = ratio(values, (np.arange(12) < 4).astype(float))
    assert half.worth_of(units) == 4  # one unit more is a quarter of what there is to retain
    assert half.worth_of(np.array([0, 0, 0, 1, *range(2, 10)])) == pytest.approx(4**2 / (3**2 + 1))  # unequal groups
    both = np.array([[4, 1], [4, 0], [4, 0]])
    assert mean_iou(both, both).worth_of(np.arange(3)) == 2 * 1
    many = outcome(3 * UNITS, values={"x": np.ones(3 * UNITS)})
    (drawn,) = resample(many, everything(many), 100, 0).figures(np.ones((3 * UNITS, 1)), [True])
    assert (drawn.units, drawn.worth) == (UNITS, 3 * UNITS)  # put together, they are as many as they were


def test_the_same_seed_draws_the_same_for_every_model_and_another_does_not():
    a, b = outcome(50, values={"x": np.zeros(50)}), outcome(50, values={"y": np.ones(50)})
    one, two, other = (resample(x, everything(x), 100, seed) for x, seed in ((a, 3), (b, 3), (a, 4)))
    np.testing.assert_array_equal(one.weights, two.weights)
    assert (one.weights != other.weights).any()


def test_more_groups_than_units_are_put_together_whole_and_evenly():
    groups = np.repeat(np.arange(5 * UNITS), 2)
    found = outcome(len(groups), [str(g) for g in groups])
    again = resample(found, everything(found), 100, 0)
    assert again.weights.shape == (100, UNITS)
    assert (again.unit[::2] == again.unit[1::2]).all()
    assert set(np.bincount(again.unit)) == {10}
    assert (np.diff(again.unit[::2][:100]) != 0).any()  # neighbours are not put together


@pytest.mark.parametrize("size", [1, 4])
def test_units_put_together_have_the_standard_error_of_the_mean(size):
    rng = np.random.default_rng(0)
    n = 40_000
    values = (rng.random(n // size) < 0.2).repeat(size).astype(float)
    found = outcome(n, [str(i // size) for i in range(n)])
    again = resample(found, everything(found), 2000, 0)
    (drawn,) = again.means(*again.sums(values[:, None]))
    # of 2,000 draws and 2,000 units: 1.6% each, together 2.2%; three of them
    assert drawn.error == pytest.approx(0.4 / np.sqrt(n / size), rel=0.07)


def test_parts_are_all_data_and_every_known_value_with_enough_samples():
    columns = {"language": ["de"] * 5 + ["ko"] * 6 + [""] * 7, "vendor": ["a"] * 4 + ["b"] * 14}
    found = outcome(18, slices=columns)
    masks = dict(parts(found, slices=True))
    assert list(masks) == ["", "language=de", "language=ko", "vendor=b"]
    assert [mask.sum() for mask in masks.values()] == [18, 5, 6, 14]
    assert masks["language=ko"][5:11].all()
    assert list(dict(parts(found, slices=False))) == [""]


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="at least 100 draws, got 99"):
        resample(outcome(3), np.ones(3, bool), 99, 0)
