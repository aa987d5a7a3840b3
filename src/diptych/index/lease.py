"""One writer at a time: an operating system lock that dies with its process, so no stale lock is ever left behind."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from diptych.core.errors import CollectionBusy


@contextmanager
def writer_lease(path: Path, name: str) -> Generator[None, None, None]:
    """Hold the lease of collection `name`, whose lock file is `path`. CollectionBusy names who holds it.

    flock, not lockf: two writers in one process exclude each other as well. The file is never deleted, for a
    process that waits on a deleted file's lock would believe to be alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            raise CollectionBusy(f"{name} is being written by process {holder}; wait until it is done, "
                                 f"or stop it (kill {holder}) and run this again: nothing is lost") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """The holder's process id; it may need a moment to write it after taking the lock."""
    for _ in range(20):
        if pid := os.pread(descriptor, 20, 0).decode("ascii", "replace").strip():
            return pid
        time.sleep(0.005)
    return "?"
