"""Counts, timings and progress. Events only flow out: nothing here is read back by the work it observes.

A library never prints. `progress` and `notice` write to stderr only when the command line has asked for it with
`show_progress(True)`; `listen` lets the service and the tests receive the same numbers.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

Listener = Callable[[str, float, dict[str, Any]], None]

_lock = threading.Lock()
_listeners: list[Listener] = []
_display = {"progress": False}

LINE_EVERY_S = 15.0
"""How often progress is said where stderr is no terminal."""


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener(name, value, labels)` on every count and observation; returns the function that stops it."""
    with _lock:
        _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def count(name: str, value: float = 1.0, **labels: Any) -> None:
    """Add to a counter, e.g. count("index_skipped", reason="truncated")."""
    for listener in tuple(_listeners):
        listener(name, value, labels)


def observe(name: str, value: float, **labels: Any) -> None:
    """Report one measurement with its unit in the name, e.g. observe("search_ms", 3.1)."""
    for listener in tuple(_listeners):
        listener(name, value, labels)


def show_progress(on: bool) -> None:
    """Whether `progress` and `notice` write to stderr. The command line turns it on; libraries and tests leave it
    off."""
    _display["progress"] = on


def notice(sentence: str | None) -> None:
    """Say a sentence on stderr where progress is shown; None says nothing."""
    if sentence and _display["progress"]:
        sys.stderr.write(f"diptych: {sentence}\n")


class Phases:
    """Seconds spent per named phase, from any thread: where the time of a job went."""

    def __init__(self):
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Generator[None, None, None]:
        """`with phases("decode"): …` adds the block's wall time to the phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - start


class Progress:
    """A running task: `advance(n)`, and `note(loss=…)` for the numbers beside the bar."""

    def __init__(self, advance: Callable[[float], None], note: Callable[[str], None]):
        self._advance, self._note = advance, note
        self.done = 0.0

    def advance(self, amount: float = 1.0) -> None:
        """Report that `amount` more units are done."""
        self.done += amount
        self._advance(amount)

    def note(self, **numbers: Any) -> None:
        """Show these numbers beside the bar."""
        self._note("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items()))


@contextmanager
def progress(title: str, total: float | None, unit: str = "", done: float = 0.0) -> Generator[Progress, None, None]:
    """Progress with rate and time left on stderr: a bar on a terminal, a line every 15 s in a log, or nothing at all
    when progress is not shown.

    `done` is what an earlier run had finished: it fills the bar, and does not count towards the rate.
    """
    if not _display["progress"]:
        yield Progress(lambda _: None, lambda _: None)
        return
    with (_bar if sys.stderr.isatty() else _lines)(title, total, unit, done) as task:
        yield task


@contextmanager
def _bar(title: str, total: float | None, unit: str, done: float) -> Generator[Progress, None, None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units per second since this run began."""

        def render(self, task: Any) -> Text:
            return Text(_rate(task.completed - done, task.elapsed or 0.0, unit))

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, completed=int(done), note="")
        yield Progress(lambda n: bar.advance(task, n), lambda text: bar.update(task, note=text))


@contextmanager
def _lines(title: str, total: float | None, unit: str, done: float) -> Generator[Progress, None, None]:
    started = said = time.perf_counter()
    now, note = done, ""

    def say(end: bool = False) -> None:
        elapsed, fresh = time.perf_counter() - started, now - done
        left = "" if end or not total or not fresh else f", {(total - now) * elapsed / fresh:.0f} s left"
        of = f" of {total:.0f}" if total else ""
        sys.stderr.write(f"{title}: {now:.0f}{of} {unit}, {_rate(fresh, elapsed, unit)}{left}  {note}\n")
        sys.stderr.flush()

    def advance(amount: float) -> None:
        nonlocal now, said
        now += amount
        if time.perf_counter() - said >= LINE_EVERY_S:
            said = time.perf_counter()
            say()

    def set_note(text: str) -> None:
        nonlocal note
        note = text

    yield Progress(advance, set_note)
    say(end=True)


def _rate(amount: float, seconds: float, unit: str) -> str:
    rate = amount / seconds if seconds > 0 else 0.0
    return f"{rate:.3g} {unit}/s" if rate >= 1 or rate == 0 else f"{1 / rate:.3g} s/{unit.rstrip('s')}"
