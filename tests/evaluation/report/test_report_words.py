"""Numbers as people read them, by hand."""

import math

import pytest

from diptych.evaluation.report import words
from diptych.evaluation.result import Difference, Figure


def difference(**changes):
    return Difference(**{"model": "a", "other": "b", "task": "t", "name": "acc@1", "value": 0.032, "low": 0.011,
                         "high": 0.053, "p": 0.01, "p_holm": 0.02, "count": 100, "needed": 2388,
                         "verdict": "better", **changes})


@pytest.mark.parametrize(("number", "name", "said"), [
    (0.8412, "acc@1", "84.1%"), (1.0, "hit@5", "100.0%"), (-0.05, "retention", "−5.0%"), (-0.00001, "acc@1", "0.0%"),
    (math.nan, "acc@1", "–"), (math.inf, "acc@1", "–"), (0.33941, "depth_rmse", "0.339"), (0.3, "MaxSkew@10", "0.300")])
def test_a_value(number, name, said):
    assert words.value(number, name) == said


def test_an_interval_has_the_unit_of_its_value_and_is_empty_where_unknown():
    assert words.interval(0.819, 0.862, "acc@1") == "81.9–86.2"
    assert words.interval(-0.012, 0.034, "bias") == "−1.2 to 3.4"
    assert words.interval(math.nan, math.nan, "acc@1") == ""
    known = Figure(model="a", task="t", name="acc@1", value=0.841, low=0.819, high=0.862, count=9)
    assert words.with_interval(known) == "84.1% (81.9–86.2)"


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "+3.2 points (1.1 to 5.3)"),
    ({"value": -0.01, "low": -0.02, "high": 0.001}, "−1.0 point (−2.0 to 0.1)"),
    ({"value": 0.02, "low": math.nan}, "+2.0 points"),
    ({"name": "depth_rmse", "value": 0.0213, "low": 0.001, "high": 0.04}, "+0.021 (0.001 to 0.040)")])
def test_a_change(changes, said):
    assert words.change(difference(**changes)) == said


def test_a_verdict_says_what_would_tell():
    unclear = {"verdict": "not distinguishable"}
    assert words.verdict(difference()) == "better"
    assert words.verdict(difference(**unclear)) == "not distinguishable; about 2,400 samples would tell"
    assert words.verdict(difference(**unclear, needed=99)) == "not distinguishable; about 99 samples would tell"
    nothing = difference(**unclear, needed=None, value=0.0)
    assert words.verdict(nothing) == "not distinguishable; there is no difference at all"


@pytest.mark.parametrize(("seconds", "said"), [
    (0.0124, "12.4 ms"), (0.000071, "0.0710 ms"), (0.25, "250 ms"), (3.2, "3.20 s"), (250.0, "4 min 10 s"),
    (0.0, "0 ms"), (math.nan, "–")])
def test_a_duration(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(("number", "said"), [
    (512, "512 B"), (2048, "2.05 kB"), (48_000_000, "48.0 MB"), (1.84e9, "1.84 GB"), (2.5e12, "2,500 GB")])
def test_a_size(number, said):
    assert words.size(number) == said


def test_probabilities_rates_counts_and_names():
    assert [words.probability(p) for p in (0.0321, 0.00005, 1.0, math.nan)] == ["0.032", "< 0.001", "1.000", "–"]
    assert [words.rate(r) for r in (1234.4, 45.67, 0.789, 0.0)] == ["1,234", "45.7", "0.789", "0"]
    assert words.title("zero_shot") == "Zero shot" and words.title("") == ""
    assert words.listing(["a"]) == "a" and words.listing(["a", "b", "c"]) == "a, b and c"
    assert words.plural(1, "sample") == "1 sample" and words.plural(1200, "sample") == "1,200 samples"
