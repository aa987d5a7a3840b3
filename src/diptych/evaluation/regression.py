"""Multinomial logistic regression on frozen vectors, with its decay chosen on validation: CLIP's linear probe.

The protocol is that of arXiv 2103.00020 §A.3: scikit-learn's L-BFGS, the sum of the losses plus decay · |weights|² / 2,
the decay between 10^-6 and 10^6 by a search that halves its step around the best. It begins with the greatest decay,
so that each fit can begin where a stronger one ended.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

TOLERANCE = 1e-5
"""The slope of the mean loss at which L-BFGS stops. With scikit-learn's 1e-4 (in CLIP's days of the sum of the losses,
which is far less) accuracies of neighbouring decays jump by a percent, and the best decay is drawn by lot."""

_SMALL = 1 << 30
"""Products of a step that one thread does alone: it is as fast, and much faster where other work wants the cores."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """A line for each class. A class that no training picture showed has no weights and a bias of −∞."""

    weight: Float[np.ndarray, "classes dim"]
    bias: Float[np.ndarray, " classes"]

    def logits(self, features: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch classes"]:
        """Up to a number that all classes of a picture share, the logarithm of their probabilities."""
        return features @ self.weight.T + self.bias


def fit(
    features: Float[np.ndarray, "n dim"], target: Int[np.ndarray, " n"], classes: int, decay: float,
    iterations: int = 1000, start: Regression | None = None,
) -> Regression:
    """The regression of `target`, numbers of `classes`, in so many steps or fewer. `start` is that of another decay and
    the same classes; None: of an endless one, which knows their frequency alone. ValueError for one class only."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    shown, counts = np.unique(target, return_counts=True)
    if len(shown) < 2:
        raise ValueError("a regression tells classes apart, and the training pictures show one only")
    lines = shown[1:] if len(shown) == 2 else shown  # of two classes scikit-learn has one line, the second's
    model = LogisticRegression(C=1 / decay, max_iter=iterations, tol=TOLERANCE, warm_start=True)
    weight = np.zeros((classes, features.shape[1]), features.dtype)
    bias = np.full(classes, -np.inf, features.dtype)
    bias[shown] = np.log(counts / counts[0])
    model.coef_, model.intercept_ = (weight[lines], bias[lines]) if start is None else (
        start.weight[lines], start.bias[lines])
    small = features.size * len(shown) < _SMALL
    with warnings.catch_warnings(), threadpool_limits(1 if small else None):
        # of steps that are used up, and of few pictures for many classes: both are the protocol
        warnings.simplefilter("ignore", UserWarning)
        model.fit(features, target)
    bias[shown] = 0
    weight[lines], bias[lines] = model.coef_, model.intercept_
    return Regression(weight=weight, bias=bias)


def best_decay(accuracy: Callable[[float], float]) -> float:
    """The decay between 10^-6 and 10^6 with the greatest accuracy; of equal ones the greatest. Seven decades apart by
    two, then twice as near around the best one until eight make a decade: 15 fits for the 97 of the whole grid."""
    found = {float(exponent): accuracy(10.0**exponent) for exponent in range(6, -7, -2)}
    step = 2.0
    while step > 1 / 8:
        step /= 2
        best = _best(found)
        for exponent in (best + step, best - step):
            if abs(exponent) <= 6:
                found[exponent] = accuracy(10.0**exponent)
    return 10.0 ** _best(found)


def _best(found: dict[float, float]) -> float:
    return max(found, key=lambda exponent: (found[exponent], exponent))
