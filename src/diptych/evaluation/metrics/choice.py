"""Choosing between a true caption and one that looks like it.

The right one must score strictly higher: a tie is wrong and so is NaN. By chance a model is right as often as `chance`
says; one that gives everything the same score is never right. (CLIP_benchmark's SugarCrepe takes the first of equal
captions, which is the true one: such a model gets 100%.) Scores of one sample must be computed alike, or rounding tells
equal ones apart.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

WINOGROUND_CHANCE: Mapping[str, float] = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}


def winoground(scores: Float[np.ndarray, "samples text=2 image=2"]) -> dict[str, Float[np.ndarray, " samples"]]:
    """Of two captions and two pictures, [sample, caption, picture], where caption i is true of picture i (Thrush et
    al., arXiv 2204.03162 §3.2): "text" is 1 where each picture prefers its caption, "image" where each caption prefers
    its picture, "group" where both is so. `WINOGROUND_CHANCE` is that of scores drawn at random."""
    first, second = scores[:, 0, 0], scores[:, 1, 1]
    second_of_first, first_of_second = scores[:, 1, 0], scores[:, 0, 1]  # caption of picture
    text = (first > second_of_first) & (second > first_of_second)
    image = (first > first_of_second) & (second > second_of_first)
    return {"text": text.astype(np.float64), "image": image.astype(np.float64),
            "group": (text & image).astype(np.float64)}


def true_over_negative(
    true: Float[np.ndarray, " samples"], negative: Float[np.ndarray, " samples *negatives"]
) -> Float[np.ndarray, " samples"]:
    """1 where the true caption scores higher than the hard negative, or than each of several (SugarCrepe, arXiv
    2306.14610; ARO, arXiv 2210.01936)."""
    best = negative.reshape(len(true), -1).max(axis=1)  # NaN where one is
    return (true > best).astype(np.float64)


def chance(negatives: int) -> float:
    """That the true caption is the best of itself and so many negatives: one half for one."""
    return 1 / (1 + negatives)
