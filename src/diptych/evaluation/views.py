"""What a reader looks at beside the numbers: what models found for the same query, which classes are confused, whether
probabilities are what they say, and the pictures themselves, small enough to go into one file.
"""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from diptych.core.errors import PictureError
from diptych.data.draws import uniform
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.metrics import calibration
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.result import Bin, Cell, Confusion, Curve, Described, Found, Grid, Views
from diptych.inputs.image import decode

GRIDS = 60
"""Queries that are shown: those where models differ most, and as many that nobody answers or that were drawn."""
CAPTIONS = 24
"""Described pictures that are shown: those where models differ most, those that all describe worst, others."""
CELLS = 60
"""Confused pairs of classes whose pictures are shown, of each model."""
PICTURES = 6
"""Pictures of a cell."""
SIDE = 96
"""Pixels of the longer side of a thumbnail."""


def views(
    data: Dataset, retrieved: Mapping[str, Outcome], classified: Mapping[str, Outcome],
    described: Mapping[str, Outcome], seed: int = 0,
) -> Views:
    """Everything but templates, from the outcomes of text_to_image, of zero_shot and of captioning by model."""
    grids_ = grids(retrieved, seed) if retrieved else ()
    confusions = tuple(confusion(model, outcome, data.classes) for model, outcome in classified.items())
    shown = {found.id for grid in grids_ for row in grid.found.values() for found in row}
    shown |= {id_ for grid in grids_ for id_ in grid.expected[:1]}
    shown |= {id_ for one in confusions for cell in one.cells for id_ in cell.ids}
    captions_ = captions(described, seed) if described else ()
    shown |= {one.id for one in captions_}
    curves = [curve(model, outcome) for group in (classified, retrieved) for model, outcome in group.items()]
    return Views(grids=grids_, confusions=confusions, curves=tuple(curves), captions=captions_,
                 thumbnails=thumbnails(data, shown))


def grids(retrieved: Mapping[str, Outcome], seed: int = 0) -> tuple[Grid, ...]:
    """Queries side by side: a third where the models' ranks differ most, a third that no model answers at once, and a
    third drawn from all, so that what is seen is not only what was looked for."""
    outcomes = list(retrieved.values())
    ranks = np.array([outcome.details["rank"] for outcome in outcomes], float)
    logs, third = np.log(ranks), GRIDS // 3
    apart = np.argsort(-(logs.max(axis=0) - logs.min(axis=0)), kind="stable")
    drawn = np.argsort([uniform(seed, "grid", id_) for id_ in outcomes[0].ids], kind="stable")
    wrong = [at for at in drawn if ranks[:, at].min() > 1]
    chosen = list(dict.fromkeys([*apart[:third].tolist(), *wrong[:third], *drawn.tolist()]))[:GRIDS]
    first = outcomes[0].details
    found = []
    for at in chosen:
        expected = frozenset(first["expected"][at])
        found.append(Grid(
            query=str(first["query"][at]), language=str(first["language"][at]), expected=tuple(first["expected"][at]),
            found={model: tuple(Found(id=id_, score=float(score), right=id_ in expected) for id_, score in zip(
                outcome.details["found"][at], outcome.details["cosines"][at], strict=True))
                   for model, outcome in retrieved.items()},
            rank={model: int(outcome.details["rank"][at]) for model, outcome in retrieved.items()}))
    return tuple(found)


def captions(described: Mapping[str, Outcome], seed: int = 0) -> tuple[Described, ...]:
    """Pictures with what models say of them: a third where their CIDEr differs most, a third where the best of them is
    worst, and a third drawn from all."""
    first, third = next(iter(described.values())), CAPTIONS // 3
    scores = np.array([outcome.values["cider"] for outcome in described.values()])
    drawn = np.argsort([uniform(seed, "caption", id_) for id_ in first.ids], kind="stable")
    apart = np.argsort(scores.min(axis=0) - scores.max(axis=0), kind="stable")[: third if len(scores) > 1 else 0]
    worst = drawn[np.argsort(scores.max(axis=0)[drawn], kind="stable")][:third]
    chosen = list(dict.fromkeys([*apart.tolist(), *worst.tolist(), *drawn.tolist()]))[:CAPTIONS]
    return tuple(Described(
        id=first.ids[int(at)], references=tuple(first.details["references"][at]),
        said={model: str(outcome.details["said"][at]) for model, outcome in described.items()},
        cider={model: float(outcome.values["cider"][at]) for model, outcome in described.items()}) for at in chosen)


def confusion(model: str, outcome: Outcome, classes: Sequence[str]) -> Confusion:
    """All cells, and pictures of the largest wrong ones."""
    pictures: dict[tuple[str, str], list[str]] = {}
    said = zip(outcome.ids, outcome.details["expected"], outcome.details["predicted"], strict=True)
    for id_, true, predicted in said:
        pictures.setdefault((str(true), str(predicted)), []).append(id_)
    largest = Counter({cell: len(ids) for cell, ids in pictures.items() if cell[0] != cell[1]}).most_common(CELLS)
    shown = {cell for cell, _ in largest}
    return Confusion(model=model, classes=tuple(classes), cells=tuple(
        Cell(true=true, predicted=predicted, count=len(ids),
             ids=tuple(ids[:PICTURES]) if (true, predicted) in shown else ())
        for (true, predicted), ids in sorted(pictures.items())))


def curve(model: str, outcome: Outcome) -> Curve:
    """How often the answer is right, by the probability that was said ("said" and "right" of the details)."""
    said, right = (np.array(outcome.details[name], float) for name in ("said", "right"))
    return Curve(model=model, task=outcome.task, bins=tuple(
        Bin(said=one.said, right=one.right, count=one.count) for one in calibration.bins(said, right)))


def thumbnails(data: Dataset, ids: set[str]) -> dict[str, str]:
    """Data URIs (WebP) of these pictures, of at most `SIDE` pixels. One that cannot be decoded has none."""
    number = {id_: at for at, id_ in enumerate(data.ids)}
    found = {}
    for id_ in sorted(ids):
        try:
            picture = decode(data.read(number[id_]))
        except PictureError:
            continue
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=70)
        found[id_] = "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
    return found
