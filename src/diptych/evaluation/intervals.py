"""How far from the truth a figure can be: 95% intervals from bootstrap draws.

Shares. With one unit more, of which everything is right, every draw is a little higher: by a share of the weight that
is Beta(1, n), as the weight of one in n + 1 exponentials is. The interval ends above at the 97.5% quantile of these
draws, below at the 2.5% quantile of those with one unit more of which nothing is right. Of independent samples that are
right or wrong this is the exact interval of Clopper and Pearson (1934), and for every mean of values between 0 and 1 it
is believed to cover at least as often as it says (Gaffke 2005; Learned-Miller and Thomas, arXiv 1905.06208; Phan,
Thomas and Learned-Miller, arXiv 2106.03163). In a figure of several kinds of samples, such as a mean over classes or an
AUROC, the unit more is of the rarest, and groups of unequal size are fewer: n is what the figure is worth
(`metrics/sums.py`).

Other figures have no worst unit. They lie between two quantiles of the draws: the normal z is widened to
t · √((n + 1) / (n − 1)) (Hesterberg 2015, arXiv 1411.5279), and moved by a quarter of the draws' skewness, which makes
of a Bayesian bootstrap's quantiles those that BCa (Efron 1987) takes of draws with replacement, whose skewness is half
as much.

How often the truth was inside, in percent of 1,000 simulated data sets (`tests/evaluation/test_intervals.py`), for
shares, and for mean reciprocal ranks among 1,000 with a mean of that much, .007 being chance:

    share of               2%    10%   50%   90%   98%     rank  .90   .53   .22   .04   .007
    10 samples            98.9  98.4  98.3  99.0  99.1          98.7  98.1  98.8  99.5  99.6
    30 samples            98.4  98.3  96.3  98.1  98.8          98.2  96.2  97.7  98.8  99.0
    100 samples           98.2  96.7  96.0  96.9  98.5          96.9  96.0  96.4  97.7  98.7
    1,000 samples         96.9  95.4  95.3  95.0  97.3          95.5  95.5  95.8  94.4  97.6
    20 groups of 5 alike  98.4  97.6  98.1  97.9  98.3
    40 groups of 5 alike  98.9  98.1  96.1  97.8  98.8
    200 groups of 5 alike 98.4  97.1  94.9  96.9  98.1

Groups of lognormal sizes, 10,000 samples of which 99.9% are right, retention of what 2% to 40% of 300 samples had, mean
IoU with a class on 2% of 300 pictures: 93% and more, too. Of balanced accuracy and AUROC of .80 and .97, with half of
100 samples positive 94.7% to 98.5%, with a tenth of 300 positive 96.8% to 98.8%. Sizes of differences (a gap, a
representation bias) are above their truth where that is 0, and so are their intervals.
"""

import math
from statistics import NormalDist

import numpy as np

from diptych.evaluation.outcome import Outcome
from diptych.evaluation.resample import FEWEST, Drawn, parts, resample
from diptych.evaluation.result import Figure

NORMAL = NormalDist()
Z = NORMAL.inv_cdf(0.975)


def interval(drawn: Drawn) -> tuple[float, float]:
    """The 95% interval of a figure. Draws that are NaN are left out; (NaN, NaN) when fewer than two units have it."""
    error = drawn.error
    if math.isnan(error) or math.isnan(drawn.value):
        return math.nan, math.nan
    draws = drawn.draws[~np.isnan(drawn.draws)]
    if drawn.share:
        place = np.random.default_rng(0).permutation((np.arange(len(draws)) + 0.5) / len(draws))
        more = 1 - place ** (1 / max(drawn.worth, 1))
        low, high = (float(np.quantile(end, level, method="hazen")) for end, level in (
            (draws * (1 - more), 0.025), (draws * (1 - more) + more, 0.975)))
        return max(min(low, drawn.value), 0.0), min(max(high, drawn.value), 1.0)
    z = student(Z, drawn.units - 1) * math.sqrt((drawn.units + 1) / (drawn.units - 1))
    moved = float(((draws - draws.mean()) ** 3).mean() / draws.std() ** 3) / 4 if error else 0.0
    low, high = np.quantile(draws, [NORMAL.cdf(moved - z), NORMAL.cdf(moved + z)]).tolist()
    return min(low, drawn.value), max(high, drawn.value)  # a ratio's few, skewed draws may lie to one side of it


def figures_of(
    outcome: Outcome, model: str, *, slices: bool = False, draws: int = 1000, seed: int = 0
) -> list[Figure]:
    """Every figure with its interval: of all data and, with `slices`, of every value of every column that at least
    `FEWEST` samples have. ValueError for fewer than 100 draws."""
    found: list[Figure] = []
    values = np.array(list(outcome.values.values()), float).reshape(len(outcome.values), len(outcome.ids)).T
    for part, inside in parts(outcome, slices):
        again = resample(outcome, inside, draws, seed)
        shares = [name not in outcome.amounts for name in outcome.values]
        drawn = dict(zip(outcome.values, again.figures(values, shares), strict=True))
        drawn |= {name: again.statistic(statistic, name not in outcome.amounts)
                  for name, statistic in outcome.statistics.items()}
        for name, one in drawn.items():
            if part and (one.count < FEWEST or math.isnan(one.value)):
                continue
            low, high = interval(one)
            found.append(Figure(
                model=model, task=outcome.task, name=name, slice=part, value=one.value, low=low, high=high,
                count=one.count, better=outcome.better(name), chance=outcome.chance.get(name)))
    return found


def student(z: float, freedom: float) -> float:
    """The t of so many degrees of freedom that is as far out as the normal z (Wallace 1959, inverted). At 95% it is 4%
    too far for 2 degrees of freedom, 0.5% for 4, 0.1% for 9."""
    scale = (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1((z * scale) ** 2 / freedom))
