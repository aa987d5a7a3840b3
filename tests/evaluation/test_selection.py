"""Which models meet the needs: what is measured decides, what is unknown is said, and the order."""

from dataclasses import replace

import pytest

from comparisons import comparison
from diptych.evaluation.result import Figure
from diptych.evaluation.selection import Candidate, Measured, Needs, choose, measured_in


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


def test_what_was_measured_in_other_languages_is_no_evidence():
    made = comparison()
    model, task, name = made.models[0].name, "text_to_image", "hit@1"
    first, *_ = made.figures
    figures = tuple(replace(first, model=model, task=task, name=name, slice=part, value=value) for part, value in (
        ("", 0.5), ("language=en", 0.7), ("language=ko", 0.3)))
    both = replace(made, headline=(task, f"mean_{name}"), models=made.models[:1], costs=made.costs, figures=(
        *figures, replace(first, model=model, task=task, name=f"mean_{name}", slice="", value=0.51)))
    german = replace(both, headline=(task, name), figures=(figures[0],), costs=(),
                     data=replace(made.data, languages=("de",)),
                     provenance=replace(made.provenance, created="2100-01-01T00:00:00+00:00"))

    def value(*languages, of=(both, german)):
        figure = measured_in(of, languages)[model].figure
        return figure and figure.value

    assert value("ko", "en") == 0.3 and value("en") == 0.7 and value("de") == 0.5 and value("de", "ko") is None
    assert value("ko", of=[german]) is None and value() == 0.5 and value(of=[both]) == 0.51
    assert measured_in([both, german])[model].latency_s is not None  # the newest says nothing of it


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match="the largest latency must be above 0"):
        Needs(max_latency_s=0.0)
