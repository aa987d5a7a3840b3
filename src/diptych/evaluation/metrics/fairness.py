"""Whether groups of people are treated alike: who is found, who is taken for the usual case, and for whom it works.

Groups are numbered from 0; −1 is a sample of which none is known. None of these figures says what is just: a figure of
0 means that the groups do not differ in this one respect.
"""


import numpy as np
from jaxtyping import Bool, Float, Int

from diptych.evaluation.metrics.ranking import TIE
from diptych.evaluation.metrics.sums import OfSums, Sums, of_means


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
    family: Int[np.ndarray, " samples"],
) -> OfSums:
    """WEAT's effect size of two sets of samples, the `first` and the others, whichever way: how far apart their mean
    associations are in each family, in standard deviations of all in it, and of that the mean over families by their
    mean weight. Between 0, where all are associated alike, and 2 for sets of one size. A family counts while both sets
    have weight in it; NaN when none does."""
    size = np.maximum(np.bincount(family), 1)
    # from their family's middle: squares of numbers far from 0 would lose what tells them apart
    centred = associated - (np.bincount(family, associated) / size)[family]
    columns = [side * column for side in (first, ~first) for column in (centred, np.ones(len(centred)))]

    def figure(sums: Sums) -> Float[np.ndarray, " draws"]:
        effects = np.abs(_effects(sums))
        weight = np.where(np.isnan(effects), 0, sums[:, :, 1::2].sum(axis=2) / size)
        total = weight.sum(axis=1)
        return np.divide((weight * np.nan_to_num(effects)).sum(axis=1), total, out=np.full(len(sums), np.nan),
                         where=total > 0)

    return OfSums(cell=family, columns=np.stack([*columns, centred**2], axis=1), figure=figure,
                  mass=np.ones((len(family), 1)))


def worst_group(values: Float[np.ndarray, " samples"], group: Int[np.ndarray, " samples"]) -> OfSums:
    """The lowest of the groups' means (Sagawa et al., arXiv 1911.08731). It falls with the number of groups even where
    they do not differ; the interval tells. NaN without groups."""
    return of_means(values, group, lambda means, there: np.where(there, means, np.inf).min(axis=1))


def gap(values: Float[np.ndarray, " samples"], group: Int[np.ndarray, " samples"]) -> OfSums:
    """The highest of the groups' means less the lowest. NaN without groups."""
    return of_means(values, group, lambda means, there: np.where(there, means, -np.inf).max(axis=1) - np.where(
        there, means, np.inf).min(axis=1))


def _effects(sums: Sums) -> Float[np.ndarray, "draws families"]:
    """WEAT's effect size of each family; the sums are, for either set, of associations and weight, and of squares."""
    ours, mine, theirs, yours, squares = np.moveaxis(sums, -1, 0)
    both = (mine > 0) & (yours > 0)
    total, mine, yours = (np.where(both, weight, 1) for weight in (mine + yours, mine, yours))
    spread = np.sqrt(np.maximum(squares / total - ((ours + theirs) / total) ** 2, 0))
    apart = np.divide(ours / mine - theirs / yours, spread, out=np.zeros(spread.shape),
                      where=spread >= TIE)  # else rounding over rounding
    return np.where(both, apart, np.nan)
