"""Zero-shot classification of pictures with several classes each, such as PASCAL VOC's: mean average precision.

Every class ranks the pictures by their cosine with it; there is no threshold to choose. CLIP_benchmark does the same.
"""

import numpy as np
from jaxtyping import Bool, Float

from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import classification
from diptych.evaluation.metrics.ranking import TIE
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, tested
from diptych.evaluation.zero_shot import ZeroShotConfig, class_vectors, prompts

TASK = "multi_label"


def multi_label(embedded: Embedded, config: ZeroShotConfig) -> Outcome:
    """Samples are the pictures with a class, those of the test part where the data name one. "mean_average_precision"
    over the classes, and "acc@1": the best class is one of the picture's, which says nothing of one that has them all.

    ValueError when no picture has several classes.
    """
    data = embedded.data
    pictures = [i for i in tested(data) if data.tags and data.tags[i]]
    if not pictures:
        raise ValueError(f"no picture of {data.name} has several classes; write them as a JSON list or parted by | in "
                         "the column of the class")
    number = {name: at for at, name in enumerate(data.classes)}
    relevant = np.zeros((len(pictures), len(number)), bool)
    for row, picture in enumerate(pictures):
        relevant[row, [number[tag] for tag in data.tags[picture]]] = True
    cosines = embedded.images[pictures] @ class_vectors(embedded, prompts(data, config)).T
    scores = np.round(cosines.astype(np.float64) / TIE)  # closer ones are a tie
    best = np.where(relevant, scores, -np.inf).max(axis=1)
    right = (best > np.where(relevant, -np.inf, scores).max(axis=1)).astype(np.float64)
    right[every := relevant.all(axis=1)] = np.nan
    same = data.same or range(len(data))
    return Outcome(
        task=TASK, ids=[data.ids[picture] for picture in pictures], values={"acc@1": right},
        statistics={"mean_average_precision": classification.mean_average_precision(scores, relevant)},
        groups=[str(same[picture]) for picture in pictures], slices=slices(data, pictures, without={COLUMN}),
        details={"expected": [list(data.tags[picture]) for picture in pictures],
                 "predicted": [data.classes[at] for at in scores.argmax(axis=1)]},
        chance={"mean_average_precision": _by_luck(relevant)} | (
            {} if every.all() else {"acc@1": float(relevant[~every].mean())}))


def _by_luck(relevant: Bool[np.ndarray, "pictures classes"]) -> float:
    """The mean over classes of the average precision that is expected of a random order: with n pictures, p of the
    class and H = 1 + 1/2 + … + 1/n, (H + (p − 1) / (n − 1) · (n − H)) / n."""
    n, positives = len(relevant), relevant.sum(axis=0)
    some: Float[np.ndarray, " classes"] = positives[(positives > 0) & (positives < n)].astype(float)
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    return float(((harmonic + (some - 1) / (n - 1) * (n - harmonic)) / n).mean()) if len(some) else float("nan")
