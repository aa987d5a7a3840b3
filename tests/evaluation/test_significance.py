"""Paired tests against scipy's, corrections by hand, and in simulation: p under the null, coverage, power."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.evaluation.metrics import detection
from diptych.evaluation.metrics.classification import mean_per_class_recall
from diptych.evaluation.metrics.fairness import worst_group
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.significance import EXACT, FLIPS, difference, differences_of, flip_p, holm

MODELS = ("a", "b")


def outcome(values=None, task="t", **rest):
    values = values or {}
    n = rest.pop("n", None) or len(next(iter(values.values())))
    return Outcome(task=task, ids=[str(i) for i in range(n)], values=values, **rest)


def compared(a, b, name="x", **rest):
    return difference(a, b, name, models=MODELS, **rest)


def paired_shares(rng, n, gained, lost):
    """Two models that agree but for the share that one alone is right about, and the other."""
    which = rng.random(n)
    a, b = which < gained, (which >= gained) & (which < gained + lost)
    both = which > 0.6
    return (a | both).astype(float), (b | both).astype(float)


def mean_of(values):
    """A mean in the form of a statistic."""
    return lambda weights: float(weights @ values / weights.sum())


def auroc(score, label):
    order = np.argsort(-score)
    label = label[order]

    def statistic(weights):
        positive = weights[order] * label
        negative = weights[order] - positive
        return float(negative @ np.cumsum(positive) / (positive.sum() * negative.sum()))

    return statistic


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 10), st.integers(0, 100), st.booleans())
def test_few_units_have_scipys_exact_p(units, seed, shares):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-2, 3, units).astype(float) if shares else rng.normal(0.5, 1, units)
    oracle = stats.permutation_test(
        (sums, np.zeros(units)), lambda x, y, axis: np.abs((x - y).sum(axis=axis)), permutation_type="samples",
        vectorized=True, n_resamples=np.inf, alternative="greater").pvalue if units > 1 else 1.0
    assert flip_p(sums[:, None])[0] == pytest.approx(oracle)


@pytest.mark.parametrize("mean", [0.05, 0.4, 0.6])
def test_many_units_have_the_exact_p_but_for_the_flips(mean):
    sums = np.random.default_rng(0).normal(mean, 1, 17)
    signs = 1 - 2 * (np.arange(2**17)[:, None] >> np.arange(17) & 1)
    exact = float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())
    # four standard errors of 10,000 flips
    assert flip_p(sums[:, None])[0] == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / FLIPS))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (9, 1), (13, 0), (8, 5)])
def test_shares_that_few_samples_tell_apart_have_mcnemars_exact_p(gained, lost):
    sums = np.r_[np.ones(gained), -np.ones(lost), np.zeros(300)]
    assert gained + lost <= EXACT
    oracle = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert flip_p(sums[:, None])[0] == pytest.approx(oracle)


def test_a_plain_difference_has_a_p_that_survives_a_long_report():
    sums = np.r_[np.ones(150), -np.ones(50), np.zeros(1800)]
    p = flip_p(sums[:, None])[0]
    exact = stats.binomtest(150, 200).pvalue
    assert exact < p < 1e-9 < 1 / (1 + FLIPS)


def test_columns_do_not_depend_on_their_neighbours():
    sums = np.random.default_rng(0).normal(0.1, 1, (200, 4))
    sums[20:, 1] = 0
    sums[5:, 2] = 0
    together = flip_p(sums, seed=3)
    np.testing.assert_allclose(together, [flip_p(sums[:, [i]], seed=3)[0] for i in range(4)])
    assert (together == flip_p(-sums, seed=3)).all()


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    # sorted .005 · 4, .01 · 3, .03 · 2, .04 · 1, none below the one before
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferronis(values):
    p = np.array(values)
    corrected = holm(p)
    assert (corrected >= p).all() and (corrected <= np.minimum(p * len(p), 1) + 1e-15).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_equal_models_are_not_distinguishable():
    right = (np.random.default_rng(0).random(300) < 0.7).astype(float)
    both = [outcome({"x": right}, statistics={"s": mean_of(right)}) for _ in MODELS]
    for name in ("x", "s"):
        found = compared(*both, name)
        assert (found.value, found.p, found.needed, found.verdict) == (0.0, 1.0, None, "not distinguishable")
        # what 300 samples without a difference still leave open: less than 3 / 300, more than nothing
        assert -0.01 < found.low < -0.005 and 0.005 < found.high < 0.01


def test_a_difference_is_that_of_the_figures_and_turns_with_the_models():
    rng = np.random.default_rng(1)
    a, b = paired_shares(rng, 400, 0.15, 0.05)
    first = outcome({"x": a}, statistics={"s": mean_of(a)})
    second = outcome({"x": b}, statistics={"s": mean_of(b)})
    for name in ("x", "s"):
        there, back = compared(first, second, name), compared(second, first, name)
        assert there.value == pytest.approx(first.figure(name) - second.figure(name)) and there.count == 400
        assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
        assert (back.p, back.needed) == pytest.approx((there.p, there.needed))
        assert (there.verdict, back.verdict, there.p_holm) == ("better", "worse", there.p)
        error = (a - b).std(ddof=1) / 20
        # Bonett and Price's error; 1,000 draws know it to 2.2%, three of them
        half = stats.t.ppf(0.975, 399) * math.sqrt(error**2 + 2 / 400**2)
        assert there.high - there.value == pytest.approx(half, rel=0.07)
        power = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2
        assert there.needed == pytest.approx(power * (a - b).var(ddof=1) / there.value**2, rel=0.14)


def test_a_statistic_has_the_p_of_a_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(5.3, 2, 80), rng.normal(5, 1, 80)  # no shares, so that nothing is widened
    found = compared(outcome(n=80, statistics={"s": mean_of(a)}), outcome(n=80, statistics={"s": mean_of(b)}), "s",
                     draws=20_000)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=0.1)  # 0.5% in t are 3%; three of them
    assert (found.low, found.high) == pytest.approx(stats.ttest_rel(a, b).confidence_interval(), abs=0.02)


def test_a_group_changes_sides_as_a_whole():
    rng = np.random.default_rng(0)
    each = rng.normal(0.3, 1, 60)
    values, groups = np.repeat(each, 4), [str(i // 4) for i in range(240)]
    grouped = compared(outcome({"x": values}, groups=groups), outcome({"x": np.zeros(240)}, groups=groups))
    single = compared(outcome({"x": each}), outcome({"x": np.zeros(60)}))
    alone = compared(outcome({"x": values}), outcome({"x": np.zeros(240)}))
    assert grouped.p == single.p > alone.p
    assert grouped.needed == pytest.approx(4 * single.needed, abs=4)
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))


def test_samples_without_the_figure_in_either_model_are_dropped():
    rng = np.random.default_rng(2)
    a, b = rng.random(100), rng.random(100)
    a[:30], b[20:50] = np.nan, np.nan
    found, rest = compared(outcome({"x": a}), outcome({"x": b})), slice(50, None)
    assert found.count == 50 and found.value == pytest.approx((a[rest] - b[rest]).mean())
    assert found.p == pytest.approx(compared(outcome({"x": a[rest]}), outcome({"x": b[rest]})).p, abs=0.02)
    with pytest.raises(ValueError, match="samples have 'x' in both a and b"):
        compared(outcome({"x": np.r_[a[:30], 1]}), outcome({"x": np.r_[b[:30], np.nan]}))


def test_all_pairs_of_all_tasks_are_corrected_together():
    rng = np.random.default_rng(0)
    good, bad = paired_shares(rng, 500, 0.2, 0.02)
    error = {"good": 1 + rng.random(500), "bad": 2 + rng.random(500)}
    easy = {"good": outcome({"acc": good}), "bad": outcome({"acc": bad}), "bad again": outcome({"acc": bad})}
    hard = {name: outcome({"error": error[name]}, task="u", lower=frozenset({"error"})) for name in ("good", "bad")}
    found = differences_of([easy, {}, hard])
    assert [(d.task, d.name, d.model, d.other) for d in found] == [
        ("t", "acc", "good", "bad"), ("t", "acc", "good", "bad again"), ("t", "acc", "bad", "bad again"),
        ("u", "error", "good", "bad")]
    assert [d.verdict for d in found] == ["better", "better", "not distinguishable", "better"]
    np.testing.assert_allclose([d.p_holm for d in found], holm(np.array([d.p for d in found])))
    assert found[3].value < 0 and found[2].p_holm == 1
    assert found[0].p == difference(easy["good"], easy["bad"], "acc", models=("good", "bad")).p
    assert [d.name for d in differences_of([easy, hard], names={"error"})] == ["error"]
    assert differences_of([]) == [] and differences_of([{"alone": easy["good"]}]) == []


def test_a_difference_that_only_the_correction_takes_back():
    sums = np.r_[np.ones(9), np.zeros(40)], np.r_[np.ones(1), np.zeros(48)]
    one = {"a": outcome({"x": sums[0], **{f"y{i}": sums[1] for i in range(15)}}),
           "b": outcome({"x": 0 * sums[0], **{f"y{i}": 0 * sums[1] for i in range(15)}})}
    assert difference(one["a"], one["b"], "x", models=MODELS).verdict == "better"  # 2 / 2^9
    (x,) = [d for d in differences_of([one]) if d.name == "x"]
    assert x.p_holm == pytest.approx(16 * 2 / 2**9) and x.verdict == "not distinguishable"


def test_slices_are_compared_as_if_they_were_all():
    rng = np.random.default_rng(0)
    a, b = paired_shares(rng, 200, 0.3, 0.1)
    language = np.where(np.arange(200) < 80, "de", "ko")
    whole = {"a": outcome({"x": a}, slices={"language": list(language)}),
             "b": outcome({"x": b}, slices={"language": list(language)})}
    found = {d.slice: d for d in differences_of([whole], slices=True)}
    assert list(found) == ["", "language=de", "language=ko"]
    german = compared(outcome({"x": a[:80]}), outcome({"x": b[:80]}))
    part = compared(whole["a"], whole["b"], part="language=de")
    for one in (found["language=de"], part):
        assert (one.value, one.low, one.high, one.p, one.count, one.needed) == (
            german.value, german.low, german.high, german.p, 80, german.needed)
    assert [d.slice for d in differences_of([whole])] == [""]


def test_figures_that_one_model_lacks_are_left_out():
    x = np.arange(10.0)
    found = differences_of([{"a": outcome({"x": x, "y": x}), "b": outcome({"x": x, "z": x}),
                             "c": outcome({"z": x}, statistics={"x": mean_of(x)})}])
    assert [(d.model, d.other, d.name) for d in found] == [("a", "b", "x"), ("b", "c", "z")]


def test_one_group_tells_nothing():
    found = compared(*(outcome({"x": x}, groups=["g"] * 4) for x in (np.ones(4), np.zeros(4))))
    assert found.value == 1 and found.p == 1 and math.isnan(found.low) and found.needed is None
    found = compared(*(outcome(n=4, statistics={"s": mean_of(x)}, groups=["g"] * 4) for x in (np.ones(4), np.zeros(4))),
                     "s")
    assert found.value == 1 and found.p == 1 and math.isnan(found.low) and found.needed is None


def test_a_statistic_that_no_draw_moves_is_as_sure_as_its_units():
    ten = [outcome(n=10, statistics={"s": lambda _, value=value: value}) for value in (7.0, 3.0)]
    assert compared(*ten, "s").p == 2 / 2**10


def test_what_cannot_be_compared_is_said_so():
    x = np.arange(10.0)
    a, other = outcome({"x": x}), Outcome(task="t", ids=[f"{i}" for i in range(2, 14)], values={"x": np.arange(12.0)})
    with pytest.raises(ValueError, match="2 are only a's, 4 only b's, 8 of both"):
        compared(a, other)
    with pytest.raises(ValueError, match=r"0 are only a's, 0 only b's, 10 of both; .* in the same order"):
        compared(a, Outcome(task="t", ids=a.ids[::-1], values={"x": x}))
    with pytest.raises(ValueError, match="different groups"):
        compared(a, outcome({"x": x}, groups=["g"] * 10))
    with pytest.raises(ValueError, match="two tasks, t and u"):
        differences_of([{"a": a, "b": outcome({"x": x}, task="u")}])
    with pytest.raises(ValueError, match="b has no figure 'x'; it has y"):
        compared(a, outcome({"y": x}))
    with pytest.raises(ValueError, match="no slice 'language=de'"):
        compared(a, a, part="language=de")
    with pytest.raises(ValueError, match="no task has a figure y"):
        differences_of([{"a": a, "b": a}], names={"x", "y"})


@pytest.mark.parametrize("kind", ["shares", "values", "groups", "statistic"])
def test_p_is_uniform_where_models_do_not_differ(kind):
    rng, p = np.random.default_rng(0), []
    for seed in range(400):
        groups, n = None, 120
        if kind == "shares":
            a, b = paired_shares(rng, n, 0.15, 0.15)
        elif kind == "groups":
            a, b = (np.repeat(rng.normal(size=30), 4) + rng.normal(size=n) for _ in MODELS)
            groups = [str(i // 4) for i in range(n)]
        else:
            a, b = rng.exponential(size=(2, n))
        if kind == "statistic":
            label = (np.arange(n) < 60).astype(float)
            made = [outcome(n=n, statistics={"x": auroc(score + label, label)}) for score in (a, b)]
        else:
            made = [outcome({"x": x}, groups=groups) for x in (a, b)]
        p.append(compared(*made, draws=200, seed=seed).p)
    # of 400 at 5%: 99.8% are between 8 and 35; shares are discrete, and statistics that are shares widened
    false = sum(np.array(p) < 0.05)
    assert (8 if kind in {"values", "groups"} else 4) <= false <= 35
    if kind in {"values", "groups"}:
        assert stats.kstest(p, "uniform").pvalue > 0.001
    else:
        assert stats.kstest(p, "uniform", alternative="greater").pvalue > 0.001  # not smaller than uniform


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 300])
def test_intervals_of_differences_cover_the_truth(n):
    cases = [(0.02, 0.0), (0.01, 0.01), (0.02, 0.01), (0.05, 0.01), (0.1, 0.05), (0.1, 0.1), (0.3, 0.1)]
    rng, hits = np.random.default_rng(0), dict.fromkeys(map(str, cases), 0)
    for seed in range(1000):
        made = {str(case): paired_shares(rng, n, *case) for case in cases}
        pair = {model: outcome({name: both[i] for name, both in made.items()}) for i, model in enumerate(MODELS)}
        for found in differences_of([pair], draws=200, seed=seed):
            gained, lost = cases[list(made).index(found.name)]
            hits[found.name] += found.low <= gained - lost <= found.high
    assert min(hits.values()) >= 930, hits


@pytest.mark.slow
def test_intervals_of_differences_of_groups_cover_the_truth():
    rng, hits, groups = np.random.default_rng(0), 0, [str(i // 5) for i in range(200)]
    for seed in range(1000):
        share = np.repeat(rng.dirichlet([0.2, 0.05, 0.75], 40), 5, axis=0)  # a correlation of one half within groups
        which = rng.random(200)
        a, b = which < share[:, 0], (which >= share[:, 0]) & (which < share[:, :2].sum(axis=1))
        found = compared(*(outcome({"x": x.astype(float)}, groups=groups) for x in (a, b)), draws=200, seed=seed)
        hits += found.low <= 0.15 <= found.high
    assert hits >= 930


@pytest.mark.slow
@pytest.mark.parametrize(("positives", "areas"), [(50, (0.9, 0.8)), (10, (0.9, 0.8)), (10, (0.8, 0.8))])
def test_intervals_of_differences_of_aurocs_cover_the_truth(positives, areas):
    rng, hits, label = np.random.default_rng(0), 0, np.arange(100) < positives
    for seed in range(300):
        alike = rng.normal(size=100)
        pair = [outcome(n=100, statistics={"x": detection.auroc(
            (alike + rng.normal(size=100)) / math.sqrt(2) + math.sqrt(2) * stats.norm.ppf(area) * label, label)})
            for area in areas]
        found = compared(*pair, draws=200, seed=seed)
        hits += found.low <= areas[0] - areas[1] <= found.high
    assert hits >= 0.91 * 300  # of 95%, three standard errors less


def test_where_nothing_differs_a_rare_class_leaves_more_room_than_a_rare_group():
    label = (np.arange(300) < 10).astype(int)
    for made, steps, freedom in ((mean_per_class_recall, 20, 19), (worst_group, 300, 9)):
        pair = [outcome(n=300, statistics={"x": made(np.ones(300), label)}) for _ in MODELS]
        found = compared(*pair)
        half = stats.t.ppf(0.975, freedom) * math.sqrt(2) / steps
        assert (found.low, found.high) == pytest.approx((-half, half), rel=0.01)


def test_what_holm_does_not_tell_needs_more_samples_than_there_are():
    rng = np.random.default_rng(0)
    a, b = np.ones(30), (np.arange(30) >= 8).astype(float)
    close = [{"m": outcome({"x": a}), "n": outcome({"x": b})}]
    many = [{name: outcome({f"y{i}": rng.random(30)}) for name in ("m", "n")} for i in range(40)]
    alone, = differences_of(close)
    together = differences_of([*close, *many])[0]
    assert alone.verdict == "better" and alone.needed <= 30 and together.p_holm > 0.05
    assert together.verdict == "not distinguishable" and together.needed > 30
    assert all(one.needed > one.count for one in differences_of(many) if one.verdict == "not distinguishable")


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_so_many_samples_as_needed_tell_the_difference_four_times_out_of_five(size):
    rng = np.random.default_rng(0)

    def pair(samples):
        groups = -(-samples // size)
        values = (np.repeat(x, size) for x in paired_shares(rng, groups, 0.2, 0.1))
        return [outcome({"x": x}, groups=[str(i // size) for i in range(groups * size)]) for x in values]

    needed = compared(*pair(100_000 * size)).needed
    # 7.85 · (.3 − .01) / .01 = 228 groups; the difference is known to 1.7%, its error to 2.7%, both count twice
    assert needed == pytest.approx(228 * size, rel=0.2)
    told = sum(compared(*pair(228 * size), draws=100, seed=seed).p < 0.05 for seed in range(400))
    assert 0.72 < told / 400 < 0.86  # three standard errors, 2% each; flips of shares are a little conservative
