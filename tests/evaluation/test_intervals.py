"""Intervals against scipy's where the method is the same, and against the truth where it is known: in simulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.evaluation.intervals import figures_of, interval, student
from diptych.evaluation.metrics.classification import mean_per_class_recall
from diptych.evaluation.metrics.dense import mean_iou
from diptych.evaluation.metrics.detection import auroc
from diptych.evaluation.metrics.sums import ratio
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.resample import Drawn

SHARES = (0.02, 0.1, 0.5, 0.9, 0.98)
RANKS = np.arange(1.0, 1001.0)
POWERS = (3.0, 1.5, 1.0, 0.5, 0.0)  # ranks are found as often as rank ** -power says; 0 is chance


def outcome(n, **rest):
    return Outcome(task="t", ids=[str(i) for i in range(n)], **rest)


def drawn(value, draws, units=10_000):
    return Drawn(value=value, draws=np.asarray(draws, float), units=units, count=units, worth=units, steps=units)


def covered(simulate, truth, times=1000, draws=300):
    """How often each figure's interval holds the truth. Fewer draws than usual make it fast, quantiles less exact and
    coverage a little lower."""
    rng, hits = np.random.default_rng(0), dict.fromkeys(truth, 0)
    for seed in range(times):
        for figure in figures_of(simulate(rng), "m", draws=draws, seed=seed):
            hits[figure.name] += figure.low - 1e-12 <= truth[figure.name] <= figure.high + 1e-12
    return {name: count / times for name, count in hits.items()}


def independent(n):
    """Shares, and reciprocal ranks found with several powers, over the same samples."""
    odds = {power: RANKS**-power / (RANKS**-power).sum() for power in POWERS}
    truth = {str(p): p for p in SHARES} | {f"rr {power}": float((p / RANKS).sum()) for power, p in odds.items()}

    def simulate(rng):
        return outcome(n, values={str(p): (rng.random(n) < p).astype(float) for p in SHARES}
                       | {f"rr {power}": 1 / rng.choice(RANKS, n, p=p) for power, p in odds.items()})

    return simulate, truth


def grouped(groups, size=5):
    """Right with a probability of each group's own: a correlation of one half within groups."""
    names = [str(i // size) for i in range(groups * size)]

    def simulate(rng):
        values = {str(p): rng.random((groups, size)) < rng.beta(p, 1 - p, (groups, 1)) for p in SHARES}
        return outcome(groups * size, groups=names, values={p: v.ravel().astype(float) for p, v in values.items()})

    return simulate, {str(p): p for p in SHARES}


def two_classes(n, share):
    truth = {"balanced 0.8": 0.8, "balanced 0.97": 0.97, "auroc 0.8": 0.8, "auroc 0.97": 0.97}

    def simulate(rng):
        label = rng.random(n) < share
        found = {f"balanced {p}": mean_per_class_recall((rng.random(n) < p).astype(float), label.astype(int))
                 for p in (0.8, 0.97)}
        for area in (0.8, 0.97):
            far = math.sqrt(2) * stats.norm.ppf(area)
            found[f"auroc {area}"] = auroc(rng.normal(size=n) + far * label, label)
        return outcome(n, statistics=found)

    return simulate, truth


@pytest.mark.slow
@pytest.mark.parametrize("case", [
    independent(10), independent(30), independent(100), independent(1000), grouped(20), grouped(40), grouped(200)],
    ids=["10", "30", "100", "1000", "20 groups", "40 groups", "200 groups"])
def test_intervals_of_means_cover_the_truth(case):
    found = covered(*case)
    assert min(found.values()) >= 0.93, found


def unequal(groups):
    """Groups of very different sizes that are alike within: a few hold most samples."""
    def simulate(rng):
        sizes = np.ceil(rng.lognormal(0, 1.5, groups)).astype(int)
        names = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
        return outcome(len(names), groups=names, values={
            str(p): np.repeat((rng.random(groups) < p).astype(float), sizes) for p in SHARES})

    return simulate, {str(p): p for p in SHARES}


def many():
    def simulate(rng):
        return outcome(10_000, values={str(p): (rng.random(10_000) < p).astype(float) for p in (0.02, 0.5, 0.999)})

    return simulate, {"0.02": 0.02, "0.5": 0.5, "0.999": 0.999}


def retained(n):
    truth = {"2% and 98%": 0.98, "10% and 90%": 0.9, "40% and 50%": 0.5}

    def simulate(rng):
        found = {}
        for name, kept in truth.items():
            clean = (rng.random(n) < float(name.split("%")[0]) / 100).astype(float)
            found[name] = ratio(clean * (rng.random(n) < kept), clean)
        return outcome(n, statistics=found)

    return simulate, truth


def segmented(pictures):
    """The second class is on 2% of the pictures."""
    def simulate(rng):
        either = np.stack([np.full(pictures, 1000), 1000 * (rng.random(pictures) < 0.02)], axis=1)
        both = rng.binomial(either, rng.beta(9, 3, either.shape))
        return outcome(pictures, statistics={"miou": mean_iou(both, either)})

    return simulate, {"miou": 0.75}


@pytest.mark.slow
@pytest.mark.parametrize(("case", "times"), [
    (unequal(200), 1000), (many(), 200), (retained(300), 1000), (segmented(300), 500)],
    ids=["unequal", "many", "retained", "segmented"])
def test_intervals_cover_where_samples_do_not_count_alike(case, times):
    found = covered(*case, times=times)
    assert min(found.values()) >= 0.93, found


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "share"), [(100, 0.5), (300, 0.1)])
def test_intervals_of_statistics_cover_the_truth(samples, share):
    found = covered(*two_classes(samples, share), draws=200)
    assert min(found.values()) >= 0.93, found


def test_many_units_and_no_skewness_leave_percentiles():
    draws = stats.norm.ppf((np.arange(1000) + 0.5) / 1000) + 7
    low, high = interval(drawn(7.0, draws))
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=1e-3)  # t of 9,999 in place of z, and no unit more


@pytest.mark.parametrize("sample", [
    stats.expon(scale=3).rvs(60, random_state=0), stats.lognorm(1).rvs(300, random_state=1)], ids=["exp", "lognorm"])
def test_a_skewed_mean_has_scipys_bca_interval_but_for_the_widening(sample):
    n = len(sample)
    (figure,) = figures_of(outcome(n, values={"x": sample}), "m", draws=20_000)
    low, high = figure.low, figure.high
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1)))
    oracle = stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", confidence_level=level,
                             rng=np.random.default_rng(1)).confidence_interval
    # 20,000 draws leave 2% of the width open at each end; a percentile interval is off by 5%
    np.testing.assert_allclose([low, high], oracle, atol=0.025 * (high - low))


@pytest.mark.parametrize("right", [0, 1, 3, 370, 998, 1000])
def test_a_share_has_the_exact_interval(right):
    (figure,) = figures_of(outcome(1000, values={"x": (np.arange(1000) < right).astype(float)}), "m", draws=20_000)
    oracle = stats.binomtest(right, 1000).proportion_ci(method="exact")
    # 20,000 draws know the 2.5% quantile to 2% of the width
    np.testing.assert_allclose([figure.low, figure.high], oracle, atol=0.03 * (oracle.high - oracle.low))


def test_a_class_that_is_rare_and_all_right_is_as_uncertain_as_its_few_samples():
    label = np.arange(300) < 10
    recall = mean_per_class_recall(np.ones(300), label.astype(int))
    (figure,) = figures_of(outcome(300, statistics={"x": recall}), "m", draws=5000)
    oracle = stats.binomtest(20, 20).proportion_ci(method="exact")  # two classes of ten
    assert figure.high == 1 and figure.low == pytest.approx(oracle.low, abs=0.005)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 1000))
def test_shares_stay_between_0_and_1_and_hold_their_value(n, p, seed):
    values = (np.random.default_rng(seed).random(n) < p).astype(float)
    (figure,) = figures_of(outcome(n, values={"x": values}), "m", draws=200, seed=seed)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.high - figure.low > 0.01


def test_what_is_no_share_has_no_worst_sample():
    metres = np.random.default_rng(0).uniform(0.1, 0.3, 10)
    share, amount = (figures_of(outcome(10, values={"x": metres}, amounts=frozenset(names)), "m")[0]
                     for names in ((), ("x",)))
    half = stats.t.ppf(0.975, 9) * metres.std(ddof=1) / math.sqrt(10)
    np.testing.assert_allclose([amount.low, amount.high], metres.mean() + np.array([-half, half]), atol=0.2 * half)
    assert share.high > 0.35 > amount.high  # one of a whole metre could come
    some = outcome(10, statistics={"x": lambda weights: float(weights @ metres / weights.sum())},
                   amounts=frozenset({"x"}))
    assert figures_of(some, "m")[0].high == pytest.approx(amount.high, abs=0.01)


def test_an_interval_holds_its_figure():
    values = np.r_[np.zeros(40), 1e6]  # draws are all below a mean that one sample carries, or far above
    (figure,) = figures_of(outcome(41, values={"x": values}), "m", draws=100)
    assert figure.low <= figure.value <= figure.high
    low, high = interval(drawn(0.5, np.full(200, 0.2) + np.linspace(0, 1e-3, 200)))
    assert low <= 0.5 <= high


def test_a_figure_beyond_1_is_no_share():
    values = np.random.default_rng(0).normal(-3, 1, 200)
    (figure,) = figures_of(outcome(200, values={"x": values}), "m", draws=5000)
    half = stats.t.ppf(0.975, 199) * values.std(ddof=1) / math.sqrt(200)
    np.testing.assert_allclose([figure.low, figure.high], values.mean() + np.array([-half, half]), atol=0.1 * half)


def test_groups_that_agree_widen_the_interval_as_fewer_samples_would():
    groups, size = 400, 5
    right = np.repeat(np.random.default_rng(0).random(groups) < 0.6, size).astype(float)
    names = [str(i // size) for i in range(groups * size)]
    (naive,) = figures_of(outcome(len(right), values={"x": right}), "m")
    (honest,) = figures_of(outcome(len(right), values={"x": right}, groups=names), "m")
    assert naive.value == honest.value
    # 2% of both widths are noise of the draws
    assert (honest.high - honest.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(size), rel=0.1)


def test_figures_are_those_of_the_outcome_whole_and_in_slices():
    rng = np.random.default_rng(0)
    n = 300
    values = {"acc": (rng.random(n) < 0.7).astype(float), "loss": rng.random(n) * 3}
    values["acc"][:50] = np.nan
    label = (rng.random(n) < 0.5).astype(float)
    statistic = auroc(rng.normal(size=n) + label, label > 0)
    language = ["de"] * 52 + ["ko"] * 244 + ["th"] * 4
    found = outcome(n, values=values, statistics={"auroc": statistic}, slices={"language": language},
                    chance={"acc": 0.1}, lower=frozenset({"loss"}))
    figures = {(figure.slice, figure.name): figure for figure in figures_of(found, "m", slices=True)}
    assert set(figures) == {("", "acc"), ("", "loss"), ("", "auroc"), ("language=de", "loss"), ("language=de", "auroc"),
                            ("language=ko", "acc"), ("language=ko", "loss"), ("language=ko", "auroc")}
    for (part, name), figure in figures.items():
        inside = np.array([not part or entry == part.removeprefix("language=") for entry in language], float)
        assert figure.value == pytest.approx(found.figure(name, inside))
        assert figure.low < figure.value < figure.high
        assert (figure.model, figure.task, figure.better) == ("m", "t", "lower" if name == "loss" else "higher")
        assert figure.chance == (0.1 if name == "acc" else None)
    counts = {key: figures[key].count for key in [("", "acc"), ("", "auroc"), ("language=ko", "acc")]}
    assert list(counts.values()) == [250, 300, 244]
    whole = [figure for figure in figures.values() if not figure.slice]
    assert figures_of(found, "m") == whole  # slices do not change what is drawn


def test_one_unit_or_none_has_no_interval():
    one = outcome(3, values={"x": np.array([1.0, 0.0, 1.0])}, groups=["a"] * 3)
    (figure,) = figures_of(one, "m")
    assert figure.value == pytest.approx(2 / 3) and math.isnan(figure.low) and math.isnan(figure.high)
    (figure,) = figures_of(outcome(3, values={"x": np.full(3, np.nan)}), "m")
    assert math.isnan(figure.value) and math.isnan(figure.low) and figure.count == 0


def test_draws_without_the_figure_are_left_out():
    draws = np.linspace(-2, 4, 1000)
    assert interval(drawn(1.0, np.r_[draws, np.full(300, np.nan)])) == interval(drawn(1.0, draws))
    assert all(map(math.isnan, interval(drawn(1.0, np.full(100, np.nan)))))


@pytest.mark.parametrize(("freedom", "off"), [(2, 0.05), (4, 0.006), (9, 0.001), (100, 1e-5), (1999, 1e-6)])
def test_student_is_scipys_t(freedom, off):
    assert student(stats.norm.ppf(0.975), freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=off)
