"""Depth by a linear probe of frozen patches: the error in metres, and the share of pixels that are near the truth.

The protocol of DINOv2 and TIPS (arXiv 2304.07193 §7.4, 2410.16512 §4), after AdaBins (2011.14141): features
standardised per channel, one linear layer to 256 depths at equal steps, logits enlarged four times, the depth that
their shares expect, enlarged to the map. Theirs are shares of max(logit, 0) + 0.1, learned on the error of logarithms
by gradient steps; here they are a softmax's, learned on squared metres, which RMSE is, by L-BFGS, with the decay chosen
on validation.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from diptych.core import telemetry
from diptych.evaluation import pixels
from diptych.evaluation.dense import enlarge
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import dense as metrics
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.pixels import Sample, Scaling, Target
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, SplitConfig, split_pictures

_FINER = 4
"""How much finer than patches the grid is on which depths are expected."""


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """`bins` depths between the least and the greatest of training. `samples` pixels of the training pictures teach the
    probe, as many of validation choose among `decays`, the penalty on the mean loss in units of the depths' variance.
    `iterations` bounds each fit."""

    split: SplitConfig = field(default_factory=SplitConfig)
    bins: int = 256
    samples: int = 10_000
    decays: tuple[float, ...] = (0.1, 0.01, 0.001)
    iterations: int = 30
    seed: int = 0

    def __post_init__(self):
        if min(self.samples, self.iterations) < 1 or self.bins < 2 or not self.decays or min(self.decays) <= 0:
            raise ValueError("samples and iterations are at least 1, bins at least 2 and decays above 0, got "
                             f"{self.samples}, {self.iterations}, {self.bins} and {self.decays}")


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthProbe:
    """A line for each of the depths at `metres`."""

    weight: Float[np.ndarray, "bins both"]
    bias: Float[np.ndarray, " bins"]
    metres: Float[np.ndarray, " bins"]

    def logits(self, features: Float[np.ndarray, "*batch both"]) -> Float[np.ndarray, "*batch bins"]:
        """Of each depth."""
        return features @ self.weight.T + self.bias

    def expected(self, logits: Float[np.ndarray, "*batch bins"]) -> Float[np.ndarray, "*batch"]:
        """Metres."""
        return _softmax(logits) @ self.metres


def depth(embedded: Embedded, config: DepthConfig) -> Outcome:
    """Samples are the test pictures, "rmse" in metres and "delta_1", the share within a factor of 1.25, their means
    over pictures (Eigen et al., arXiv 1406.2283). `chance` is what the training pixels' mean everywhere reaches.

    ValueError without depths, and for a model without patch features.
    """
    data, read = embedded.data, embedded.data.maps.depth
    if read is None:
        raise ValueError(f"{data.name} has no depths of its pixels")
    target = Target(read=read, known=lambda metres: (metres > 0) & np.isfinite(metres))
    parts = split_pictures(data, range(len(data)), config.split)
    with telemetry.progress(f"{embedded.spec.name}: depth", None, "steps") as bar:
        train, val = (pixels.sample(embedded, side, target, config.samples, config.seed)
                      for side in (parts.train, parts.val))
        bar.advance()
        scaling = Scaling.of(train)
        probe = _fitted(train, val, scaling, config, bar)
        mean = train.truth.mean(dtype=np.float64)
        pictures: list[int] = []
        found: dict[str, list[float]] = {"rmse": [], "delta_1": []}
        guessed: dict[str, list[float]] = {"rmse": [], "delta_1": []}
        for i, grid, truth in pixels.looked(embedded, parts.test, target):
            pictures.append(i)
            for figures, said in ((found, _drawn(probe, scaling(grid), *truth.shape)),
                                  (guessed, np.full(truth.shape, mean))):
                figures["rmse"].append(float(metrics.rmse(said[None], truth[None])[0]))
                figures["delta_1"].append(float(metrics.delta_1(said[None], truth[None])[0]))
            bar.advance()
    if not pictures:
        raise ValueError(f"no test picture of {data.name} has a pixel of known depth")
    return Outcome(
        task="depth", ids=[data.ids[i] for i in pictures],
        values={name: np.array(values) for name, values in found.items()},
        groups=[str((data.same or range(len(data)))[i]) for i in pictures],
        slices=slices(data, pictures, without={COLUMN}), lower=frozenset({"rmse"}), amounts=frozenset({"rmse"}),
        chance={name: float(np.mean(values)) for name, values in guessed.items()})


def fit_depth(
    features: Float[np.ndarray, "n both"], metres: Float[np.ndarray, " n"], bins: int, decay: float, iterations: int,
    start: DepthProbe | None = None,
) -> DepthProbe:
    """The probe that expects `metres` best. It begins at `start`, by default at their frequencies alone. ValueError
    when all of them are the same."""
    from scipy.optimize import minimize

    low, high = float(metres.min()), float(metres.max())
    if not high > low:
        raise ValueError(f"all depths of training are {low:g} m: there is nothing to tell apart")
    places = np.linspace(low, high, bins)
    centre, unit = places.mean(), metres.std(dtype=np.float64)
    scaled, truth = ((places - centre) / unit).astype(np.float32), ((metres - centre) / unit).astype(np.float32)
    both = features.shape[1]
    features = features.astype(np.float32)

    def loss(flat: Float[np.ndarray, " parameters"]) -> tuple[float, Float[np.ndarray, " parameters"]]:
        weight, bias = flat[:-bins].reshape(bins, both).astype(np.float32), flat[-bins:].astype(np.float32)
        shares = _softmax(features @ weight.T + bias)
        expected = shares @ scaled
        error = expected - truth
        shares *= (2 / len(truth)) * error[:, None] * (scaled - expected[:, None])
        slope = np.concatenate([(shares.T @ features + decay * weight).ravel(), shares.sum(axis=0)])
        return float((error**2).mean() + 0.5 * decay * (weight**2).sum()), slope.astype(np.float64)

    if start is None:
        counts, _ = np.histogram(metres, bins, (low, high))
        begin = np.concatenate([np.zeros(bins * both), np.log(counts + 1.0)])
    else:
        begin = np.concatenate([start.weight.ravel(), start.bias]).astype(np.float64)
    flat = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": iterations}).x.astype(np.float32)
    return DepthProbe(weight=flat[:-bins].reshape(bins, both), bias=flat[-bins:], metres=places.astype(np.float32))


def _fitted(
    train: Sample, val: Sample, scaling: Scaling, config: DepthConfig, bar: telemetry.Progress
) -> DepthProbe:
    """The probe with which validation does best."""
    features, heldout = scaling(train.features), scaling(val.features)
    best, least, last = None, np.inf, None
    for decay in sorted(config.decays, reverse=True):  # each begins where a stronger one ended
        last = fit_depth(features, train.truth, config.bins, decay, config.iterations, last)
        error = float(((last.expected(last.logits(heldout)) - val.truth) ** 2).mean())
        best, least = (last, error) if error < least else (best, least)
        bar.advance()
    assert best is not None
    return best


def _drawn(
    probe: DepthProbe, features: Float[np.ndarray, "rows columns both"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    rows, columns, _ = features.shape
    fine = enlarge(np.moveaxis(probe.logits(features), -1, 0), _FINER * rows, _FINER * columns)
    return enlarge(probe.expected(np.moveaxis(fine, 0, -1))[None], height, width)[0]


def _softmax(logits: Float[np.ndarray, "*batch bins"]) -> Float[np.ndarray, "*batch bins"]:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
