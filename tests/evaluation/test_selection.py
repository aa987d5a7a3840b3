"""Which models meet the needs: what is measured decides, what is unknown is said, and the order."""

import pytest

from diptych.evaluation.result import Figure
from diptych.evaluation.selection import Candidate, Measured, Needs, choose


def candidate(name, *, languages=("en",), weights=1, published=None, figure=None, latency=None, memory=None):
    measured = None if figure is None else Measured(
        figure=Figure(model=name, task="t", name="hit@1", value=figure, low=0, high=1, count=9), data="d",
        latency_s=latency, memory=memory)
    return Candidate(name=name, languages=languages, weights_bytes=weights, published=published, measured=measured)


def names(choices, fits):
    return [choice.candidate.name for choice in choices if choice.fits is fits]


def test_what_was_measured_decides_and_the_rest_is_unknown():
    found = choose([
        candidate("fast", figure=0.5, latency=0.01, memory=10), candidate("slow", figure=0.9, latency=0.05, memory=10),
        candidate("new", published=90.0), candidate("french", languages=("fr",), figure=0.9, latency=0.01, memory=1),
    ], Needs(languages=("en",), max_latency_s=0.02))
    assert names(found, True) == ["fast"] and names(found, None) == ["new"]
    why = {choice.candidate.name: choice.reasons for choice in found}
    assert why["slow"] == ("takes 50 ms a picture here",) and why["new"] == ("speed not measured here",)
    assert why["french"] == ("does not know en",)


def test_weights_that_are_too_large_need_no_measuring():
    found = choose([candidate("large", weights=3 << 30), candidate("small", weights=1 << 20),
                    candidate("greedy", figure=0.5, memory=3 << 30)], Needs(max_memory=2 << 30))
    assert names(found, False) == ["greedy", "large"] and names(found, None) == ["small"]


def test_the_best_comes_first():
    found = choose([candidate("a", published=70.0), candidate("b", published=80.0), candidate("c", figure=0.2),
                    candidate("d", figure=0.4)], Needs())
    assert [choice.candidate.name for choice in found] == ["d", "c", "b", "a"]


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match="the largest latency must be above 0"):
        Needs(max_latency_s=0.0)
