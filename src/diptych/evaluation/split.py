"""Which pictures a probe learns from, which it is tuned on, and which it is tested on.

The data's own column says so; else a draw from the pictures' ids, stratified by class: the same seed gives the same
test whatever order the pictures come in. Pictures with the same pixels never lie on two sides, so that nothing is
learnt by heart.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from diptych.data import draws
from diptych.evaluation.dataset import Dataset

PARTS = ("train", "val", "test")
COLUMN = "split"


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which `column` holds "train", "val" or "test", "" for a picture that is left out; None: "split" where the data
    have it.

    Data without one are drawn: `test` is the share of each class's pictures that is tested, `val` the share of the
    training pictures that a probe is tuned on. `val` is also drawn where the column names no such part. Where it names
    no test, as ImageNet's does, "val" is the test.
    """

    column: str | None = None
    test: float = 0.2
    val: float = 0.2
    seed: int = 0

    def __post_init__(self):
        for name, share in (("test", self.test), ("val", self.val)):
            if not 0 < share < 1:
                raise ValueError(f"{name} is a share of the pictures, between 0 and 1; got {share}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Numbers of pictures, ascending. No two parts have a picture, or the same pixels, in common. `left_out` are the
    classes that cannot be on both sides of a draw: those whose pictures are all the same."""

    train: Int[np.ndarray, " train"]
    val: Int[np.ndarray, " val"]
    test: Int[np.ndarray, " test"]
    left_out: tuple[str, ...] = ()


def column_of(data: Dataset, name: str) -> Sequence[str]:
    """The values of a column. ValueError that names those that are there."""
    if name not in data.columns:
        there = ", ".join(sorted(data.columns))
        raise ValueError(f"{data.name} has no column {name!r} besides its pictures, classes and captions; "
                         f"{f'the others are {there}' if there else 'it has no others'}")
    return data.columns[name]


def tested_part(data: Dataset) -> str | None:
    """The part that pictures are tested of: "test", else "val"; None where the data name neither, and all are."""
    return next((part for part in ("test", "val") if part in data.columns.get(COLUMN, ())), None)


def tested(data: Dataset) -> list[int]:
    """The pictures of the part "test", or "val" where no other is there; all where the data name no parts."""
    part, parts = tested_part(data), data.columns.get(COLUMN, ())
    return [i for i in range(len(data)) if part is None or parts[i] == part]


def sides(data: Dataset, column: str) -> tuple[list[int], list[int], list[int]]:
    """The pictures of training, validation and test, as the column has them; "val" is the test where no part is named
    so. ValueError for other names than `PARTS` and ""."""
    named = column_of(data, column)
    if unknown := sorted(set(named) - {*PARTS, ""}):
        raise ValueError(f"column {column!r} of {data.name} names the parts {', '.join(map(repr, unknown))}; a part is "
                         f"one of {', '.join(PARTS)}, or empty for a picture that is left out")
    train, val, test = ([picture for picture, part in enumerate(named) if part == name] for name in PARTS)
    return (train, val, test) if test else (train, [], val)


def split(data: Dataset, labels: Sequence[str], config: SplitConfig) -> Split:
    """The parts of the pictures that have a label. Of pictures with the same pixels on two sides the tested ones stay
    and the others are left out.

    ValueError when there or in training is one class only, when training or test is empty, and when a class is tested
    that training never shows.
    """
    if len(classes := sorted({*labels} - {""})) < 2:
        have = f"only {classes[0]!r}" if classes else "none"
        raise ValueError(f"a probe tells classes apart, and {data.name} has {have}: give its pictures labels, or name "
                         "the column that holds them")
    single: list[str] = []
    if config.column is None and COLUMN not in data.columns:
        same = data.same or range(len(data))
        different = Counter(label for label, _ in {(label, same[at]) for at, label in enumerate(labels) if label})
        single = [label for label in classes if different[label] < 2]
        if len(classes) - len(single) < 2:
            raise ValueError(f"a class needs two different pictures to be learned and tested, and of {data.name} "
                             f"{_some(single)} have one; give them more, or probe a column with fewer values")
        labels = [label if different[label] > 1 else "" for label in labels]
    train, val, test = _parts(data, labels, config)
    if len({labels[picture] for picture in train}) < 2:
        raise ValueError(f"the training pictures of {data.name} show one class only: a probe has nothing to tell apart")
    known = {labels[picture] for picture in (*train, *val)}
    if new := sorted({labels[picture] for picture in test} - known):
        raise ValueError(f"{_some(new)} of {data.name} have test pictures and none to learn from: probe a column whose "
                         "values are in both parts, or split the pictures another way")
    return Split(train=np.array(train, np.int64), val=np.array(val, np.int64), test=np.array(test, np.int64),
                 left_out=tuple(single))


def split_pictures(data: Dataset, pictures: Sequence[int], config: SplitConfig) -> Split:
    """The parts of these pictures, whatever they show, as `split` has them. ValueError when training, validation or
    test is empty."""
    chosen = set(pictures)
    train, val, test = _parts(data, ["any" if i in chosen else "" for i in range(len(data))], config)
    if not (train and val and test):
        raise ValueError(f"{len(chosen)} pictures of {data.name} are too few to train on, validate on and test on; "
                         "give it at least three that differ")
    return Split(train=np.array(train, np.int64), val=np.array(val, np.int64), test=np.array(test, np.int64))


def _parts(data: Dataset, labels: Sequence[str], config: SplitConfig) -> tuple[list[int], list[int], list[int]]:
    """Training, validation and test of the pictures with a label, by the column or drawn from each label's."""
    same, column = data.same or range(len(data)), config.column or COLUMN
    if config.column is None and COLUMN not in data.columns:
        labelled = [picture for picture, label in enumerate(labels) if label]
        test = _drawn(data, labelled, labels, same, config.test, config.seed, "test")
        train, val = _without(labelled, test, same), list[int]()
    else:
        train, val, test = ([p for p in side if labels[p]] for side in sides(data, column))
        val = _without(val, test, same)
        train = _without(train, [*val, *test], same)
        if not train or not test:
            raise ValueError(f"column {column!r} of {data.name} leaves no picture to {'test' if train else 'train'} "
                             "with that has a label and is not on the other side as well")
    if not val:
        val = _drawn(data, train, labels, same, config.val, config.seed, "val")
        train = _without(train, val, same)
    return train, val, test


def _drawn(
    data: Dataset, pictures: Sequence[int], labels: Sequence[str], same: Sequence[int], share: float, seed: int,
    part: str,
) -> list[int]:
    """So many of each class's pictures, at least one and never all; those with the same pixels together, as one. Of a
    class with one, none."""
    twins: dict[int, list[int]] = {}
    for picture in sorted(pictures, key=lambda picture: draws.draw(seed, part, data.ids[picture])):
        twins.setdefault(same[picture], []).append(picture)
    strata: dict[str, list[list[int]]] = {}
    for group in twins.values():
        strata.setdefault(labels[group[0]], []).append(group)
    return sorted(picture for groups in strata.values()
                  for group in groups[: min(max(1, round(share * len(groups))), len(groups) - 1)]
                  for picture in group)


def _without(pictures: Sequence[int], others: Sequence[int], same: Sequence[int]) -> list[int]:
    theirs = {same[picture] for picture in others}
    return [picture for picture in pictures if same[picture] not in theirs]


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(map(repr, classes[:3]))
    return f"{len(classes)} classes ({shown}, …)" if len(classes) > 3 else f"classes {shown}"
