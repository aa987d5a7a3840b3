"""All scores of queries and items, a block at a time, so that the whole matrix never is: 1M × 1M scores are 4 TB, a
block is 8 MB. What is kept of a block is how many of its scores lie below given thresholds.

The time is the product's and little more. Each thread multiplies a block of its own, with BLAS on that thread alone,
and compares the scores with the thresholds of their row and of their column while they are in its cache: BLAS with
threads of its own keeps them spinning between two products, where nothing else gets to run.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_info, threadpool_limits

BLOCK = (2048, 1024)
"""Queries and items whose scores are computed at once: 8 MB, which stay in the third-level cache."""
SLAB = 256
"""Rows of a block that are compared at a time: 1 MB, for the second-level cache."""
CROWD = 64
"""A row or column with more thresholds than this is sorted; with fewer, comparing it with each is quicker."""

_Found = list[tuple[int, slice, np.ndarray]]
"""Of the queries (0) or the items (1): where thresholds lie, and how many scores of a block are below each."""


def count_lower(
    queries: Float[np.ndarray, "queries dim"], items: Float[np.ndarray, "items dim"], query: Int[np.ndarray, " pairs"],
    item: Int[np.ndarray, " pairs"], threshold: Float[np.ndarray, " pairs"], block: tuple[int, int] = BLOCK,
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """For each pair, how many items have a score with its query below `threshold`, and how many queries with its item.

    The pairs themselves count as below everything: of n items, n less the first number are those that reach the
    threshold and are in no pair with the query. A score that is not a number is below nothing.
    """
    rows, columns = _side(query, len(queries), threshold), _side(item, len(items), threshold)
    lower = np.zeros((2, len(threshold)), np.int64)
    tops, lefts = edges(len(queries), block[0]), edges(len(items), block[1])
    row, column = rows.position[query], columns.position[item]
    cell = (np.searchsorted(tops, row, "right") - 1) * len(lefts) + np.searchsorted(lefts, column, "right") - 1
    by_cell = np.argsort(cell, kind="stable")
    row, column, cell = row[by_cell], column[by_cell], cell[by_cell]

    def found(number: int, top: int, bottom: int, left: int, right: int, some: np.ndarray) -> _Found:
        scores = some @ columns.take(items, left, right).T
        pairs = slice(*np.searchsorted(cell, [number, number + 1]))
        scores[row[pairs] - top, column[pairs] - left] = -np.inf
        return [*(one for a, b in pairwise(edges(bottom - top, SLAB))
                  for one in _compare(scores[a:b], rows, top + a, columns, left)),
                *_sort(scores[: rows.crowd_in(top, bottom)], rows, top, 0),
                *_sort(scores.T[: columns.crowd_in(left, right)], columns, left, 1)]

    threads = max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for stripe, (top, bottom) in enumerate(pairwise(tops)):
            some = rows.take(queries, top, bottom)
            tasks = [pool.submit(found, number, top, bottom, left, right, some)
                     for number, (left, right) in enumerate(pairwise(lefts), stripe * len(lefts))]
            for task in tasks:
                for side, at, below in task.result():
                    lower[side, at] += below
    return _by_pair(lower[0], rows), _by_pair(lower[1], columns)


def edges(count: int, size: int) -> list[int]:
    """Where blocks of at most `size` begin and end. They are equally long, because a narrow last one would be added up
    by another routine of BLAS, with another rounding."""
    return np.linspace(0, count, -(-count // size) + 1).astype(np.int64).tolist()


def places(held: Int[np.ndarray, " owners"]) -> Int[np.ndarray, " pairs"]:
    """0, 1, … for each owner's pairs, which lie one after another."""
    return np.arange(held.sum()) - np.repeat(np.cumsum(held) - held, held)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """The queries or the items in `order` (None: as they are), those with most pairs first: the ones that have an n-th
    pair are then the first so many. `threshold` has an entry for each `pair`: first the crowded vectors' ones, vector
    by vector between `crowded` edges, then every other vector's first, then their second …, as `slots` say: what to
    add to a vector's position, and the position at which it ends."""

    order: Int[np.ndarray, " vectors"] | None
    position: Int[np.ndarray, " vectors"]
    pair: Int[np.ndarray, " pairs"]
    threshold: Float[np.ndarray, " pairs"]
    crowded: Sequence[int]
    slots: Sequence[tuple[int, int]]

    def take(self, vectors: Float[np.ndarray, "vectors dim"], start: int, stop: int) -> Float[np.ndarray, "some dim"]:
        return vectors[start:stop] if self.order is None else vectors[self.order[start:stop]]

    def crowd_in(self, start: int, stop: int) -> int:
        return max(0, min(stop, len(self.crowded) - 1) - start)


def _side(owner: Int[np.ndarray, " pairs"], count: int, threshold: Float[np.ndarray, " pairs"]) -> _Side:
    held = np.bincount(owner, minlength=count)
    order = np.argsort(-held, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(count)
    held = held[order]
    crowd = int((held > CROWD).sum())
    slot = np.empty(len(owner), np.int64)
    slot[np.argsort(position[owner], kind="stable")] = places(held)
    slot[position[owner] < crowd] = -1
    pair = np.lexsort((position[owner], slot))
    crowded = [0, *np.cumsum(held[:crowd]).tolist()]
    slots, used = [], crowded[-1] - crowd
    for number in range(held[crowd] if crowd < count else 0):
        end = int(np.searchsorted(-held, -number))
        slots.append((used, end))
        used += end - crowd
    return _Side(order=None if (order[1:] > order[:-1]).all() else order, position=position, pair=pair,
                 threshold=threshold[pair].astype(np.float32), crowded=crowded, slots=slots)


def _compare(scores: Float[np.ndarray, "rows columns"], rows: _Side, top: int, columns: _Side, left: int) -> _Found:
    """Of the vectors from those positions on that are not crowded."""
    found = _Found()
    for number, side, first in ((0, rows, top), (1, columns, left)):
        crowd, last = len(side.crowded) - 1, first + scores.shape[number]
        begin = max(first, crowd)
        for shift, end in side.slots:
            if end <= begin:
                break
            some, at = slice(begin - first, min(last, end) - first), slice(begin + shift, min(last, end) + shift)
            low = scores[some] < side.threshold[at, None] if side is rows else scores[:, some] < side.threshold[at]
            # a byte a score, added up as it is: numpy is ten times slower at counting truths along an axis
            along = 1 - number
            found.append((number, at, low.view(np.uint8).sum(along, np.uint8 if low.shape[along] < 256 else np.uint16)))
    return found


def _sort(scores: Float[np.ndarray, "vectors others"], side: _Side, first: int, number: int) -> _Found:
    """Of crowded vectors from that position on."""
    return [(number, slice(*side.crowded[at : at + 2]), np.searchsorted(
        ordered, side.threshold[side.crowded[at] : side.crowded[at + 1]]))
            for at, ordered in enumerate(np.sort(scores, axis=1), first)]


def _by_pair(lower: Int[np.ndarray, " pairs"], side: _Side) -> Int[np.ndarray, " pairs"]:
    out = np.empty_like(lower)
    out[side.pair] = lower
    return out
