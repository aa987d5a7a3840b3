"""What a live collection's search answers to the gold set's queries, as its users get it: words of captions fused in,
operators understood, the cut-off as it is, and how long it takes.

Beside `text_to_image`, which is the model alone by exact cosines, this is the whole path.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diptych.core import telemetry
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.outcome import Outcome, Statistic

TASK = "served"


@dataclass(frozen=True, kw_only=True)
class ServedConfig:
    """Each query asks for `k` hits."""

    k: int = 10

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"k is how many hits are asked for, at least 1; got {self.k}")


def served(embedded: Embedded, config: ServedConfig) -> list[Outcome]:
    """Samples are the captions. "hit@1", "hit@5" and "hit@10", as far as `k` goes: an expected picture, or one with the
    same bytes, is among the first hits. "answered": search says that it has an answer. "p50_ms" and "p95_ms" of a
    search in this process, in milliseconds. A query that search refuses finds nothing. No outcome where there is
    nothing to search."""
    search, data = embedded.looks.search, embedded.data
    if search is None or not data.captions:
        return []
    same = data.same or tuple(range(len(data)))
    number = {id_: same[at] for at, id_ in enumerate(data.ids)}
    found: list[tuple[str, ...]] = []
    took: list[float] = []
    answered: list[float] = []
    search("warm up", config.k)  # the first one reads the collection
    with telemetry.progress("searching", len(data.captions), "queries") as bar:
        for caption in data.captions:
            try:
                result = search(caption.text, config.k)
            except ValueError:  # nothing to look for in it, such as "-"
                hits, ms, said = (), np.nan, False
            else:
                hits, ms, said = tuple(hit.uri for hit in result), result.took_ms, result.answered
            found.append(hits)
            took.append(ms)
            answered.append(float(said))
            bar.advance()
    expected = [{same[picture] for picture in caption.pictures} for caption in data.captions]
    ranks = [next((at for at, uri in enumerate(hits, start=1) if number.get(uri) in right), np.inf)
             for hits, right in zip(found, expected, strict=True)]
    rank, ms = np.array(ranks), np.array(took)
    values = {f"hit@{k}": (rank <= k).astype(np.float64) for k in (1, 5, 10) if k <= config.k}
    languages = [caption.language for caption in data.captions]
    return [Outcome(
        task=TASK, ids=[f"{caption.language}|{caption.text}" for caption in data.captions],
        values=values | {"answered": np.array(answered)},
        statistics={"p50_ms": _quantile(ms, 0.5), "p95_ms": _quantile(ms, 0.95)},
        groups=[",".join(map(str, caption.pictures)) for caption in data.captions],
        slices={"language": languages} if len(set(languages)) > 1 else {},
        details={"query": [caption.text for caption in data.captions], "language": languages,
                 "expected": [[data.ids[picture] for picture in caption.pictures] for caption in data.captions],
                 "found": [list(hits) for hits in found], "rank": ranks, "ms": took},
        lower=frozenset({"p50_ms", "p95_ms"}), amounts=frozenset({"p50_ms", "p95_ms"}))]


def _quantile(values: Float[np.ndarray, " samples"], share: float) -> Statistic:
    """The value below which that share of the weight lies, of those that are known."""
    order = np.argsort(values)[: int(np.isfinite(values).sum())]

    def statistic(weights: Float[np.ndarray, " samples"]) -> float:
        total = np.cumsum(weights[order])
        if not len(total) or total[-1] <= 0:
            return float("nan")
        return float(values[order[np.searchsorted(total, share * total[-1])]])

    return statistic
