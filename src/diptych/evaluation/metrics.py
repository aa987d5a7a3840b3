"""Retrieval metrics: pure functions of scores and truth. A tie with a wrong answer is wrong."""

import numpy as np
from jaxtyping import Bool, Float, Int


def first_hit_rank(
    scores: Float[np.ndarray, "queries items"], positive: Bool[np.ndarray, "queries items"]
) -> Int[np.ndarray, " queries"]:
    """Rank, from 1, of each query's best positive. Negatives with the same score stand before it, so that a model
    that gives every pair one score gets no hit, nor does one that gives NaN. ValueError for a query without a
    positive."""
    if not positive.any(axis=1).all():
        raise ValueError(f"{int((~positive.any(axis=1)).sum())} queries have no positive; leave them out")
    best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + (~(scores < best) & ~positive).sum(axis=1)


def hit_at_k(ranks: Int[np.ndarray, " queries"], k: int) -> float:
    """Share of queries with a positive among the first k ("R@k" of the CLIP papers: any positive counts)."""
    return float((ranks <= k).mean())
