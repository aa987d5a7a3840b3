"""Search a collection: by text, by picture, by a picture of its own, filtered, fused with the words of its captions.

The query vector of a text is the normalised weighted sum of its wanted terms' unit vectors. Several lists (text, image,
like, lexical) are fused by rank, for their scores cannot be compared; one list alone keeps its order. Cosines are
exact.
"""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.core import telemetry
from diptych.core.errors import CollectionError
from diptych.core.types import Embedder, Hit, SearchResult
from diptych.index import exact, snapshot
from diptych.index.fusion import reciprocal_rank_fusion
from diptych.index.query import Term, parse
from diptych.index.schema import metadata_in
from diptych.index.snapshot import Snapshot, StaleSnapshotError
from diptych.index.store import Collection
from diptych.inputs.image import PictureLike, as_picture

T = TypeVar("T")

_ATTEMPTS = 16
_LONGEST_PAUSE_S = 0.5
_LAST = 1e6  # more than any score: what is taken off a picture that shows what is excluded
_SHOWN = ("id", "uri", "caption", "width", "height", "format")
_RELOAD_SHARE = 10  # a large collection that is being written is loaded again after ten times as long as loading takes


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What was asked, with its texts and picture as unit vectors. `negative` are what is excluded, with their weights;
    `vectors["text"]` is away from them when nothing else is asked for."""

    terms: tuple[Term, ...]
    vectors: Mapping[str, Float[np.ndarray, " dim"]]
    positive: Float[np.ndarray, " dim"] | None
    negative: Sequence[tuple[Float[np.ndarray, " dim"], float]]
    like: str | None
    where: str | None
    k: int
    offset: int
    hybrid: bool

    @property
    def wanted(self) -> list[str]:
        """The texts of positive weight."""
        return [term.text for term in self.terms if term.weight > 0]


class Searcher:
    """A collection with the embedder that made its vectors. Safe to share between threads.

    A writer's commits are seen by the next search; only when loading takes long does it lag behind a running job.
    """

    def __init__(self, collection: Collection, embedder: Embedder):
        """IndexMismatch if another embedder made the collection's vectors."""
        collection.require(embedder.spec)
        self._collection, self._embedder = collection, embedder
        self._loading = threading.Lock()
        self._loaded: tuple[tuple[int, int], Snapshot] | None = None
        self._next_load_at = 0.0
        self._text_vector = functools.lru_cache(maxsize=1024)(self._embed_text)

    @property
    def collection(self) -> Collection:
        """What is searched."""
        return self._collection

    @property
    def embedder(self) -> Embedder:
        """What embeds the queries."""
        return self._embedder

    def __bool__(self) -> bool:
        return True  # an empty collection can be searched all the same

    def __len__(self) -> int:
        return self._persist(lambda again: len(self._snapshot(fresh=again)))

    def search(self, query: str = "", *, image: PictureLike | None = None, like: str | None = None,
               exclude: Sequence[str] = (), where: str | None = None, k: int = 10, offset: int = 0,
               hybrid: bool = True) -> SearchResult:
        """The k best pictures after the first `offset`.

        `query` may have weighted terms (`2:boat + sunset - people`), `exclude` adds excluded ones: pictures that show
        them come last, and those that are nearer to them than to what is wanted sink by weight. `image` finds
        pictures like that one, `like` pictures like the one of that id (itself left out). `where` is SQL over the
        columns and is applied before ranking. `hybrid` fuses in the captions' words. Asked nothing at all, it lists
        what passes `where` by URI.

        `score` is the cosine with the text where there is one, else with the picture. `probability` is the model's
        for the wanted terms, and `matches` says that it passes the cut-off (or that the captions contain every word)
        and that no excluded term passes it. Models are calibrated for text: for pictures alone it is too high.

        ValueError for a bad argument or an unknown `like`; FilterError for a bad `where`; PictureError for `image`.
        """
        start = perf_counter()
        if k < 0 or offset < 0:
            raise ValueError(f"k and offset are not negative, got k={k}, offset={offset}")
        terms = parse(query, exclude)
        if query.strip() and not terms and image is None and like is None:
            raise ValueError(f"there is nothing to look for in {query!r}; write a word")
        vectors, positive, negative = self._embed(terms, image)
        question = _Question(
            terms=terms, vectors=vectors, positive=positive, negative=negative, like=like, k=k, offset=offset,
            where=where if where and where.strip() else None, hybrid=hybrid)
        hits, total = self._persist(lambda again: self._answer(question, self._snapshot(fresh=again)))
        took_ms = 1000 * (perf_counter() - start)
        telemetry.observe("search_ms", took_ms, collection=self._collection.name)
        spec = self._embedder.spec
        return SearchResult(query=query, model_name=spec.name, fingerprint=spec.fingerprint, took_ms=took_ms,
                            total=total, hits=tuple(hits))

    def _embed(self, terms: Sequence[Term], image: PictureLike | None) -> tuple[
            dict[str, Float[np.ndarray, " dim"]], Float[np.ndarray, " dim"] | None,
            list[tuple[Float[np.ndarray, " dim"], float]]]:
        """The query vectors by list name, that of the wanted terms, and each excluded term's with its weight."""
        vectors: dict[str, Float[np.ndarray, " dim"]] = {}
        each = [self._text_vector(term.text) for term in terms]
        wanted = [term.weight > 0 for term in terms]
        if terms:
            used = [i for i, positive in enumerate(wanted) if positive or not any(wanted)]
            vectors["text"] = _sum([each[i] for i in used], [terms[i].weight for i in used])
        if image is not None:
            vectors["image"] = self._embedder.embed_images([as_picture(image)])[0]
        if not all(np.isfinite(vector).all() for vector in vectors.values()):
            raise CollectionError(f"{self._embedder.spec.name} gave no finite vector for this query")
        positive = vectors["text"] if any(wanted) else None
        return vectors, positive, [(v, -t.weight) for v, t in zip(each, terms, strict=True) if t.weight < 0]

    def _answer(self, question: _Question, now: Snapshot) -> tuple[list[Hit], int]:
        """The hits of this page, and how many pictures were ranked."""
        mask = np.ones(len(now), dtype=bool) if question.where is None else now.where(question.where)
        vectors = dict(question.vectors)
        if question.like is not None:
            row = now.find(question.like)
            if row is None:
                raise ValueError(f"no picture {question.like!r} in {self._collection.name}")
            vectors["like"] = now.vectors[row]
            mask[row] = False
        scores = {name: exact.cosines(now.vectors, vector) for name, vector in vectors.items()}
        leading = next(iter(scores.values()), np.zeros(len(now), np.float32))
        against = [(exact.cosines(now.vectors, other), weight) for other, weight in question.negative]
        excluded = self._excluded(question, now, [cosines for cosines, _ in against])
        if against:
            scores["text"] = _pushed(scores["text"], against if question.positive is not None else [], excluded)
        named = _named(question, now) & mask & ~excluded
        lists = _lists(question, now, scores, mask, named)
        rows = _order(lists, now, mask, question.offset + question.k)[question.offset:]
        ranks = {name: np.zeros(len(now), dtype=np.int64) for name in lists}
        for name, found in lists.items():
            ranks[name][found] = np.arange(1, len(found) + 1)
        hits: list[Hit] = []
        for row, values in zip(rows.tolist(), now.fetch(rows, [*_SHOWN, *now.metadata_columns]), strict=True):
            probability = self._judge(now.vectors[row], question, vectors)
            matches = bool((probability >= self._embedder.spec.cutoff or named[row]) and not excluded[row])
            hits.append(Hit(
                id=values["id"], uri=values["uri"], caption=values["caption"] or "", score=float(leading[row]),
                probability=probability, matches=matches,
                ranks={name: int(rank[row]) for name, rank in ranks.items() if rank[row]},
                metadata={name: values[name] for name in ("width", "height", "format")} | metadata_in(values)))
        return hits, int(mask.sum())

    def _excluded(self, question: _Question, now: Snapshot,
                  against: Sequence[Float[np.ndarray, " n"]]) -> Bool[np.ndarray, " n"]:
        """Rows that show something excluded: by the cut-off, or, in hybrid search, by every word of it in a caption."""
        excluded = np.zeros(len(now), dtype=bool)
        for cosines in against:
            excluded |= cosines >= self._embedder.spec.cutoff_cosine
        for term in question.terms:
            if term.weight < 0 and question.hybrid:
                excluded |= now.words.matches([term.text])
        return excluded

    def _judge(self, vector: Float[np.ndarray, " dim"], question: _Question,
               vectors: Mapping[str, Float[np.ndarray, " dim"]]) -> float:
        """The probability that a picture is what was wanted."""
        spec = self._embedder.spec
        if question.positive is not None:
            return spec.probability(float(vector @ question.positive))
        if pictures := [other for name, other in vectors.items() if name != "text"]:
            return max(spec.probability(float(vector @ other)) for other in pictures)
        # only exclusions, or nothing at all
        return 1.0 - max((spec.probability(float(vector @ other)) for other, _ in question.negative), default=0.0)

    def _snapshot(self, fresh: bool = False) -> Snapshot:
        """The newest version in memory. One thread loads; the others go on with the one before, if there is one."""
        state = self._collection.state()
        loaded = self._loaded
        if loaded is not None and not fresh and (loaded[0] == state or monotonic() < self._next_load_at):
            return loaded[1]
        if not self._loading.acquire(blocking=loaded is None or fresh):
            assert loaded is not None
            return loaded[1]
        try:
            if self._loaded is None or self._loaded[0] != self._collection.state() or fresh:
                self._load()
            assert self._loaded is not None
            return self._loaded[1]
        finally:
            self._loading.release()

    def _load(self) -> None:
        start = monotonic()
        self._collection.require(self._embedder.spec)  # it may have been removed and made anew
        state = self._collection.state()
        self._loaded = state, snapshot.load(self._collection)
        took = monotonic() - start
        self._next_load_at = monotonic() + (_RELOAD_SHARE * took if took > 0.2 else 0.0)

    def _persist(self, look: Callable[[bool], T]) -> T:
        """`look(again)` until no writer clears the version away that it looks at; a job does so once in minutes."""
        for attempt in range(_ATTEMPTS):
            try:
                return look(attempt > 0)
            except StaleSnapshotError:
                sleep(min(_LONGEST_PAUSE_S, 0.005 * 2**attempt))  # five seconds in all
        raise CollectionError(f"{self._collection.name} changes faster than it can be read; try again")

    def _embed_text(self, text: str) -> Float[np.ndarray, " dim"]:
        return self._embedder.embed_texts([text])[0]


def _named(question: _Question, now: Snapshot) -> Bool[np.ndarray, " n"]:
    """Rows whose captions contain every word that is wanted."""
    return now.words.matches(question.wanted) if question.hybrid else np.zeros(len(now), dtype=bool)


def _pushed(cosines: Float[np.ndarray, " n"], against: Sequence[tuple[Float[np.ndarray, " n"], float]],
            excluded: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Cosines with what is wanted, less the weighted excess of those `against` it; what is `excluded` last.
    (To subtract the excluded vector from the query instead would rank by what nobody asked for.)"""
    pushed = cosines.astype(np.float64)
    for other, weight in against:
        pushed -= weight * np.maximum(0.0, other - cosines)
    pushed[excluded] -= _LAST
    return pushed


def _lists(question: _Question, now: Snapshot, scores: Mapping[str, Float[np.ndarray, " n"]],
           mask: Bool[np.ndarray, " n"], named: Bool[np.ndarray, " n"]) -> dict[str, Int[np.ndarray, " _"]]:
    """Each list's rows, best first: whole when there are several, so that fused ranks do not depend on the page."""
    several = len(scores) > 1 or bool(named.any())
    depth = len(now) if several else question.offset + question.k
    lists = {name: exact.top_k(values, depth, mask) for name, values in scores.items()}
    if named.any():
        lists["lexical"] = exact.top_k(now.words.scores(question.wanted), len(now), named)
    return lists


def _order(lists: Mapping[str, Int[np.ndarray, " _"]], now: Snapshot, mask: Bool[np.ndarray, " n"],
           depth: int) -> Int[np.ndarray, " _"]:
    """The first `depth` rows: fused, or of the one list, or by URI if there is none."""
    match list(lists.values()):
        case []:
            return now.by_uri[mask[now.by_uri]][:depth]
        case [only]:
            return only[:depth]
        case _:
            return exact.top_k(reciprocal_rank_fusion(lists, len(now)), depth, mask)


def _sum(vectors: Sequence[Float[np.ndarray, " dim"]], weights: Sequence[float]) -> Float[np.ndarray, " dim"]:
    """The normalised weighted sum. ValueError if nothing is left of it."""
    total = np.array(weights, dtype=np.float32) @ np.stack(vectors)
    norm = float(np.linalg.norm(total))
    if norm < 1e-6:
        raise ValueError("the terms cancel each other out; leave one of them away")
    return (total / norm).astype(np.float32)
