"""How far an indexing job is, for whoever looks: a small JSON file, replaced at most twice a second."""

import json
import os
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diptych.core import config, files
from diptych.index.store import collection_folder

_EVERY_S = 0.5
_RATE_WINDOW_S = 20.0


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """A job as it was at `updated_at` (both times in seconds since 1970).

    `done` counts what was looked at (of `total`, where known), unchanged and skipped ones too. `seconds_left` follows
    the rate of the last 20 seconds. "stopped": interrupted, or its process is gone; running it again goes on.
    """

    state: Literal["running", "done", "failed", "stopped"]
    pid: int
    started_at: float
    updated_at: float
    done: int = 0
    total: int | None = None
    added: int = 0
    updated: int = 0
    renamed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    pictures_per_s: float = 0.0
    seconds_left: float | None = None
    message: str = ""


class ProgressFile:
    """Written by the job, from one thread."""

    def __init__(self, collection: str, total: int | None):
        self._path = progress_path(collection)
        now = time.time()
        self._now = JobProgress(state="running", pid=os.getpid(), started_at=now, updated_at=now, total=total)
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])
        self._write()

    def update(self, done: int, **counts: int) -> None:
        """Take these numbers over; writes if the last time was half a second ago."""
        now = time.time()
        if now - self._now.updated_at < _EVERY_S:
            return
        self._marks.append((now, done))
        while now - self._marks[0][0] > _RATE_WINDOW_S and len(self._marks) > 2:
            self._marks.popleft()
        (then, before), total = self._marks[0], self._now.total
        rate = (done - before) / max(now - then, 1e-9)
        total = None if total is None else max(total, done)
        left = (total - done) / rate if total is not None and rate > 0 else None
        self._now = replace(self._now, updated_at=now, done=done, total=total, pictures_per_s=rate,
                            seconds_left=left, **counts)
        self._write()

    def finish(self, state: Literal["done", "failed", "stopped"], done: int, message: str = "", **counts: int) -> None:
        """The last word."""
        now = time.time()
        rate = done / max(now - self._now.started_at, 1e-9)
        self._now = replace(self._now, state=state, updated_at=now, done=done, pictures_per_s=rate, message=message,
                            seconds_left=0.0 if state == "done" else None, **counts)
        self._write()

    def _write(self) -> None:
        files.write_text(self._path, config.to_json(self._now))


def read_progress(collection: str) -> JobProgress | None:
    """The last job on this collection, or None. A job whose process is gone is "stopped"."""
    try:
        values = json.loads(progress_path(collection).read_text(encoding="utf-8"))
    except OSError:
        return None
    job = config.from_dict(JobProgress, values)
    return replace(job, state="stopped") if job.state == "running" and not _is_alive(job.pid) else job


def progress_path(collection: str) -> Path:
    """Where the progress of the jobs on a collection is."""
    return collection_folder(collection) / "progress.json"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
