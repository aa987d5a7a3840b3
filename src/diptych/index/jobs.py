"""Indexing: pictures in, rows out, resumably. Decoding, embedding and writing overlap.

A thread pool reads, hashes and decodes (Pillow frees the GIL); the calling thread embeds; another thread writes. The
queues between them are bounded, so memory is. What is already there is recognised by URI and stamp without opening
the file, else by its content: unchanged pictures are left alone, renamed and copied ones keep their vectors. Rows are
only ever added or replaced by key until the end, when those go whose picture was replaced or is gone; so a job that is
killed at any point and run again ends with the rows it would have had.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import cpu_count
from typing import TypeAlias

import numpy as np

from diptych.core import files, telemetry
from diptych.core.errors import PictureError
from diptych.core.telemetry import Phases
from diptych.core.types import Embedder, Pair, Picture, Skipped
from diptych.index import store
from diptych.index.progress import ProgressFile
from diptych.index.schema import PictureRow, describe, picture_id
from diptych.index.store import Collection
from diptych.index.write_behind import Taken, WriteBehind
from diptych.index.writer import Known, Writer, writing
from diptych.inputs import image

THUMBNAIL_SIDE = 256
LISTED_TWICE = "listed twice"
NO_VECTOR = "the model gave no vector"

_Records: TypeAlias = Mapping[str, Iterable[Pair | Skipped]]


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a job did. `updated`: other content, captions or metadata under the same URI. `renamed`: took its vector
    from a picture with the same bytes. `seconds` by phase overlap: "decode" is summed over threads, "wait" is what the
    embedding thread waited for it."""

    collection: str
    rows: int
    added: int
    updated: int
    renamed: int
    unchanged: int
    removed: int
    skipped: tuple[Skipped, ...]
    embedded: int
    seconds: float
    seconds_by_phase: Mapping[str, float]

    @property
    def pictures_per_s(self) -> float:
        """Embedded pictures per second of the whole job."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """How many were skipped for each reason, most frequent first."""
        return dict(Counter(item.reason for item in self.skipped).most_common())


@dataclass(frozen=True, slots=True)
class _Unchanged:
    """Nothing to do."""

    pair: Pair
    id: str


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A picture to embed; `row` lacks its vector only."""

    pair: Pair
    picture: Picture
    row: PictureRow


@dataclass(frozen=True, slots=True)
class _Refused:
    """A picture that cannot be used. `keep` what is stored of it: it may be there, it just cannot be read now."""

    pair: Pair
    skipped: Skipped
    keep: bool


_Outcome: TypeAlias = _Unchanged | Taken | _Fresh | _Refused


def index_pairs(sources: Mapping[str, Iterable[Pair | Skipped]], collection: Collection, embedder: Embedder, *,
                total: int | None = None, batch: int = 32, workers: int | None = None,
                prune: bool = True) -> IndexReport:
    """Bring a collection up to date with these sources (root → its records), holding the writer's lease.

    `prune` removes rows that came from these roots, or lie below them, and are in none of the records; what a record
    says could not be looked at stays. The root "" (pictures named one by one) is never pruned. `workers` None is one
    decoding thread per core. IndexMismatch if the collection is another embedder's; CollectionBusy if it has a writer.
    """
    if batch < 1:
        raise ValueError(f"batch is a number of pictures, at least 1, got {batch}")
    collection.require(embedder.spec)
    with writing(collection) as writer:
        return _Job(collection, writer, embedder, total, batch).run(sources, workers or cpu_count() or 1, prune)


class _Job:
    """One run of `index_pairs`; everything but `_read` happens in the calling thread."""

    def __init__(self, collection: Collection, writer: Writer, embedder: Embedder, total: int | None, batch: int):
        self.collection, self.writer, self.embedder, self.batch = collection, writer, embedder, batch
        self.stored = writer.known()
        self.by_uri = {known.uri: known for known in self.stored}
        self.by_content = {known.content_hash: known.id for known in self.stored}
        self.current: dict[str, str | None] = {}  # URI → the id it has now; None: it is no picture any more
        self.kept: set[str] = set()  # what could not be looked at, and all below it
        self.taken: set[str] = set()  # contents whose vectors were used again
        self.skipped: list[Skipped] = []
        self.counts = dict.fromkeys(("added", "updated", "renamed", "unchanged", "removed"), 0)
        self.embedded = self.done = 0
        self.total = total
        self.phases = Phases()
        self.progress = ProgressFile(collection.name, total)

    def run(self, sources: _Records, workers: int, prune: bool) -> IndexReport:
        start = time.perf_counter()
        try:
            self._mark_sources(sources, complete=False)
            self._stream(sources, workers)
            with self.phases("write"):
                self._remove_what_is_gone(set(sources) - {""} if prune else set())
                self.writer.optimize()
            self._mark_sources(sources, complete=True)
        except BaseException as error:
            state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            message = "" if state == "stopped" else f"{type(error).__name__}: {error}"
            self.progress.finish(state, self.done, message, skipped=len(self.skipped), **self.counts)
            raise
        self.progress.finish("done", self.done, skipped=len(self.skipped), **self.counts)
        return IndexReport(collection=self.collection.name, rows=self.collection.count(), **self.counts,
                           skipped=tuple(self.skipped), embedded=self.embedded, seconds=time.perf_counter() - start,
                           seconds_by_phase=dict(self.phases.seconds))

    def _stream(self, sources: _Records, workers: int) -> None:
        title = f"Indexing {self.collection.name}"
        behind = WriteBehind(self.writer, self.by_content, self.phases)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        try:
            with telemetry.progress(title, self.total, "pictures") as bar:
                waiting: list[_Fresh] = []
                for outcome in self._outcomes(sources, pool):
                    self._count(outcome)
                    if isinstance(outcome, Taken):
                        behind.put(outcome)
                    elif isinstance(outcome, _Fresh):
                        waiting.append(outcome)
                        if len(waiting) == self.batch:
                            behind.put(*self._embed(waiting))
                            waiting = []
                    bar.advance()
                    self.progress.update(self.done, skipped=len(self.skipped), **self.counts)
                behind.put(*self._embed(waiting))
        finally:
            pool.shutdown(cancel_futures=True)
            behind.close()

    def _outcomes(self, sources: _Records, pool: ThreadPoolExecutor) -> Iterator[_Outcome]:
        """What to do about each record, in their order; decoding runs ahead by two batches."""
        ahead: deque[Future[_Outcome] | _Outcome] = deque()
        for source, records in sources.items():
            for record in records:
                if (outcome := self._look(record, source, pool)) is not None:
                    ahead.append(outcome)
                while len(ahead) > 2 * self.batch:
                    yield self._resolved(ahead.popleft())
        while ahead:
            yield self._resolved(ahead.popleft())

    def _resolved(self, outcome: "Future[_Outcome] | _Outcome") -> _Outcome:
        if not isinstance(outcome, Future):
            return outcome
        with self.phases("wait"):
            return outcome.result()

    def _look(self, record: Pair | Skipped, source: str,
              pool: ThreadPoolExecutor) -> "Future[_Outcome] | _Outcome | None":
        """Decide without opening the file if possible."""
        if isinstance(record, Skipped):
            if record.reason != image.NO_SUCH_FILE:
                self.kept.add(record.id)
            self._skip(record)
            return None
        if record.uri in self.current:
            self._skip(Skipped(id=record.uri, reason=LISTED_TWICE))
            return None
        self.current[record.uri] = None
        known = self.by_uri.get(record.uri)
        if known is not None and record.stamp is not None and record.stamp == known.stamp:
            return _same(record, source, known)
        return pool.submit(self._read, record, source, known)

    def _read(self, pair: Pair, source: str, known: Known | None) -> _Outcome:
        """In a thread of the pool: read, recognise by content, else decode."""
        with self.phases("decode"):
            try:
                data = pair.data if pair.data is not None else _bytes_of(pair.uri)
            except PictureError as error:
                skipped = Skipped(id=pair.uri, reason=error.reason, detail=str(error))
                return _Refused(pair, skipped, keep=error.reason != image.NO_SUCH_FILE)
            content_hash = files.sha256_bytes(data)
            if known is not None and known.content_hash == content_hash:
                return _same(pair, source, known)
            row_id = picture_id(content_hash, pair.uri)
            if of := self.by_content.get(content_hash):
                return Taken(row_id, of, pair, source, content_hash)
            try:
                decoded = image.open_picture(data)
            except PictureError as error:
                return _Refused(pair, Skipped(id=pair.uri, reason=error.reason, detail=str(error)), keep=False)
            return _Fresh(pair, decoded.picture, PictureRow(
                id=row_id, uri=pair.uri, source=source, content_hash=content_hash, stamp=pair.stamp,
                described=describe(pair.captions, pair.metadata), captions=pair.captions, width=decoded.width,
                height=decoded.height, format=decoded.format, file_bytes=len(data),
                thumbnail=_thumbnail(data, decoded), vector=np.empty(0, np.float32), metadata=pair.metadata))

    def _count(self, outcome: _Outcome) -> None:
        uri = outcome.pair.uri
        known = self.by_uri.get(uri)
        match outcome:
            case _Refused(skipped=skipped, keep=keep):
                self._skip(skipped)
                if keep:
                    self.kept.add(uri)
                return
            case _Unchanged(id=row_id):
                kind = "unchanged"
            case Taken(row_id=row_id, of=of) if row_id == of and known is not None:
                same = known.described == describe(outcome.pair.captions, outcome.pair.metadata)
                kind = "unchanged" if same else "updated"
            case Taken(row_id=row_id, content_hash=content_hash):
                self.taken.add(content_hash)
                kind = "renamed" if known is None else "updated"
            case _Fresh(row=row):
                row_id = row.id
                kind = "added" if known is None else "updated"
        self.done += 1
        self.counts[kind] += 1
        self.current[uri] = row_id

    def _skip(self, skipped: Skipped) -> None:
        self.done += 1
        self.skipped.append(skipped)
        telemetry.count("index_skipped", reason=skipped.reason)

    def _embed(self, fresh: Sequence[_Fresh]) -> list[PictureRow]:
        """Rows with their vectors. A vector that is not finite is the picture's fault, not the job's."""
        if not fresh:
            return []
        with self.phases("embed"):
            vectors = self.embedder.embed_images([item.picture for item in fresh])
        rows: list[PictureRow] = []
        for item, vector in zip(fresh, vectors, strict=True):
            if np.isfinite(vector).all():
                rows.append(replace(item.row, vector=vector))
            else:
                self.done -= 1  # it was counted when it was decoded
                self.counts["updated" if item.pair.uri in self.by_uri else "added"] -= 1
                self._skip(Skipped(id=item.pair.uri, reason=NO_VECTOR))
                self.current[item.pair.uri] = None
        self.embedded += len(rows)
        return rows

    def _remove_what_is_gone(self, roots: set[str]) -> None:
        """Rows whose picture has been replaced, and, below these roots, rows whose picture is no longer there."""
        doomed: list[str] = []
        for known in self.stored:
            now = self.current.get(known.uri)
            if now is not None:
                if now != known.id:
                    doomed.append(known.id)
                continue
            lineage = _lineage(known.uri) if roots else set[str]()
            if (known.source in roots or roots & lineage) and not self.kept & {known.source, *lineage}:
                doomed.append(known.id)
                self.counts["removed"] += known.content_hash not in self.taken  # the other half of a rename
        self.writer.delete(doomed)

    def _mark_sources(self, sources: Iterable[str], *, complete: bool) -> None:
        manifest = self.collection.manifest()
        for root in sources:
            if root:
                manifest = store.with_source(manifest, root, complete=complete)
        store.write_manifest(manifest)


def _same(pair: Pair, source: str, known: Known) -> _Outcome:
    """A picture with the stored content: nothing to do, or its row to write anew with what is now said of it."""
    if known.stamp == pair.stamp and known.described == describe(pair.captions, pair.metadata):
        return _Unchanged(pair, known.id)
    return Taken(known.id, known.id, pair, source, known.content_hash)


def _bytes_of(uri: str) -> bytes:
    if "://" not in uri:
        return image.read_file(uri)
    try:
        data = files.read_bytes(uri, image.MAX_BYTES + 1)
    except Exception as error:  # every remote file system has its own errors; each is reported with its reason
        raise PictureError(image.UNREADABLE, f"{type(error).__name__}: {error}") from error
    return image.of_allowed_size(data)


def _thumbnail(data: bytes, decoded: image.Decoded) -> bytes:
    """A small WebP is its own thumbnail; that also keeps its transparency."""
    small = max(decoded.width, decoded.height) <= THUMBNAIL_SIDE
    if small and decoded.plain and decoded.format == "WEBP" and len(data) <= THUMBNAIL_SIDE << 8:
        return data
    return image.thumbnail(decoded.picture, THUMBNAIL_SIDE)


def _lineage(uri: str) -> set[str]:
    """The URI and every folder above it: "/a/b" gives /a/b, /a and /."""
    parts = uri.split("/")
    return {"/".join(parts[:i]) or "/" for i in range(1, len(parts) + 1)}
