"""The verdict in its cases."""

from dataclasses import replace

import pytest

from diptych.evaluation.report.verdict import verdict
from diptych.evaluation.result import Cost, Difference, Figure, Rate

HEADLINE = ("zero_shot", "acc@1")


def figures(**values):
    return [Figure(model=model, task="zero_shot", name="acc@1", value=value, low=value - 0.02, high=value + 0.02,
                   count=1200) for model, value in values.items()]


def difference(model, other, value, verdict, needed=None):
    return Difference(model=model, other=other, task="zero_shot", name="acc@1", value=value, low=value - 0.01,
                      high=value + 0.01, p=0.5, p_holm=0.5, count=1200, needed=needed, verdict=verdict)


def costs(**seconds):
    return [Cost(model=model, load_s=1.0, peak_memory=10**9, weights_bytes=1, vector_bytes=1, image_gflops=None,
                 text_gflops=None, rates=(Rate(what="images", batch=1, per_second=1 / s, p50_s=s, p95_s=s),))
            for model, s in seconds.items()]


def test_a_clear_lead_that_costs_more():
    said = verdict(HEADLINE, figures(a=0.84, b=0.71), [difference("a", "b", 0.13, "better")], costs(a=0.1, b=0.01))
    assert said == (
        "a leads in zero shot (acc@1): 84.0% (82.0–86.0) on 1,200 samples.",
        "It is better than b (by 13.0 points).",
        "It takes 100 ms a picture and 1.00 GB of memory; the fastest, b, takes 10.0 ms a picture and 1.00 GB of "
        "memory.")


def test_a_lead_that_may_be_chance_and_a_cheaper_model_that_is_as_good():
    tests = [difference("b", "a", -0.004, "not distinguishable", needed=21_570), difference("a", "c", 0.13, "better")]
    said = verdict(HEADLINE, figures(b=0.836, a=0.84, c=0.71), tests, costs(a=0.1, b=0.01, c=0.001))
    assert said[1] == ("It is better than c (by 13.0 points), but b is not distinguishable from it in this figure on "
                       "this data (about 22,000 samples would tell).")
    assert said[2].startswith("Of these b is the fastest: 10.0 ms a picture")


def test_a_leader_that_is_also_the_fastest():
    tests = [difference("a", name, 0.1, "better") for name in "bcdef"]
    said = verdict(HEADLINE, figures(a=0.84, b=0.74, c=0.74, d=0.74, e=0.74, f=0.74), tests, costs(a=0.01, b=0.1))
    assert said[1] == "It is better than 5 others, the nearest by 10.0 points."
    assert said[2] == "It takes 10.0 ms a picture and 1.00 GB of memory; no other is faster."


def test_one_model_and_nothing_measured():
    assert verdict(HEADLINE, figures(a=0.84), [], []) == (
        "a reaches 84.0% (82.0–86.0) on 1,200 samples in zero shot (acc@1).",)
    said = verdict(HEADLINE, figures(a=0.84), [], costs(a=0.1))
    assert said[-1] == "It takes 100 ms a picture and 1.00 GB of memory."


def test_no_difference_at_all():
    said = verdict(HEADLINE, figures(a=0.84, b=0.84), [difference("a", "b", 0.0, "not distinguishable")], [])
    assert said[1] == "b is not distinguishable from it in this figure on this data."


def test_what_the_headline_cannot_tell_other_figures_may():
    level = difference("a", "b", 0.01, "not distinguishable", needed=70)
    others = [replace(level, name=name, verdict=verdict) for name, verdict in (
        ("acc@5", "better"), ("ece", "better"), ("brier", "worse"), ("mrr", "not distinguishable"))]
    said = verdict(HEADLINE, figures(a=0.84, b=0.83), [level, *others], [])
    assert said[1] == ("b (worse in 2 and better in 1 of 4 other figures) is not distinguishable from it in this "
                       "figure on this data (about 70 samples would tell).")


def test_a_headline_that_nobody_has():
    with pytest.raises(ValueError, match=r"no model has the headline figure 'x y'; there are: zero_shot acc@1"):
        verdict(("x", "y"), figures(a=0.84), [], [])
