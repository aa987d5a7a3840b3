"""Ranks against counting in the whole matrix; figures of ranks by hand, against scikit-learn and CLIP_benchmark."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from diptych.evaluation.metrics import blocks
from diptych.evaluation.metrics.ranking import (
    Ranks,
    average_precision,
    capped_recall_at_k,
    hit_at_k,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
    relevant_ranks,
    top_k,
)


def unit(rng, count, width=32):
    vectors = rng.normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vectors_of(scores):
    """Unit vectors with just these products: queries are axes, and one more axis fills the items up."""
    scores = np.asarray(scores, np.float32)
    rest = np.sqrt(1 - (scores.astype(float) ** 2).sum(axis=0)).astype(np.float32)
    return np.eye(len(scores), len(scores) + 1, dtype=np.float32), np.concatenate([scores, rest[None]]).T


def counted(scores, positive):
    """By definition, query by query: wrong ones that are as good, and better right ones."""
    ranks = []
    for row, right in zip(scores, positive, strict=True):
        best_first = np.sort(row[right])[::-1]
        ranks.append([1 + place + int((row[~right] >= score - 1e-6).sum()) for place, score in enumerate(best_first)])
    return ranks


def listed(ranks):
    return [ranks.rank[ranks.query == query].tolist() for query in range(ranks.queries)]


@st.composite
def worlds(draw):
    """Few different scores, so that many tie, and which of the pairs are right: at least one of each query."""
    queries, items = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    scores = draw(arrays(np.int8, (queries, items), elements=st.integers(-4, 4))) / 16
    positive = draw(arrays(bool, (queries, items)))
    positive[np.arange(queries), draw(st.integers(0, items - 1))] = True
    return scores, positive


def test_hand_computed():
    queries, items = vectors_of([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4], [0.25, 0.25, 0.25]])
    there, back = relevant_ranks(queries, items, np.arange(3), np.arange(3))
    assert there.rank.tolist() == [1, 2, 3]  # the third ties with both wrong answers: they stand before it
    assert back.rank.tolist() == [1, 1, 3]
    assert hit_at_k(there, 1).tolist() == [1, 0, 0] and hit_at_k(there, 2).tolist() == [1, 1, 0]


@settings(deadline=None, max_examples=200)
@given(worlds(), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0, 2, 64]), st.sampled_from([1, 3, 128]))
def test_both_ways_are_counted_in_blocks_of_any_size(world, rows, columns, crowd, slab):
    scores, positive = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CROWD", crowd)
        patch.setattr(blocks, "SLAB", slab)
        there, back = relevant_ranks(*vectors_of(scores), *np.nonzero(positive), block=(rows, columns))
    assert listed(there) == counted(scores, positive)
    assert listed(back) == counted(scores.T, positive.T)
    assert (positive[there.query, there.item]).all() and (positive[back.item, back.query]).all()
    assert len(set(zip(there.query, there.item, strict=True))) == positive.sum() == len(back.rank)


@pytest.mark.parametrize("relevant", [lambda q, i: (q, q), lambda q, i: (q, q // 5), lambda q, i: (q // 4, q),
                                      lambda q, i: (q, np.maximum(q - 400, 0))])
def test_real_vectors_in_few_and_many_blocks(relevant):
    """One right answer, five captions of a picture, four pictures of a name, and a crowd of captions of one picture."""
    rng = np.random.default_rng(0)
    query, item = relevant(np.arange(700), np.arange(700))
    queries, items = unit(rng, query.max() + 1), unit(rng, item.max() + 1)
    positive = np.zeros((len(queries), len(items)), bool)
    positive[query, item] = True
    # with this seed no two scores differ by 1e-6 to within rounding, where one block could say a tie and another not
    scores = queries.astype(float) @ items.T
    there, back = relevant_ranks(queries, items, query, item)
    assert listed(there) == counted(scores, positive) and listed(back) == counted(scores.T, positive.T)
    again = relevant_ranks(queries, items, query, item, block=(64, 97))
    turned = relevant_ranks(items, queries, item, query)
    for one, two in ((there, again[0]), (back, again[1]), (there, turned[1]), (back, turned[0])):
        np.testing.assert_array_equal(one.rank, two.rank)
    order = rng.permutation(len(items))
    moved, _ = relevant_ranks(queries, items[order], query, np.argsort(order)[item])
    np.testing.assert_array_equal(moved.rank, there.rank)


@pytest.mark.parametrize("width", [1, 3, 64, 300, 512, 768, 1152])
@pytest.mark.parametrize(("queries", "items"), [(1, 2), (3, 5), (1, 513), (7, 515), (600, 1000)])
def test_a_constant_embedder_finds_nothing(width, queries, items):
    """All its coordinates are equal, which float32 sums badly: 768 of them are 3e-6 too much in one routine of BLAS and
    1.5e-6 too little in another, so that a right pair that is computed apart would win or lose."""
    def constant(count):
        return np.full((count, width), width**-0.5, np.float32)

    there, back = relevant_ranks(constant(queries), constant(items), np.arange(queries), np.arange(queries) % items)
    assert (there.rank == items).all() and (there.first == items).all()
    assert hit_at_k(there, items - 1).max() == 0 and reciprocal_rank(there).max() == 1 / items
    assert np.nanmin(back.first) == queries


def test_less_than_rounding_is_a_tie_and_more_is_not():
    half = np.float32(0.5)
    for difference, rank in ((0, 3), (5e-7, 3), (1e-5, 1)):
        queries, items = vectors_of([[half, half - np.float32(difference), half - np.float32(difference), 0.1]])
        there, _ = relevant_ranks(queries, items, np.array([0]), np.array([0]))
        assert there.rank.tolist() == [rank]


def test_items_that_are_the_same_are_one_answer():
    scores = [[0.5, 0.3, 0.3, 0.4, 0.4], [0.1, 0.4, 0.4, 0.2, 0.2]]
    query, item = np.array([0, 1]), np.array([4, 1])
    queries, items = vectors_of(scores)
    plain, _ = relevant_ranks(queries, items, query, item)
    assert plain.rank.tolist() == [3, 2]  # twins of the right answers stand before them as if they were wrong
    there, back = relevant_ranks(queries, items, query, item, same=np.array([7, 9, 9, 3, 3]))
    assert there.rank.tolist() == [2, 1] and there.item.tolist() == [3, 1]
    assert back.queries == 5 and listed(back) == [[], [1], [1], [1], [1]]
    assert back.item[back.query == 2].tolist() == [1]  # asked by the twin that no pair names
    # what was one pair with each twin is one pair with the answer
    both, _ = relevant_ranks(queries, items, np.array([0, 0, 1]), np.array([3, 4, 1]), same=np.array([7, 9, 9, 3, 3]))
    assert listed(both) == [[2], [1]]
    with pytest.raises(ValueError, match="4 entries for 5"):
        relevant_ranks(queries, items, query, item, same=np.arange(4))


def test_it_never_holds_the_matrix():
    rng = np.random.default_rng(1)
    vectors = unit(rng, 8000, 16)
    tracemalloc.start()
    relevant_ranks(vectors, vectors[::-1], np.arange(8000), np.arange(8000))
    top_k(vectors[:2000], vectors, 10, block=(256, 2048))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 << 20  # the matrix would be 256 MB; a block is 8, keys and their copies 4 each


BAD = [(0, 0, np.nan, "1 of 3 query vectors are not finite, the first is number 0"),
       (1, 2, np.inf, "1 of 4 item vectors are not finite, the first is number 2"),
       (1, 1, 3.0, "1 of 4 item vectors are not of unit length, the first is number 1")]


@pytest.mark.parametrize(("which", "number", "value", "what"), BAD)
@pytest.mark.parametrize("ask", [lambda q, i: relevant_ranks(q, i, np.arange(3), np.arange(3)),
                                 lambda q, i: top_k(q, i, 2)])
def test_vectors_that_are_none_are_refused(which, number, value, what, ask):
    vectors = unit(np.random.default_rng(2), 3), unit(np.random.default_rng(3), 4)
    vectors[which][number, 5] = value
    with pytest.raises(ValueError, match=what):
        ask(*vectors)


@pytest.mark.parametrize(("query", "item", "what"), [
    ([0, 0, 1], [0, 1, 1], "1 of 3 queries have no relevant item"), ([], [], "3 of 3 queries"),
    ([0, 1, 2, 0], [0, 1, 2, 0], "1 pairs are given more than once"), ([0, 1, 3], [0, 1, 2], "names query 3"),
    ([0, 1, 2], [0, -1, 2], "names item -1")])
def test_pairs_that_are_none_are_refused(query, item, what):
    vectors = unit(np.random.default_rng(4), 3)
    with pytest.raises(ValueError, match=what):
        relevant_ranks(vectors, vectors, np.array(query, int), np.array(item, int))


def test_two_widths_and_nothing_at_all_are_refused():
    vectors = unit(np.random.default_rng(5), 3)
    with pytest.raises(ValueError, match="32 dimensions and items 31"):
        top_k(vectors, unit(np.random.default_rng(5), 3, 31), 1)
    with pytest.raises(ValueError, match="no item vectors"):
        top_k(vectors, vectors[:0], 1)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        top_k(vectors, vectors, 0)


def test_figures_by_hand():
    """The first query's right answers have ranks 1, 3 and 6, the second's one has 2, the third has none."""
    ranks = Ranks(queries=3, query=np.array([0, 0, 0, 1]), item=np.arange(4), rank=np.array([1, 3, 6, 2]))
    expected = {
        hit_at_k: [1, 1], recall_at_k: [2 / 3, 1], capped_recall_at_k: [2 / 3, 1],
        ndcg_at_k: [(1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2), 1 / np.log2(3)]}
    for figure, values in expected.items():
        np.testing.assert_allclose(figure(ranks, 4), [*values, np.nan])
    np.testing.assert_allclose(recall_at_k(ranks, 1), [1 / 3, 0, np.nan])
    np.testing.assert_allclose(capped_recall_at_k(ranks, 1), [1, 0, np.nan])
    np.testing.assert_allclose(reciprocal_rank(ranks), [1, 1 / 2, np.nan])
    np.testing.assert_allclose(average_precision(ranks), [(1 / 1 + 2 / 3 + 3 / 6) / 3, 1 / 2, np.nan])
    np.testing.assert_array_equal(ranks.first, [1, 2, np.nan])
    with pytest.raises(ValueError, match="at least 1; got 0"):
        hit_at_k(ranks, 0)


def without_ties(seed, queries=40, items=60):
    rng = np.random.default_rng(seed)
    left, right = unit(rng, queries, 16), unit(rng, items, 16)
    positive = rng.random((queries, items)) < 0.1
    positive[np.arange(queries), np.arange(queries)] = positive[np.arange(items) % queries, np.arange(items)] = True
    return left, right, positive


def test_figures_are_scikit_learns():
    left, right, positive = without_ties(6)
    scores = left @ right.T
    for ranks, truth, said in zip(relevant_ranks(left, right, *np.nonzero(positive)), (positive, positive.T),
                                  (scores, scores.T), strict=True):
        assert average_precision(ranks).mean() == pytest.approx(label_ranking_average_precision_score(truth, said))
        for k in (1, 3, 10, 60):
            assert ndcg_at_k(ranks, k).mean() == pytest.approx(ndcg_score(truth, said, k=k))


def test_figures_are_clip_benchmarks():
    """zeroshot_retrieval.py of CLIP_benchmark 1.6.2: the k best as one-hot rows times the positives, over how many
    there are; what it reports is how often that is above 0."""
    left, right, positive = without_ties(7)
    scores = left @ right.T
    for ranks, truth, said in zip(relevant_ranks(left, right, *np.nonzero(positive)), (positive, positive.T),
                                  (scores, scores.T), strict=True):
        for k in (1, 5, 10):
            found = np.eye(said.shape[1])[np.argsort(-said, axis=1)[:, :k]] * truth[:, None, :]
            recall = found.sum(axis=(1, 2)) / truth.sum(axis=1)
            np.testing.assert_allclose(recall_at_k(ranks, k), recall)
            np.testing.assert_array_equal(hit_at_k(ranks, k), recall > 0)


@settings(deadline=None, max_examples=100)
@given(worlds(), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_the_nearest_are_those_of_a_stable_sort(world, k, rows, columns):
    scores, _ = world
    index, cosine = top_k(*vectors_of(scores), k, block=(rows, columns))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(cosine, np.take_along_axis(scores, expected, axis=1).astype(np.float32))


def test_equal_vectors_come_in_their_order_wherever_they_are():
    rng = np.random.default_rng(8)
    items = unit(rng, 3000, 768)
    copies = rng.choice(3000, 50, replace=False)
    items[copies] = items[copies[0]]
    index, _ = top_k(items[copies[:1]], items, 50, block=(1, 700))
    np.testing.assert_array_equal(index[0], np.sort(copies))


def test_a_negative_zero_is_no_less_than_zero():
    items = np.array([[-1e-30, 0, 1], [0, 0, 1]], np.float32)
    index, cosine = top_k(np.array([[1e-30, 1, 0]], np.float32), items, 2)
    assert index.tolist() == [[0, 1]] and not np.signbit(cosine).any()
