"""The collections that an app offers: each is being loaded, ready to search, or failed with a sentence.

The app starts before any model is loaded, so that the page is up at once; whoever loads fills the shelf from another
thread. Nothing is ever taken off it.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from diptych.index.search import Searcher

State: TypeAlias = Literal["loading", "ready", "failed"]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One place on the shelf. `notice` is a sentence for whoever searches, e.g. that the model is a small one."""

    name: str
    searcher: Searcher | None = None
    notice: str | None = None
    problem: str | None = None

    @property
    def state(self) -> State:
        """Loading until there is a searcher, or a problem."""
        if self.searcher is not None:
            return "ready"
        return "loading" if self.problem is None else "failed"


class Shelf:
    """Named slots in a fixed order; safe to share between threads."""

    def __init__(self, names: Sequence[str]):
        if not names:
            raise ValueError("an app needs at least one collection, got none")
        self._lock = threading.Lock()
        self._slots = {name: Slot(name=name) for name in names}

    @classmethod
    def of(cls, searchers: Mapping[str, Searcher]) -> "Shelf":
        """A shelf on which everything is ready."""
        shelf = cls(list(searchers))
        for name, searcher in searchers.items():
            shelf.put(name, searcher)
        return shelf

    def put(self, name: str, searcher: Searcher, notice: str | None = None) -> None:
        """The collection can be searched from now on."""
        self._set(Slot(name=name, searcher=searcher, notice=notice))

    def fail(self, name: str, problem: str) -> None:
        """The collection cannot be loaded, for this reason."""
        self._set(Slot(name=name, problem=problem))

    def find(self, name: str) -> Slot | None:
        """The slot of that name, or None."""
        return self._slots.get(name)

    @property
    def slots(self) -> list[Slot]:
        """All slots, in order; the first one is the default."""
        with self._lock:
            return list(self._slots.values())

    def _set(self, slot: Slot) -> None:
        with self._lock:
            if slot.name not in self._slots:
                raise ValueError(f"no place for {slot.name!r} on this shelf; it has {', '.join(self._slots)}")
            self._slots[slot.name] = slot
