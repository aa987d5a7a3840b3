"""Skew, preference, association and worst groups by hand and against plain loops."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.evaluation.metrics.fairness import (
    association,
    association_bias,
    gap,
    max_skew,
    preference,
    worst_group,
)


def test_skew_by_hand():
    found = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, -1, -1, 1], [-1, -1, -1, -1]])
    np.testing.assert_allclose(max_skew(found, np.array([0.5, 0.5])),
                               [0, np.log(0.75 / 0.5), np.log(2), 0, np.nan], atol=1e-12)
    # as many as in a collection that is itself one quarter group 0
    assert max_skew(found[:1], np.array([10.0, 30.0]))[0] == pytest.approx(np.log(0.5 / 0.25))
    with pytest.raises(ValueError, match="some share is wanted"):
        max_skew(found, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="numbered 0 to 0, got 1"):
        max_skew(found, np.array([1.0]))


def test_a_tie_leans_to_neither_side():
    a, b = np.array([0.9, 0.1, 0.5, 0.5, np.nan]), np.array([0.1, 0.9, 0.5, 0.5 + 5e-7, 0.1])
    np.testing.assert_array_equal(preference(a, b), [0.5, -0.5, 0, 0, np.nan])
    np.testing.assert_array_equal(preference(b, a), -preference(a, b))


def test_association_is_the_difference_of_mean_cosines():
    rng = np.random.default_rng(0)
    vectors, a, b = (side / np.linalg.norm(side, axis=1, keepdims=True)
                     for side in (rng.normal(size=(n, 5)) for n in (6, 3, 4)))
    expected = [np.mean([w @ x for x in a]) - np.mean([w @ x for x in b]) for w in vectors]
    np.testing.assert_allclose(association(vectors, a, b), expected)


def test_the_effect_is_in_standard_deviations():
    associated = np.array([0.5, 0.4, 0.45, 0.1, 0.3, 0.05, 0.2])
    first = np.array([True, True, True, False, False, False, False])
    effect = (associated[:3].mean() - associated[3:].mean()) / associated.std()
    one = np.zeros(7, np.int64)
    assert effect > 0 and association_bias(associated, first, one)() == pytest.approx(effect)
    assert association_bias(associated, ~first, one)() == pytest.approx(effect)
    twice = association_bias(np.r_[associated, -3 * associated], np.r_[first, first], np.r_[one, one + 1])
    assert twice() == pytest.approx(effect)  # in a family of its own, turned about and three times as wide


def test_a_weight_is_so_many_copies():
    associated, first, copies = np.array([0.5, 0.1, 0.3, 0.2]), np.array([True, True, False, False]), [1, 2, 0, 3]
    one, many = np.zeros(4, np.int64), np.zeros(6, np.int64)
    assert association_bias(associated, first, one)(np.array(copies, float)) == pytest.approx(
        association_bias(np.repeat(associated, copies), np.repeat(first, copies), many)())
    assert np.isnan(association_bias(associated, first, one)(np.array([1.0, 1, 0, 0])))

def test_who_is_all_alike_has_no_bias():
    first = np.arange(6) < 3
    assert association_bias(np.full(6, 0.1) + np.arange(6) * 1e-8, first, np.zeros(6, np.int64))() == 0


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, 20, elements=st.sampled_from([0.0, 1.0, np.nan])),
       arrays(np.int64, 20, elements=st.integers(-1, 3)), arrays(np.float64, 20, elements=st.integers(0, 2)))
def test_groups_one_by_one(values, group, weights):
    means = {}
    for one in range(group.max() + 1):
        mine = np.repeat(values, weights.astype(int))[np.repeat(group, weights.astype(int)) == one]
        mine = mine[~np.isnan(mine)]
        means[one] = mine.mean() if len(mine) else np.nan
    known = [mean for mean in means.values() if not np.isnan(mean)] or [np.nan]
    np.testing.assert_allclose(worst_group(values, group)(weights), min(known))
    np.testing.assert_allclose(gap(values, group)(weights), max(known) - min(known))


def test_worst_by_hand():
    values, group = np.array([1.0, 1, 0, 0, 1]), np.array([0, 0, 1, 1, 1])
    assert worst_group(values, group)() == pytest.approx(1 / 3) and gap(values, group)() == pytest.approx(2 / 3)
