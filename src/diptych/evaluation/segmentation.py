"""Semantic segmentation by a linear probe of frozen patches: mean intersection over union.

The protocol of DINOv2 and TIPS (arXiv 2304.07193 §7.4, 2410.16512 §4): features standardised per channel, one linear
layer, logits enlarged bilinearly to the mask. They train it on all pixels with the learning rate swept; here it is the
multinomial regression of some pixels, with the decay chosen on validation, which has one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.evaluation import pixels
from diptych.evaluation.dataset import IGNORED, Dataset
from diptych.evaluation.dense import between
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import dense as metrics
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.pixels import Sample, Scaling, Target
from diptych.evaluation.regression import Regression, fit
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, SplitConfig, split_pictures

_AT_ONCE = 1 << 24
"""Logits in memory at a time: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """`samples` pixels of the training pictures teach the probe, as many of validation choose among `decays`, the
    penalty on a pixel's mean loss. `iterations` bounds each fit."""

    split: SplitConfig = field(default_factory=SplitConfig)
    samples: int = 10_000
    decays: tuple[float, ...] = (0.1, 0.01, 0.001)
    iterations: int = 100
    seed: int = 0

    def __post_init__(self):
        if self.samples < 1 or self.iterations < 1 or not self.decays or min(self.decays) <= 0:
            raise ValueError("samples and iterations are at least 1 and decays above 0, got "
                             f"{self.samples}, {self.iterations} and {self.decays}")


def segmentation(embedded: Embedded, config: SegmentationConfig) -> Outcome:
    """Samples are the test pictures. "miou" is the mean over classes of all their pixels; a class that training never
    shows counts. `chance` is what the most frequent class everywhere reaches. Details are each class's IoU by picture.

    ValueError without masks, for a number that no thing has, and for a model without patch features.
    """
    data = embedded.data
    if data.maps.mask is None:
        raise ValueError(f"{data.name} has no masks that say what each pixel shows")
    target = Target(read=lambda i: _mask(data, i), known=lambda mask: mask != IGNORED)
    parts = split_pictures(data, range(len(data)), config.split)
    with telemetry.progress(f"{embedded.spec.name}: segmentation", None, "steps") as bar:
        train, val = (pixels.sample(embedded, side, target, config.samples, config.seed)
                      for side in (parts.train, parts.val))
        bar.advance()
        scaling, shown = Scaling.of(train), np.unique(train.truth)
        probe = _fitted(train, val, scaling, shown, config, bar)
        bar.advance()
        count = len(data.maps.things) or IGNORED
        pictures: list[int] = []
        found: list[tuple[np.ndarray, np.ndarray]] = []
        guessed: list[tuple[np.ndarray, np.ndarray]] = []
        frequent = shown[np.bincount(np.searchsorted(shown, train.truth)).argmax()]
        for i, grid, mask in pixels.looked(embedded, parts.test, target):
            said = shown[_largest(probe.logits(scaling(grid)), *mask.shape)]
            pictures.append(i)
            found.append(metrics.overlaps(said, mask, count, IGNORED))
            guessed.append(metrics.overlaps(np.full_like(mask, frequent), mask, count, IGNORED))
            bar.advance()
    if not pictures:
        raise ValueError(f"no test picture of {data.name} has a labelled pixel")
    both, either = (np.stack(counts) for counts in zip(*found, strict=True))
    return Outcome(
        task="segmentation", ids=[data.ids[i] for i in pictures],
        statistics={"miou": metrics.mean_iou(both, either)},
        groups=[str((data.same or range(len(data)))[i]) for i in pictures],
        slices=slices(data, pictures, without={COLUMN}), details=_details(data, both, either),
        chance={"miou": metrics.mean_iou(*(np.stack(counts) for counts in zip(*guessed, strict=True)))()})


def _mask(data: Dataset, picture: int) -> Int[np.ndarray, "height width"]:
    assert data.maps.mask is not None
    mask = data.maps.mask(picture).astype(np.int64)
    things = len(data.maps.things) or IGNORED
    if strange := sorted({*np.unique(mask).tolist()} - {*range(things), IGNORED}):
        raise ValueError(f"the mask of {data.ids[picture]} has the number {strange[0]}, and {data.name} names {things} "
                         f"things, from 0; {IGNORED} is a pixel that nobody labelled")
    return mask


def _fitted(
    train: Sample, val: Sample, scaling: Scaling, shown: Int[np.ndarray, " shown"], config: SegmentationConfig,
    bar: telemetry.Progress,
) -> Regression:
    """The regression of the classes in training with which validation does best. ValueError when there is one only."""
    features, heldout = scaling(train.features), scaling(val.features)
    target, best, score, last = np.searchsorted(shown, train.truth), None, -1.0, None
    for decay in sorted(config.decays, reverse=True):  # each begins where a stronger one ended
        last = fit(features, target, len(shown), decay * len(target), config.iterations, last)
        said = shown[last.logits(heldout).argmax(axis=1)]
        reached = metrics.mean_iou(*metrics.overlaps(said, val.truth, IGNORED))()
        best, score = (last, reached) if reached > score else (best, score)
        bar.advance()
    assert best is not None
    return best


def _largest(
    logits: Float[np.ndarray, "rows columns shown"], height: int, width: int
) -> Int[np.ndarray, "height width"]:
    """The greatest of the enlarged logits, some rows at a time: a photograph's with a hundred classes are gigabytes."""
    rows, columns, classes = logits.shape
    down, across = between(rows, height).astype(np.float32), between(columns, width).astype(np.float32)
    wide = np.einsum("wc,rck->rwk", across, logits, optimize=True).reshape(rows, -1)
    step = max(1, _AT_ONCE // (width * classes))
    return np.concatenate([(down[start : start + step] @ wide).reshape(-1, width, classes).argmax(axis=2)
                           for start in range(0, height, step)])


def _details(
    data: Dataset, both: Int[np.ndarray, "pictures classes"], either: Int[np.ndarray, "pictures classes"]
) -> dict[str, Sequence[float]]:
    """Each class's IoU by picture, NaN where neither map has it; classes that are nowhere are left out."""
    there = np.flatnonzero(either.any(axis=0))
    shares = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
    names = data.maps.things or [str(number) for number in range(IGNORED)]
    return {f"iou of {names[k]}": shares[:, k].tolist() for k in there}
