import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diptych.index.exact import cosines, top_k

few_values = hnp.arrays(np.float32, st.integers(0, 60), elements=st.integers(-3, 3).map(float))


@settings(deadline=None, max_examples=300)
@given(few_values, st.integers(0, 80), st.data())
def test_top_k_is_the_head_of_a_stable_sort(scores, k, data):
    """Few distinct values, so that ties cross the cut: they go by row."""
    mask = data.draw(st.none() | hnp.arrays(bool, len(scores)))
    want = [row for row in np.argsort(-scores, kind="stable") if mask is None or mask[row]][:k]
    assert top_k(scores, k, mask).tolist() == want


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 40))
def test_cosines_find_the_brute_force_neighbours(seed, n, dim):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = cosines(vectors, vectors[0])
    slow = np.array([sum(float(a) * float(b) for a, b in zip(row, vectors[0], strict=True)) for row in vectors])
    assert np.allclose(scores, slow, atol=1e-5)
    assert top_k(scores, 1).tolist() == [0] or np.allclose(scores[top_k(scores, 1)], scores[0], atol=1e-5)


def test_nothing_to_rank():
    assert top_k(np.empty(0, np.float32), 5).tolist() == []
    assert top_k(np.ones(3, np.float32), 5, np.zeros(3, bool)).tolist() == []
