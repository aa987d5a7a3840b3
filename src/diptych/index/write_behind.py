"""The writing half of an indexing job: a thread that turns rows into few, large commits while the next are embedded."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.core.telemetry import Phases
from diptych.core.types import Pair
from diptych.index.schema import PictureRow, describe
from diptych.index.writer import Writer

_FLUSH_ROWS = 1024
_FLUSH_S = 2.0
_FLUSHES_PER_OPTIMIZE = 64


@dataclass(frozen=True, slots=True)
class Taken:
    """A row to write with the vector of the stored row `of`: renamed, copied, or described differently."""

    row_id: str
    of: str
    pair: Pair
    source: str
    content_hash: str


class WriteBehind:
    """Commits every 1,024 rows or two seconds. After an error it discards what comes, and `put` raises the error."""

    def __init__(self, writer: Writer, by_content: dict[str, str], phases: Phases):
        """`by_content` (content hash → id) is told of every row once it is written."""
        self._writer, self._by_content, self._phases = writer, by_content, phases
        self._queue: queue.Queue[PictureRow | Taken | None] = queue.Queue(maxsize=_FLUSH_ROWS)
        self._error: Exception | None = None
        self._flushes = 0
        self._thread = threading.Thread(target=self._run, name="write")
        self._thread.start()

    def put(self, *items: PictureRow | Taken) -> None:
        """Hand rows over; waits while the writer is behind."""
        for item in items:
            if self._error is not None:
                raise self._error
            self._queue.put(item)

    def close(self) -> None:
        """Write what is left, and wait for it."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        more = True
        while more:
            held: list[PictureRow | Taken] = []
            deadline = time.monotonic() + _FLUSH_S
            while len(held) < _FLUSH_ROWS and (left := deadline - time.monotonic()) > 0:
                try:
                    item = self._queue.get(timeout=left)
                except queue.Empty:
                    break
                if item is None:
                    more = False
                    break
                held.append(item)
            if held and self._error is None:
                self._flush(held)

    def _flush(self, items: Sequence[PictureRow | Taken]) -> None:
        try:
            with self._phases("write"):
                stored = self._writer.fetch({item.of for item in items if isinstance(item, Taken)})
                rows = [_retold(stored[item.of], item) if isinstance(item, Taken) else item for item in items]
                self._writer.upsert(rows)
                self._flushes += 1
                if self._flushes % _FLUSHES_PER_OPTIMIZE == 0:
                    self._writer.optimize()
        except Exception as error:  # raised again in the calling thread
            self._error = error
            return
        self._by_content.update((row.content_hash, row.id) for row in rows)


def _retold(stored: PictureRow, taken: Taken) -> PictureRow:
    pair = taken.pair
    return replace(stored, id=taken.row_id, uri=pair.uri, source=taken.source, stamp=pair.stamp,
                   described=describe(pair.captions, pair.metadata), captions=pair.captions, metadata=pair.metadata)
