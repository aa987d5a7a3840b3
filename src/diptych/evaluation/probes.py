"""What a model's picture vectors know of classes without a text: linear probe, few-shot probe, nearest neighbours.

- `linear_probe` follows CLIP (arXiv 2103.00020 §A.3, `regression.py`): logistic regression with a decay chosen on
  validation, which then joins training; the test is looked at once. CLIP probes the features before the projection, as
  they are. Here it is the unit vectors that search uses, because they are what is being chosen; they are centred and
  divided by one number, so that a decay means the same for every model. Channels are not standardised one by one: their
  proportions are what cosines are made of.
- `few_shot` fits the same probe to a few pictures of each class.
- `nearest_neighbours` is DINO's (arXiv 2104.14294 §4.1): the k nearest training pictures vote with exp(cosine / 0.07).

A prediction that ties is wrong. Pictures with the same pixels are on one side of the split (`split.py`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.core.errors import DiptychError
from diptych.data import draws
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import classification
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.regression import Regression, best_decay, fit
from diptych.evaluation.slices import slices
from diptych.evaluation.split import Split, SplitConfig, column_of, split

_AT_ONCE = 1 << 24
"""Scores or cosines in memory at a time: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig:
    """`column` is what is told apart; None: the labels. `iterations` bounds each fit."""

    column: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)
    iterations: int = 1000

    def __post_init__(self):
        if self.iterations < 1:
            raise ValueError(f"iterations is at least 1, got {self.iterations}")


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """`shots` pictures of each class, from `supports` draws each. The decay is chosen on the validation pictures with
    the first draw: what a few labels give to somebody who knows the decay."""

    column: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    supports: int = 3
    iterations: int = 1000

    def __post_init__(self):
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
            raise ValueError(f"shots are different numbers of pictures of each class, at least 1; got {self.shots}")
        if self.supports < 1 or self.iterations < 1:
            raise ValueError(f"supports and iterations are at least 1, got {self.supports} and {self.iterations}")


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig:
    """`neighbours` is the k of k-NN."""

    column: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)
    neighbours: int = 20
    temperature: float = 0.07

    def __post_init__(self):
        if self.neighbours < 1 or self.temperature <= 0:
            raise ValueError(f"neighbours is at least 1 and temperature above 0, got {self.neighbours} and "
                             f"{self.temperature}")


def require() -> None:
    """DiptychError, with the command that installs it, when scikit-learn is missing."""
    if find_spec("sklearn") is None:
        raise DiptychError("linear, few-shot and dense probes need scikit-learn: pip install 'diptych[evaluate]'")


def linear_probe(embedded: Embedded, config: LinearProbeConfig) -> Outcome:
    """Samples are the test pictures, as in every probe here: "acc@1", "acc@5" where there are more than five classes,
    and the statistic "mean_per_class_recall". `chance` is what naming the most frequent training classes reaches.

    ValueError as `split` says, and when there is nothing to choose the decay on.
    """
    problem = _problem(embedded.data, config.column, config.split)
    features, parts = scaled(embedded.images, problem.parts.train), problem.parts
    with telemetry.progress(f"{embedded.spec.name}: linear probe", None, "fits") as bar:
        decay = _chosen_decay(features, problem, parts.train, config.iterations, bar)
        both = np.concatenate([parts.train, parts.val])
        found = fit(features[both], problem.target[both], len(problem.names), decay, config.iterations)
        bar.advance()
    judged = _judged(problem, parts.test, _scores(found, features))
    return _outcome("linear_probe", embedded, problem, config.column, judged)


def few_shot(embedded: Embedded, config: FewShotConfig) -> Outcome:
    """Samples are the test pictures. "acc@1_4shot" is the share of supports with which four pictures of each class
    teach a probe to name this one. A class with fewer training pictures gives all that it has: a notice says so, and
    the slice "support" tells its test pictures from the others; more shots than any class has are not tried. Details
    are of the most shots and the first support.

    ValueError as `linear_probe`.
    """
    data, problem = embedded.data, _problem(embedded.data, config.column, config.split)
    features = scaled(embedded.images, problem.parts.train)
    supports = [_support(data, problem, config.split.seed, number) for number in range(config.supports)]
    largest = max(len(order) for order in supports[0].values())
    asked = [shots for shots in sorted(config.shots) if shots <= largest]
    if not asked:
        raise ValueError(f"no class of {data.name} has {min(config.shots)} different training pictures, the most are "
                         f"{largest}; ask for fewer shots")
    most = asked[-1]
    thin = {name for name in range(len(problem.names)) if len(supports[0].get(name, ())) < most}
    if thin:
        told = ", ".join(problem.names[name] for name in sorted(thin)[:3])
        telemetry.notice(f"{len(thin)} of {len(problem.names)} classes of {data.name} give all they have, fewer than "
                         f"{most} different training pictures: {told}{', …' * (len(thin) > 3)}")
    values: dict[str, np.ndarray] = {}
    first: _Judged | None = None
    with telemetry.progress(f"{embedded.spec.name}: few-shot probe", None, "fits") as bar:
        for shots in asked:
            taught = [np.array([picture for order in support.values() for picture in order[:shots]], np.int64)
                      for support in supports]
            decay = _chosen_decay(features, problem, taught[0], config.iterations, bar)
            judged: list[_Judged] = []
            for pictures in taught:
                found = fit(features[pictures], problem.target[pictures], len(problem.names), decay, config.iterations)
                judged.append(_judged(problem, problem.parts.test, _scores(found, features)))
                bar.advance()
            values[f"acc@1_{shots}shot"] = np.mean([one.values["acc@1"] for one in judged], axis=0)
            first = judged[0]
    assert first is not None  # there is at least one number of shots
    truth = problem.target[problem.parts.test]
    return Outcome(
        task="few_shot", ids=[data.ids[picture] for picture in problem.parts.test], values=values,
        slices=slices(data, problem.parts.test, [config.column or ""], more={
            "support": [f"fewer than {most}" if name in thin else f"{most}" for name in truth]}),
        details=_named(problem, truth, first.predicted), chance=dict.fromkeys(values, 1 / len(problem.names)))


def nearest_neighbours(embedded: Embedded, config: NeighboursConfig) -> Outcome:
    """The figures of `linear_probe`, by the votes of the nearest training and validation pictures. Classes without a
    vote are tied.

    ValueError as `split` says, and when there are fewer pictures than neighbours.
    """
    problem = _problem(embedded.data, config.column, config.split)
    known = np.concatenate([problem.parts.train, problem.parts.val])
    if len(known) < config.neighbours:
        raise ValueError(f"{config.neighbours} neighbours are asked of {len(known)} training pictures; ask for fewer")
    gallery, labels, classes = embedded.images[known], problem.target[known], len(problem.names)

    def votes(some: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some classes"]:
        cosines = embedded.images[some] @ gallery.T
        near = np.argpartition(cosines, -config.neighbours, axis=1)[:, -config.neighbours :]
        close = np.take_along_axis(cosines, near, axis=1).astype(np.float64)
        # less the nearest one's: no ratio of votes changes, and no exponential overflows
        weight = np.exp((close - close.max(axis=1, keepdims=True)) / config.temperature)
        cell = np.arange(len(some))[:, None] * classes + labels[near]
        return np.bincount(cell.ravel(), weight.ravel(), len(some) * classes).reshape(-1, classes)

    judged = _judged(problem, problem.parts.test, votes, max(classes, len(known)))
    return _outcome("nearest_neighbours", embedded, problem, config.column, judged)


Scores = Callable[[Int[np.ndarray, " some"]], Float[np.ndarray, "some classes"]]
"""Numbers of pictures → a score for each class."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """Classes by number: `target` of every picture, −1 where it has none."""

    names: tuple[str, ...]
    target: Int[np.ndarray, " pictures"]
    parts: Split


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """Of each picture, the figures and the class with the greatest score."""

    values: dict[str, Float[np.ndarray, " pictures"]]
    predicted: Int[np.ndarray, " pictures"]


def _problem(data: Dataset, column: str | None, config: SplitConfig) -> _Problem:
    labels = data.labels if column is None else column_of(data, column)
    parts = split(data, labels, config)
    if parts.left_out:
        telemetry.notice(f"left out of the probes of {data.name}, because a class with one picture cannot be learned "
                         f"and tested: {', '.join(parts.left_out[:3])}{', …' * (len(parts.left_out) > 3)}")
    shown = {*parts.train.tolist(), *parts.val.tolist()}
    names = tuple(sorted({label for picture, label in enumerate(labels) if picture in shown}))
    number = {name: at for at, name in enumerate(names)}
    return _Problem(names=names, target=np.array([number.get(label, -1) for label in labels], np.int64), parts=parts)


def scaled(
    vectors: Float[np.ndarray, "pictures dim"], train: Int[np.ndarray, " train"]
) -> Float[np.ndarray, "pictures dim"]:
    """Less the training pictures' mean, over the root of their mean square: one number for all channels. An intercept
    makes the first no matter, and the decay the second; but L-BFGS gets there sooner."""
    centred = vectors - vectors[train].mean(axis=0, dtype=np.float64).astype(vectors.dtype)
    spread = float(np.sqrt(np.mean(np.square(centred[train]), dtype=np.float64)))
    return centred / np.float32(spread) if spread > 1e-6 else np.zeros_like(centred)  # the rounding of equal vectors


def _chosen_decay(
    features: Float[np.ndarray, "pictures dim"], problem: _Problem, pictures: Int[np.ndarray, " some"], iterations: int,
    bar: telemetry.Progress,
) -> float:
    """The one with which a probe of these pictures does best on validation."""
    if not len(problem.parts.val):
        raise ValueError("no class has a training picture to spare for validation, on which the decay is chosen; give "
                         "each class three pictures, or use nearest neighbours")
    fits: dict[float, Regression] = {}

    def accuracy(decay: float) -> float:
        near = min(fits, key=lambda other: abs(np.log(other / decay)), default=decay)
        fits[decay] = fit(features[pictures], problem.target[pictures], len(problem.names), decay, iterations,
                          fits.get(near))
        bar.advance()
        return float(_judged(problem, problem.parts.val, _scores(fits[decay], features)).values["acc@1"].mean())

    return best_decay(accuracy)


def _scores(regression: Regression, features: Float[np.ndarray, "pictures dim"]) -> Scores:
    return lambda some: regression.logits(features[some])


def _judged(problem: _Problem, pictures: Int[np.ndarray, " pictures"], scores: Scores, width: int = 0) -> _Judged:
    """A block at a time; `width` is how many numbers a picture takes."""
    rows = max(1, _AT_ONCE // max(width, len(problem.names)))
    tops = [1, 5] if len(problem.names) > 5 else [1]
    hits: dict[str, list[np.ndarray]] = {f"acc@{k}": [] for k in tops}
    predicted: list[np.ndarray] = []
    for start in range(0, len(pictures), rows):
        some = pictures[start : start + rows]
        found = scores(some)
        predicted.append(found.argmax(axis=1))
        for k in tops:
            hits[f"acc@{k}"].append(classification.accuracy_at_k(found, problem.target[some], k))
    return _Judged(values={name: np.concatenate(parts) for name, parts in hits.items()},
                   predicted=np.concatenate(predicted))


def _outcome(task: str, embedded: Embedded, problem: _Problem, column: str | None, judged: _Judged) -> Outcome:
    data, parts = embedded.data, problem.parts
    truth = problem.target[parts.test]
    known = problem.target[np.concatenate([parts.train, parts.val])]
    frequent = [name for name, _ in Counter(known.tolist()).most_common(5)]
    chance = {f"acc@{k}": float(np.isin(truth, frequent[:k]).mean()) for k in (1, 5) if f"acc@{k}" in judged.values}
    return Outcome(
        task=task, ids=[data.ids[picture] for picture in parts.test], values=judged.values,
        statistics={"mean_per_class_recall": classification.mean_per_class_recall(judged.values["acc@1"], truth)},
        slices=slices(data, parts.test, [column or ""]), details=_named(problem, truth, judged.predicted),
        chance={**chance, "mean_per_class_recall": 1 / len(set(truth.tolist()))})


def _named(
    problem: _Problem, truth: Int[np.ndarray, " test"], predicted: Int[np.ndarray, " test"]
) -> dict[str, Sequence[str]]:
    return {column: [problem.names[name] for name in found]
            for column, found in {"expected": truth, "predicted": predicted}.items()}


def _support(data: Dataset, problem: _Problem, seed: int, number: int) -> dict[int, list[int]]:
    """The training pictures of each class, in the order of this draw: four shots are the first four. Each picture once,
    however many copies there are."""
    order = sorted(problem.parts.train.tolist(), key=lambda picture: draws.draw(
        seed, "support", number, data.ids[picture]))
    found: dict[int, dict[int, int]] = {}
    for picture in order:
        found.setdefault(int(problem.target[picture]), {}).setdefault(
            data.same[picture] if data.same else picture, picture)
    return {name: list(pictures.values()) for name, pictures in sorted(found.items())}
