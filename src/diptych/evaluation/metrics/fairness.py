"""Whether groups of people are treated alike: who is found, who is taken for the usual case, and for whom it works.

Groups are numbered from 0; −1 is a sample of which none is known. None of these figures says what is just: a figure of
0 means that the groups do not differ in this one respect.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.evaluation.metrics.ranking import TIE


def max_skew(
    found: Int[np.ndarray, "queries k"], target: Float[np.ndarray, " groups"]
) -> Float[np.ndarray, " queries"]:
    """MaxSkew@k: of the groups of the k pictures found for a query, max over groups of ln(share found / share wanted)
    (Geyik et al., arXiv 1905.01989 §4.1). 0 is as wanted, ln 2 that one group is there twice as often. `target` are the
    shares wanted, such as the collection's; all are above 0. NaN where no group is known."""
    if not (target > 0).all():
        raise ValueError(f"of every group some share is wanted, got {target.tolist()}; the pictures of a group that is "
                         "left out are in group -1")
    if found.size and found.max() >= len(target):
        raise ValueError(f"groups are numbered 0 to {len(target) - 1}, got {found.max()}")
    counts = (found[:, :, None] == np.arange(len(target))).sum(axis=1)
    known = counts.sum(axis=1)
    skew = (counts / (target / target.sum())).max(axis=1) / np.maximum(known, 1)
    return np.log(skew, out=np.full(len(found), np.nan), where=known > 0)


def preference(
    a: Float[np.ndarray, " samples"], b: Float[np.ndarray, " samples"]
) -> Float[np.ndarray, " samples"]:
    """Whether a sample's score with A is higher than with B, less one half: ½, −½, or 0 where they tie.

    The mean is the representation bias (SigLIP 2, arXiv 2502.14786 §3.5): of pictures that show neither, the share that
    "male" fits better than "female", less one half. A tie counts half to each, because what is asked is which way a
    model leans: one that tells nothing apart leans to neither. NaN where a score is.
    """
    difference = a.astype(np.float64) - b
    return np.where(np.abs(difference) < TIE, 0.0, np.sign(difference)) / 2


def association(
    vectors: Float[np.ndarray, "samples dim"], a: Float[np.ndarray, "words_a dim"],
    b: Float[np.ndarray, "words_b dim"],
) -> Float[np.ndarray, " samples"]:
    """The mean cosine of each unit vector with those of A less the mean with those of B: s(w, A, B) of WEAT (Caliskan
    et al., arXiv 1608.07187)."""
    return vectors @ (a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64))


def association_bias(
    associated: Float[np.ndarray, " samples"], first: Bool[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """WEAT's effect size of two sets of samples: the mean association of the `first` less that of the others, in
    standard deviations of all; between −2 and 2 for sets of one size. 0 where all are associated alike; NaN unless both
    sets have weight."""
    weights = np.ones(len(associated)) if weights is None else weights
    ours, theirs = weights * first, weights * ~first
    if not ours.any() or not theirs.any():
        return math.nan
    mean = weights @ associated / weights.sum()
    spread = math.sqrt(weights @ (associated - mean) ** 2 / weights.sum())
    if spread < TIE:
        return 0.0  # else rounding over rounding
    return float((ours @ associated / ours.sum() - theirs @ associated / theirs.sum()) / spread)


def association_p(
    associated: Float[np.ndarray, " samples"], first: Bool[np.ndarray, " samples"], draws: int = 10_000, seed: int = 0
) -> float:
    """The share of random divisions into sets of the same sizes, the true one among them, whose means differ at least
    as much, either way: the p of a two-sided permutation test. ValueError for an empty set."""
    if first.all() or not first.any():
        raise ValueError("an association bias needs samples of two sets")
    rng, many = np.random.default_rng(seed), int(first.sum())
    values = associated - associated.mean(dtype=np.float64)
    # with the mean at 0 and the sizes fixed, the sum of one set says how far apart the means are
    least = abs(values[first].sum()) - TIE
    hits = sum(abs(rng.permutation(values)[:many].sum()) >= least for _ in range(draws))
    return float((1 + hits) / (1 + draws))


def group_means(
    values: Float[np.ndarray, " samples"], group: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> Float[np.ndarray, " groups"]:
    """The mean of each group's values that are not NaN. NaN of a group without weight."""
    known = ~np.isnan(values) & (group >= 0)
    weights = np.ones(len(values)) if weights is None else weights
    count = int(group.max(initial=-1)) + 1
    total = np.bincount(group[known], weights[known], count)
    sums = np.bincount(group[known], weights[known] * values[known], count)
    return np.divide(sums, total, out=np.full(count, np.nan), where=total > 0)


def worst_group(
    values: Float[np.ndarray, " samples"], group: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """The lowest of the groups' means (Sagawa et al., arXiv 1911.08731). It falls with the number of groups even where
    they do not differ; the interval tells. NaN without groups."""
    means = group_means(values, group, weights)
    return float(np.nanmin(means)) if not np.isnan(means).all() else math.nan


def gap(
    values: Float[np.ndarray, " samples"], group: Int[np.ndarray, " samples"],
    weights: Float[np.ndarray, " samples"] | None = None,
) -> float:
    """The highest of the groups' means less the lowest. NaN without groups."""
    means = group_means(values, group, weights)
    return float(np.nanmax(means) - np.nanmin(means)) if not np.isnan(means).all() else math.nan
