import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.index.fusion import reciprocal_rank_fusion

lists = st.dictionaries(st.sampled_from("abcd"), st.permutations(range(8)).flatmap(
    lambda rows: st.integers(0, 8).map(lambda n: np.array(rows[:n], dtype=np.int64))))


def test_by_hand():
    fused = reciprocal_rank_fusion({"text": np.array([2, 0]), "lexical": np.array([0])}, 4, k=60)
    assert fused == pytest.approx([1 / 62 + 1 / 61, 0, 1 / 61, 0])


@settings(deadline=None)
@given(lists, st.floats(1, 100), st.dictionaries(st.sampled_from("abcd"), st.floats(0, 3)))
def test_agrees_with_the_formula(lists, k, weights):
    want = [sum(weights.get(name, 1.0) / (k + rows.tolist().index(row) + 1)
                for name, rows in lists.items() if row in rows) for row in range(8)]
    assert reciprocal_rank_fusion(lists, 8, k=k, weights=weights) == pytest.approx(want)


@settings(deadline=None)
@given(st.permutations(range(8)))
def test_one_list_keeps_its_order(rows):
    assert np.argsort(-reciprocal_rank_fusion({"a": np.array(rows)}, 8)).tolist() == rows
