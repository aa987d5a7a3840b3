"""Retrieval metrics against hand-computed matrices and a sorting oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.evaluation.metrics import first_hit_rank, hit_at_k


def test_hand_computed():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4], [0.5, 0.5, 0.5]])
    positive = np.eye(3, dtype=bool)
    ranks = first_hit_rank(scores, positive)
    assert ranks.tolist() == [1, 2, 3]  # the third row ties with both wrong answers: they stand before it
    assert hit_at_k(ranks, 1) == pytest.approx(1 / 3) and hit_at_k(ranks, 2) == pytest.approx(2 / 3)


def test_a_collapsed_model_hits_nothing():
    assert hit_at_k(first_hit_rank(np.ones((10, 10)), np.eye(10, dtype=bool)), 5) == 0.0


def test_a_query_without_an_answer_is_refused():
    with pytest.raises(ValueError, match="1 queries have no positive"):
        first_hit_rank(np.zeros((2, 2)), np.array([[True, False], [False, False]]))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_without_ties_it_is_the_place_in_the_sorted_list(data):
    queries, items = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    scores = np.stack([data.draw(st.permutations(range(items))) for _ in range(queries)]).astype(float)
    positive = data.draw(arrays(bool, (queries, items)))
    positive[np.arange(queries), data.draw(st.integers(0, items - 1))] = True
    expected = [
        next(place for place, item in enumerate(np.argsort(-row), 1) if truth[item])
        for row, truth in zip(scores, positive, strict=True)
    ]
    assert first_hit_rank(scores, positive).tolist() == expected


def test_a_model_that_gives_nan_hits_nothing():
    scores = np.full((4, 4), np.nan)
    assert hit_at_k(first_hit_rank(scores, np.eye(4, dtype=bool)), 3) == 0.0
    scores[:2] = np.eye(4)[:2]
    assert first_hit_rank(scores, np.eye(4, dtype=bool)).tolist() == [1, 1, 4, 4]
