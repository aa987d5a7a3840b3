"""Where the right answers stand among all: retrieval both ways, and what CLIP's papers and information retrieval make
of it. A figure is the mean of what each query gets.

A wrong answer with the same score stands before a right one, so that a model that gives every pair one score finds
nothing. Scores of unit vectors less than `TIE` apart are the same: the sum of some hundred products in float32 depends
on the order of adding by up to 7e-7, and so would a rank. Where vectors add up worse than that (a collapsed model's,
all of whose coordinates are equal, by 3e-6) the distance grows with it.

CLIP_benchmark 1.6.2 takes the first k of torch.topk, in which ties fall as they will; without ties its recall@k (any
positive in the first k) is `hit_at_k`. True recall is another number, `recall_at_k`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from diptych.evaluation.metrics.blocks import BLOCK, count_lower, edges, places

TIE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranks:
    """Where the relevant items of each of `queries` stand. Pairs lie query by query and best first: `query` and `item`
    say which, `rank`, from 1, how many items stand before, plus one. Of a query without a relevant item there is no
    pair, and every figure is NaN."""

    queries: int
    query: Int[np.ndarray, " pairs"]
    item: Int[np.ndarray, " pairs"]
    rank: Int[np.ndarray, " pairs"]

    @property
    def positives(self) -> Int[np.ndarray, " queries"]:
        """How many relevant items each query has."""
        return np.bincount(self.query, minlength=self.queries)

    @property
    def first(self) -> Float[np.ndarray, " queries"]:
        """The rank of each query's best relevant item."""
        out = np.full(self.queries, np.nan)
        best = places(self.positives) == 0
        out[self.query[best]] = self.rank[best]
        return out

    def total(self, share: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " queries"]:
        """The sum of what a query's pairs have."""
        return np.where(self.positives > 0, np.bincount(self.query, share, self.queries), np.nan)


def relevant_ranks(
    queries: Float[np.ndarray, "queries dim"], items: Float[np.ndarray, "items its_dim"],
    query: Int[np.ndarray, " pairs"], item: Int[np.ndarray, " pairs"], *,
    same: Int[np.ndarray, " numbers"] | None = None, block: tuple[int, int] = BLOCK,
) -> tuple[Ranks, Ranks]:
    """Of unit vectors and of pairs that belong together: the ranks of items for their queries, and those of queries for
    their items, from one product. Before a relevant item stand the better relevant ones and every other item that
    scores higher or the same. An item in no pair is in the way of others and asks nothing: it has no ranks.

    Items with the same number in `same` are one answer (pictures with the same pixels): the first of them stands for
    all, what is relevant to one is to each, and each asks for itself.

    The time is little more than the product's. Memory is a block, some 200 bytes a pair, and with `same` a copy of the
    items. `block` does not change ranks.

    ValueError for vectors that are not finite or not of unit length, of two widths, a pair that is given twice or names
    what is not there, and a query in no pair.
    """
    queries, items = _checked(queries, items)
    _check_pairs(query, item, len(queries), len(items))
    number, first = np.arange(len(items)), np.arange(len(items))
    if same is not None:
        if len(same) != len(items):
            raise ValueError(f"`same` has {len(same)} entries for {len(items)} items")
        _, first, number = np.unique(same, return_index=True, return_inverse=True)
        items = items[first]
        query, item = np.divmod(np.unique(query.astype(np.int64) * len(first) + number[item]), len(first))
    score = np.concatenate([
        np.einsum("pd,pd->p", queries[query[start:stop]], items[item[start:stop]], dtype=np.float64)
        for start, stop in pairwise(edges(len(query), 1 << 11))])
    below = count_lower(queries, items, query, item, score - max(TIE, 2 * _rounding(queries, items, block)), block)
    there = _ranks(query, item, score, len(items) - below[0], len(queries))
    back = _ranks(item, query, score, len(queries) - below[1], len(items))
    held = back.positives
    each = np.repeat((np.cumsum(held) - held)[number], held[number]) + places(held[number])
    return (Ranks(queries=there.queries, query=there.query, item=first[there.item], rank=there.rank),
            Ranks(queries=len(number), query=np.repeat(np.arange(len(number)), held[number]), item=back.item[each],
                  rank=back.rank[each]))


def hit_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " queries"]:
    """1 where a relevant item is among the first k: "R@k" of the CLIP papers."""
    return np.minimum(_among_first(ranks, k), 1)


def hit_by_luck(ranks: Ranks, answers: int, k: int) -> Float[np.ndarray, " queries"]:
    """How likely some right answer is among the first k in a random order."""
    positives, missed = ranks.positives, np.ones(ranks.queries)
    for at in range(min(k, answers)):
        missed *= np.maximum(answers - positives - at, 0) / (answers - at)
    return np.where(positives > 0, 1 - missed, np.nan)


def recall_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " queries"]:
    """Share of the relevant items that are among the first k. A query with more than k cannot reach 1."""
    return _among_first(ranks, k) / ranks.positives


def capped_recall_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " queries"]:
    """Relevant items among the first k, of as many as could be there: min(k, relevant)."""
    return _among_first(ranks, k) / np.minimum(k, ranks.positives)


def reciprocal_rank(ranks: Ranks) -> Float[np.ndarray, " queries"]:
    """1 / the rank of the best relevant item. The mean is MRR."""
    return 1 / ranks.first


def average_precision(ranks: Ranks) -> Float[np.ndarray, " queries"]:
    """Mean over the relevant items of the share of relevant ones down to each. The mean is MAP."""
    return ranks.total((places(ranks.positives) + 1) / ranks.rank) / ranks.positives


def ndcg_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " queries"]:
    """Discounted cumulative gain of the first k, 1 / log2(rank + 1) for each relevant item, over that of the best order
    (Järvelin and Kekäläinen 2002, as trec_eval has it)."""
    gain = ranks.total(np.where(ranks.rank <= _at_least_one(k), 1 / np.log2(ranks.rank + 1), 0))
    place = places(ranks.positives) + 1
    return gain / ranks.total(np.where(place <= k, 1 / np.log2(place + 1), 0))


def top_k(
    queries: Float[np.ndarray, "queries dim"], items: Float[np.ndarray, "items its_dim"], k: int,
    block: tuple[int, int] = (1024, 4096),
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """The k nearest items of each query, best first and of equal ones the first, and their cosines; all items where
    there are fewer. In blocks; in float64, at half the speed, because only then are equal vectors' cosines equal
    wherever in a block they are. ValueError as for `relevant_ranks`."""
    (queries, items), k = _checked(queries, items), min(_at_least_one(k), len(items))
    best = np.empty((len(queries), k), np.int64)
    for top, bottom in pairwise(edges(len(queries), block[0])):
        kept, some = np.empty((bottom - top, 0), np.int64), queries[top:bottom].astype(np.float64)
        for left, right in pairwise(edges(len(items), block[1])):
            cosine = (some @ items[left:right].astype(np.float64).T).astype(np.float32) + 0.0  # no negative zero
            # one number of both, so that the k largest are the answer: the cosine above, the lowest index below
            keys = _sortable(cosine.view(np.int32)).astype(np.int64) << 32 | (_LOW - np.arange(left, right))
            kept = np.partition(np.concatenate([kept, keys], axis=1), -min(k, right), axis=1)[:, -k:]
        best[top:bottom] = np.sort(kept, axis=1)[:, ::-1]
    return _LOW - (best & _LOW), _sortable((best >> 32).astype(np.int32)).view(np.float32)


_LOW = (1 << 32) - 1


def _sortable(bits: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Bits of floats → integers in the same order, and back."""
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def _among_first(ranks: Ranks, k: int) -> Float[np.ndarray, " queries"]:
    """How many relevant items are."""
    return ranks.total((ranks.rank <= _at_least_one(k)).astype(np.float64))


def _at_least_one(k: int) -> int:
    if k < 1:
        raise ValueError(f"k is how many answers are looked at, at least 1; got {k}")
    return k


def _checked(queries: Float[np.ndarray, "queries dim"], items: Float[np.ndarray, "items its_dim"]) -> tuple[
        Float[np.ndarray, "queries dim"], Float[np.ndarray, "items dim"]]:
    """Both in float32."""
    if queries.shape[1] != items.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions and items {items.shape[1]}; embed both with one "
                         "model")
    for what, vectors in (("query", queries), ("item", items)):
        if not len(vectors):
            raise ValueError(f"there are no {what} vectors")
        squares = np.einsum("nd,nd->n", vectors, vectors)
        if (broken := np.flatnonzero(~np.isfinite(squares))).size:
            raise ValueError(f"{len(broken)} of {len(vectors)} {what} vectors are not finite, the first is number "
                             f"{broken[0]}; leave these samples out, or embed them in a wider precision")
        # bfloat16 rounds a length by up to 0.4%
        if (off := np.flatnonzero(abs(squares - 1) > 0.02)).size:
            raise ValueError(f"{len(off)} of {len(vectors)} {what} vectors are not of unit length, the first is number "
                             f"{off[0]} with {squares[off[0]] ** 0.5:.3g}; divide each by its length")
    return np.asarray(queries, np.float32), np.asarray(items, np.float32)


def _check_pairs(query: Int[np.ndarray, " pairs"], item: Int[np.ndarray, " pairs"], queries: int, items: int) -> None:
    for what, number, count in (("query", query, queries), ("item", item, items)):
        if len(number) and not 0 <= number.min() <= number.max() < count:
            raise ValueError(f"a pair names {what} {number.min() if number.min() < 0 else number.max()}; there are "
                             f"{count}, from 0")
    if alone := int((np.bincount(query, minlength=queries) == 0).sum()):
        raise ValueError(f"{alone} of {queries} queries have no relevant item; leave them out")
    if twice := len(query) - len(np.unique(query.astype(np.int64) * items + item)):
        raise ValueError(f"{twice} pairs are given more than once; give each query and item once")


def _rounding(queries: Float[np.ndarray, "queries dim"], items: Float[np.ndarray, "items dim"],
              block: tuple[int, int]) -> float:
    """How far scores in blocks are from exact ones, at most, in a sample of the first block."""
    left, right = queries[: block[0]], items[: block[1]]
    some, few = (np.linspace(0, len(side) - 1, min(len(side), 256)).astype(int) for side in (left, right))
    exact = left[some].astype(np.float64) @ right[few].astype(np.float64).T
    return float(abs((left @ right.T)[np.ix_(some, few)] - exact).max())


def _ranks(query: Int[np.ndarray, " pairs"], item: Int[np.ndarray, " pairs"], score: Float[np.ndarray, " pairs"],
           wrong: Int[np.ndarray, " pairs"], queries: int) -> Ranks:
    """`wrong`: how many items that are not relevant stand before."""
    order = np.lexsort((item, -score, query))
    rank = wrong[order] + places(np.bincount(query, minlength=queries)) + 1
    return Ranks(queries=queries, query=query[order], item=item[order], rank=rank)
