"""What models cost: pictures and texts a second, latency, time to load, memory. Side by side, in one process and in an
order that is drawn anew each round, so that what else the machine does hits all of them alike.

Load time and memory need a process of their own for each model, because memory that was used once is not given back.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diptych.core import telemetry
from diptych.core.types import Embedder, Picture
from diptych.evaluation.result import Rate

Open = Callable[[], Embedder]

BATCHES = (1, 8, 32)


@dataclass(frozen=True, kw_only=True)
class EfficiencyConfig:
    """`rounds` are what is wanted, and at least `least` are made; after that no new one begins past `budget_s`."""

    batches: tuple[int, ...] = BATCHES
    rounds: int = 20
    least: int = 3
    budget_s: float = 120.0

    def __post_init__(self):
        if not self.batches or min(self.batches) < 1 or not 1 <= self.least <= self.rounds:
            raise ValueError("batches are at least 1, and rounds at least `least`, which is at least 1; got "
                             f"batches={self.batches}, rounds={self.rounds}, least={self.least}")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Of a process that opens one model and embeds `pictures` and `texts` once: seconds until it is open, and the
    largest resident memory in bytes, the interpreter and its libraries included."""

    load_s: float
    peak_memory: int


def rates(
    models: Mapping[str, Embedder], pictures: Sequence[Picture], texts: Sequence[str], config: EfficiencyConfig,
    seed: int = 0,
) -> dict[str, tuple[Rate, ...]]:
    """How fast each model is with these pictures and texts (taken in turn), decoding left out. ValueError when there is
    no picture or no text."""
    if not pictures or not texts:
        raise ValueError("measuring speed needs at least one picture and one text")
    rng = np.random.default_rng(seed)
    tasks = [(name, what, batch) for name in models for what in ("images", "texts") for batch in config.batches]
    seconds: dict[tuple[str, str, int], list[float]] = {task: [] for task in tasks}
    for name, what, batch in tasks:  # the first call compiles and allocates
        _timed(models[name], what, batch, pictures, texts, 0)
    started = time.perf_counter()
    with telemetry.progress("speed", config.rounds, "rounds") as bar:
        for turn in range(config.rounds):
            if turn >= config.least and time.perf_counter() - started > config.budget_s:
                break
            for at in rng.permutation(len(tasks)):
                name, what, batch = tasks[at]
                seconds[tasks[at]].append(_timed(models[name], what, batch, pictures, texts, turn))
            bar.advance()
    return {name: tuple(_rate(what, batch, seconds[name, what, batch]) for what in ("images", "texts")
                        for batch in config.batches) for name in models}


def footprint(open_model: Open, pictures: Sequence[Picture], texts: Sequence[str]) -> Footprint:
    """What a process needs that opens the model and embeds these. `open_model` must be a function that another process
    can import (a `functools.partial` of one)."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_footprint, (open_model, list(pictures), list(texts)))


def _footprint(open_model: Open, pictures: list[Picture], texts: list[str]) -> Footprint:
    started = time.perf_counter()
    embedder = open_model()
    load_s = time.perf_counter() - started
    embedder.embed_images(pictures)
    embedder.embed_texts(texts)
    return Footprint(load_s=load_s, peak_memory=_peak_memory())


def _peak_memory() -> int:
    """The largest resident memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with that of the process that started this one
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _timed(
    embedder: Embedder, what: str, batch: int, pictures: Sequence[Picture], texts: Sequence[str], turn: int
) -> float:
    if what == "images":
        part = [pictures[(turn * batch + i) % len(pictures)] for i in range(batch)]
        started = time.perf_counter()
        embedder.embed_images(part)
    else:
        said = [texts[(turn * batch + i) % len(texts)] for i in range(batch)]
        started = time.perf_counter()
        embedder.embed_texts(said)
    return time.perf_counter() - started


def _rate(what: Literal["images", "texts"], batch: int, seconds: Sequence[float]) -> Rate:
    p50, p95 = np.percentile(seconds, [50, 95])
    return Rate(what=what, batch=batch, per_second=batch / float(p50), p50_s=float(p50), p95_s=float(p95))
