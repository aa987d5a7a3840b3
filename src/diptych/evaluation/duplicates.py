"""Test pictures that training has seen, and test pictures that stand there twice: both make a score too good.

Twins are found by three looks, from strict to lax: equal pixels (`Dataset.same`), a perceptual hash with a mean colour
(`data.dedup`: scaling, compression, small retouches), and the cosine of a model's own vectors (crops, other drawings of
the same; SemDeDup, arXiv 2303.09540). A cosine says as much about the model as about the pictures: one that cannot tell
pictures apart calls all of them twins. Figures are shares of the test pictures, the less the better.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Int64, UInt64

from diptych.core import telemetry
from diptych.data import dedup
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, sides
from diptych.inputs.image import decode

TASK = "duplicates"

_COLOUR = 24
"""Of 255, how far mean colours of like pictures may be apart."""

_DECODERS = 2
_BLOCK = 4096
"""Rows and columns of cosines in memory at a time: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class DuplicatesConfig:
    """`column` says which pictures are for training ("train", "val") and which for the test; None: the data's "split",
    and without one all are the test, in which twins are looked for. `distance` is how many of 64 bits of the perceptual
    hash may differ and `cosine` the least cosine of near vectors; None leaves that look out. The hash decodes every
    picture.
    """

    column: str | None = None
    distance: int | None = 4
    cosine: float | None = 0.95

    def __post_init__(self):
        if self.distance is not None and not 0 <= self.distance < 64:
            raise ValueError(f"distance is a number of bits, 0 to 63, got {self.distance}")
        if self.cosine is not None and not -1 <= self.cosine <= 1:
            raise ValueError(f"cosine is between -1 and 1, got {self.cosine}")


def duplicates(embedded: Embedded, config: DuplicatesConfig) -> Outcome:
    """Samples are the test pictures. "twin_in_train" and "twin_in_test" are 1 where any look finds one, and each look
    has figures of its own: "…_same_pixels", "…_alike", "…_near_vector". Details name a twin and the look that found it.

    ValueError without the column, and without test pictures.
    """
    data = embedded.data
    column = config.column or (COLUMN if COLUMN in data.columns else None)
    train, val, test = sides(data, column) if column else ([], [], list(range(len(data))))
    if not test:
        raise ValueError(f"column {column!r} of {data.name} has no picture of the part 'test'; leave the column out "
                         "to look for twins among all pictures")
    hashes = None if config.distance is None else _hashed(data, (*train, *val, *test), config.distance)
    values: dict[str, np.ndarray] = {}
    details: dict[str, list[str]] = {}
    for side, others in {"train": [*train, *val], "test": test}.items():
        if side == "train" and column is None:
            continue
        twins = {"same_pixels": _first_copy(data.same or range(len(data)), test, others)}
        if hashes is not None and config.distance is not None:
            twins["alike"] = _most_alike(hashes, config.distance, test, others)
        if config.cosine is not None:
            twins["near_vector"] = _nearest(embedded.images, np.array(test), np.array(others, np.int64), config.cosine)
        found, by = np.full(len(test), -1), np.full(len(test), "", dtype=object)
        for look, twin in twins.items():
            new = (found < 0) & (twin >= 0)
            found[new], by[new] = twin[new], look
            values[f"twin_in_{side}_{look}"] = (twin >= 0).astype(np.float64)
        values[f"twin_in_{side}"] = (found >= 0).astype(np.float64)
        details[f"{side}_twin"] = [data.ids[twin] if twin >= 0 else "" for twin in found]
        details[f"{side}_twin_by"] = by.tolist()
    return Outcome(
        task=TASK, ids=[data.ids[picture] for picture in test], values=values, details=details,
        slices=slices(data, test, without=[column or ""]), lower=frozenset(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hashes:
    """Of every picture; `group` is its own number where it was not hashed or nothing is like it, even by others."""

    bits: UInt64[np.ndarray, " all"]
    colours: Int[np.ndarray, "all 3"]
    group: Int64[np.ndarray, " all"]


@lru_cache(maxsize=1)
def _hashed(data: Dataset, pictures: tuple[int, ...], distance: int) -> _Hashes:
    """Decoding takes the time, and is the same for every model."""
    bits, colours = np.zeros(len(data), np.uint64), np.zeros((len(data), 3), np.uint8)
    with ThreadPoolExecutor(_DECODERS) as pool, telemetry.progress("hashing", len(pictures), "pictures") as bar:
        found = pool.map(lambda picture: dedup.perceptual_hash(decode(data.read(picture))), pictures)
        for picture, one in zip(pictures, found, strict=True):
            bits[picture], colours[picture] = one
            bar.advance()
    group, used = np.arange(len(bits)), np.array(pictures)
    pairs = dedup.hash_pairs(bits[used], distance, colours[used], _COLOUR)
    group[used] = used[dedup.groups(len(used), pairs)]
    return _Hashes(bits=bits, colours=colours.astype(np.int16), group=group)


def _most_alike(
    hashes: _Hashes, distance: int, test: Sequence[int], others: Sequence[int]
) -> Int64[np.ndarray, " test"]:
    """The other picture with the nearest hash, if it is near enough, or −1. A group holds all that are, and those that
    are like them."""
    members: dict[int, list[int]] = {}
    for other in others:
        members.setdefault(int(hashes.group[other]), []).append(other)
    found = np.full(len(test), -1)
    for at, picture in enumerate(test):
        near = np.array([other for other in members.get(int(hashes.group[picture]), ()) if other != picture], np.int64)
        differ = np.bitwise_count(hashes.bits[near] ^ hashes.bits[picture])
        off = np.abs(hashes.colours[near] - hashes.colours[picture]).max(axis=1, initial=0)
        alike = (differ <= distance) & (off <= _COLOUR)
        if alike.any():
            found[at] = near[alike][differ[alike].argmin()]
    return found


def _first_copy(same: Sequence[int], test: Sequence[int], others: Sequence[int]) -> Int64[np.ndarray, " test"]:
    """The first other picture with the same pixels, or −1."""
    members: dict[int, list[int]] = {}
    for other in others:
        members.setdefault(same[other], []).append(other)
    return np.array([next((other for other in members.get(same[picture], ()) if other != picture), -1)
                     for picture in test], np.int64)


def _nearest(
    vectors: Float[np.ndarray, "all dim"], test: Int64[np.ndarray, " test"], others: Int64[np.ndarray, " others"],
    least: float,
) -> Int64[np.ndarray, " test"]:
    """The nearest other picture, if its cosine is at least that, or −1."""
    found = np.full(len(test), -1)
    for start in range(0, len(test), _BLOCK):
        asked = test[start : start + _BLOCK]
        nearest, twin = np.full(len(asked), -np.inf), np.full(len(asked), -1)
        for first in range(0, len(others), _BLOCK):
            gallery = others[first : first + _BLOCK]
            cosines = vectors[asked] @ vectors[gallery].T
            cosines[asked[:, None] == gallery] = -np.inf
            best = cosines.argmax(axis=1)
            value = cosines[np.arange(len(asked)), best]
            closer = value > nearest
            nearest[closer], twin[closer] = value[closer], gallery[best[closer]]
        found[start : start + _BLOCK] = np.where(nearest >= least, twin, -1)
    return found
