"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): lists whose scores cannot be compared, by rank."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int


def reciprocal_rank_fusion(lists: Mapping[str, Int[np.ndarray, " _"]], n: int, *, k: float = 60.0,
                           weights: Mapping[str, float] | None = None) -> Float[np.ndarray, " n"]:
    """Fused score of each of n rows: the sum over lists of weight / (k + rank), rank from 1; 0 where in no list.

    A list holds distinct rows, best first. `weights` not given are 1.
    """
    fused = np.zeros(n)
    for name, rows in lists.items():
        fused[rows] += (weights or {}).get(name, 1.0) / (k + np.arange(1, len(rows) + 1))
    return fused
